"""Places: so many calls of the judge at once. Whoever waits for an answer comes before the queue's turns."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Places:
    """Hands out places, of one event loop.

    Args:
        most: how many there are.
        wake: called when the queue may look for room again.
    """

    def __init__(self, most: int, wake: Callable[[], None]) -> None:
        self._free = most
        self._wake = wake
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()

    @property
    def room(self) -> int:
        """Places that the queue may take: those that nobody waits for."""
        return self._free

    def take(self) -> None:
        """Take a place for a turn of the queue; there must be room."""
        self._free -= 1

    def give_back(self) -> None:
        """Let the next one have a place that was taken."""
        for waiting in (self._urgent, self._patient):
            while waiting:
                place = waiting.popleft()
                if not place.done():  # whoever waited may have gone
                    place.set_result(None)
                    return
        self._free += 1
        self._wake()

    @asynccontextmanager
    async def one(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and hold it; who is urgent comes first."""
        if self._free:
            self._free -= 1
        else:
            await self._next(self._urgent if urgent else self._patient)
        try:
            yield
        finally:
            self.give_back()

    async def _next(self, waiting: "deque[asyncio.Future[None]]") -> None:
        place = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it came too late
                self.give_back()
            raise
