"""Windows that end: the default reward of decisions without one is taught in the background, a few at a time.

The ledger says which windows have ended; nothing is kept in memory, so that a process that was killed, or that was down
for a week, goes on where it stopped. However many end at once, after some of them others go first for a while: how many
at once, and for how long, is the store's to say.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from bandstand.asyncio_tasks import cancel_task
from bandstand.errors import BandstandError
from bandstand.store.protocol import Store
from bandstand.store.records import Reward

_POLL_S = 1.0


class WindowCloser:
    """Closes the windows of one deployment.

    Args:
        store: keeps them.
        on_taught: called with each default reward that was taught.
        needs_polling: whether windows may be opened from now on; without, only what the ledger has is waited for.
        teaches: whether anything is taught now.
    """

    def __init__(
        self,
        store: Store,
        on_taught: Callable[[Reward], None],
        *,
        needs_polling: Callable[[], bool],
        teaches: Callable[[], bool],
    ) -> None:
        self._store = store
        self._on_taught = on_taught
        self._needs_polling = needs_polling
        self._teaches = teaches
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin; the store must be open."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; windows that have ended and are not closed yet are closed after the next start."""
        if self._task is not None:
            await cancel_task(self._task)

    async def close_some(self) -> float | None:
        """Close a few windows that have ended.

        Returns:
            Times that it took, for which others go first; ``None`` where there are no more of them.
        """
        closed = await self._store.close_windows(teaches=self._teaches())
        for reward in closed.taught:
            self._on_taught(reward)
        return closed.rest if closed.has_more else None

    async def _run(self) -> None:
        has_any = True
        while True:
            started = perf_counter()
            rest: float | None = None
            with suppress(BandstandError):  # a full disk, or too much that waits: they are still there next time
                has_any = self._needs_polling() or (has_any and await self._store.has_awaiting_windows())
                rest = await self.close_some() if has_any else None
            await asyncio.sleep(_POLL_S if rest is None else rest * (perf_counter() - started))
