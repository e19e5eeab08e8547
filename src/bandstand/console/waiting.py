"""Waiting: for what takes long only sometimes, a page waits a moment, and comes without it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

MAX_WAIT_S = 0.1


class Patience:
    """Waits a moment for some work; if it takes longer, it continues, and the next request finds it done."""

    def __init__(self) -> None:
        self._going_on = set[asyncio.Task[Any]]()

    async def wait(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work returns or raises; ``None`` if it takes longer."""
        task = asyncio.create_task(work)
        done, _ = await asyncio.wait([task], timeout=MAX_WAIT_S)
        if done:
            return task.result()
        self._going_on.add(task)
        task.add_done_callback(self._handle_done)
        return None

    def _handle_done(self, task: asyncio.Task[Any]) -> None:
        """Record how it ended; the next request gets the result or the error from the work itself."""
        self._going_on.discard(task)
        if not task.cancelled():
            task.exception()
