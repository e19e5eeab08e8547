"""Windows that end: the default reward of decisions without one is taught in the background, a few at a time.

The ledger says which windows have ended; nothing is kept in memory, so that a process that was killed, or that was down
for a week, continues where it stopped. However many end at once, the loop is left to others for three quarters of the
time.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from bandstand.asyncio_tasks import cancel_task
from bandstand.errors import BandstandError
from bandstand.store.protocol import Store
from bandstand.store.records import Reward

_AT_ONCE = 4
"""Windows between two rests: some milliseconds of work, most of which others can interrupt."""
_REST = 3.0
"""Times the work before, in which the loop is left to others."""
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

    async def close_some(self) -> bool:
        """Close a few windows that have ended; returns whether there may be more."""
        closed = await self._store.close_windows(_AT_ONCE, teaches=self._teaches())
        for reward in closed.taught:
            self._on_taught(reward)
        return closed.looked_at == _AT_ONCE

    async def _run(self) -> None:
        has_any = True
        while True:
            started = perf_counter()
            has_more = False
            with suppress(BandstandError):  # a full disk, or too much that waits: they are still there next time
                has_any = self._needs_polling() or (has_any and await self._store.has_awaiting_windows())
                has_more = has_any and await self.close_some()
            await asyncio.sleep(_REST * (perf_counter() - started) if has_more else _POLL_S)
