"""How a process follows what others make of the loops that it serves too."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from bandstand.asyncio_tasks import cancel_task
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.errors import BandstandError
from bandstand.service.loop_registry import LoopRegistry
from bandstand.service.loop_runtime import ManagedLoop
from bandstand.store.tables.loops import fold_default_loop

_RETRY_S: Final = 60.0
"""After which a loop that could not be opened is tried again."""
_PAUSE_S: Final = 1.0
log = structlog.get_logger("bandstand")


class LoopFollower:
    """Looks at the loops whenever the ledger of one says that something has changed.

    Args:
        registry: which loops there are.
        refresh: takes up what others have logged.
        retry: opens a loop that is closed; has the default one go on as it is defined.
    """

    def __init__(
        self,
        registry: LoopRegistry,
        refresh: Callable[[], Awaitable[None]],
        retry: Callable[[ManagedLoop], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._refresh = refresh
        self._retry = retry
        self._moved = asyncio.Event()  # another process may have changed something
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what others have logged while this process started."""
        self.watch(self._registry.default)
        self._moved.set()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            await cancel_task(self._task)

    def watch(self, loop: ManagedLoop) -> None:
        """Make a running loop load its definition whenever another process has changed it."""
        loop.deployment.load_definition = partial(self._load_definition, loop.name)

    async def _load_definition(self, name: str) -> LoopDefinition | None:
        """What the ledger says that a loop is; it waits for nobody who changes one, for it may be them who ask."""
        self._moved.set()
        changes = await self._registry.default.deployment.store.list_loop_changes()
        if name == DEFAULT_LOOP:
            return fold_default_loop(self._registry.said, changes)
        logged = [change.after for change in changes if change.name == name]
        return None if not logged or logged[-1] is None else LoopDefinition.parse(name, logged[-1])

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await self._moved.wait()
            is_due = not self._moved.is_set()
            self._moved.clear()
            try:
                await self._refresh()
                for loop in self._registry if is_due else ():
                    await self._retry(loop)
            except BandstandError as error:
                log.warning("loops could not be followed", reason=error.detail)
                await asyncio.sleep(_PAUSE_S)
                self._moved.set()
