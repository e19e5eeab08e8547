"""Background tasks, which nobody waits for until it matters that they are done."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
    """Tasks that run in the background of their starters."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, task: Coroutine[Any, Any, Any]) -> None:
        """Begin one."""
        started = asyncio.create_task(task)
        self._tasks.add(started)
        started.add_done_callback(self._tasks.discard)

    async def join(self) -> None:
        """Wait for those that have begun."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
