"""Events on their way into the ledger: submitted, and not yet committed or refused."""

import asyncio
from collections.abc import Generator


class EventInFlight:
    """An event that was submitted; to be awaited, until its rows are committed or refused, by as many as want to.

    Each who waits has a future of their own: that one of them goes is nothing to the event, nor to the others. Who
    comes late hears at once what became of it.
    """

    __slots__ = ("_error", "_is_settled", "_waiting")

    def __init__(self) -> None:
        self._is_settled = False
        self._error: BaseException | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def settle(self, error: BaseException | None) -> None:
        """Say what became of it: the error for which it was refused, if it was."""
        self._is_settled, self._error = True, error
        for future in self._waiting:
            if not future.done():  # whoever waited may have gone
                future.set_result(None)

    def __await__(self) -> Generator[object, None, None]:
        """Wait for it; raises what it was refused for."""
        if not self._is_settled:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            yield from future
        if self._error is not None:
            raise self._error
