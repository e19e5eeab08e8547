"""The loops of a service: which there are, how they are made, changed and deleted, and who did so.

Every loop but the default one has a ledger, documents, priors and a queue of turns of its own: nothing that one learns
can reach another. Events of the default loop's ledger say which loops exist. Each event is logged before it is carried
out; if the process dies in between, the next start carries it out. If several processes share that ledger, each follows
what the others log there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

import structlog

from bandstand.bandit.loop_definition import DEFAULT_LOOP, LearningMode, LoopDefinition
from bandstand.errors import (
    BandstandError,
    ConfigurationError,
    InvalidRequestError,
    LoopRefusedError,
    OverloadedError,
)
from bandstand.service.loop_follower import LoopFollower
from bandstand.service.loop_gate import ChangeLock
from bandstand.service.loop_registry import LoopRegistry
from bandstand.service.loop_renewal import (
    close_loop,
    compose_beside,
    follow_definition,
    log_unfollowed,
    put_into_effect,
    renew_loop,
    run_apart,
    to_refusal,
)
from bandstand.service.loop_rules import (
    SCOPE_IS_FIXED,
    SETTINGS_CLIENT,
    is_applicable,
    is_applied,
    require_changeable,
    require_said_elsewhere,
)
from bandstand.service.loop_runtime import ComposeLoop, LoopPlaces, LoopRuntime, ManagedLoop
from bandstand.store.protocol import MovedError
from bandstand.store.tables.loops import LoopChange

MAX_LOOPS: Final = 100
"""Beside the default one: each has threads, files and some megabytes of its own."""

_TRIES: Final = 5
T = TypeVar("T")
log = structlog.get_logger("bandstand")


class Loops:
    """The loops of one service.

    Args:
        default: serves the default loop; opened before this is, and closed after.
        compose: makes what serves another.
        places: where their states are.

    """

    def __init__(self, default: LoopRuntime, compose: ComposeLoop, places: LoopPlaces) -> None:
        self._registry = LoopRegistry(default)
        self._compose = compose
        self._places = places
        default.deployment.list_closed_loops = self._list_closed
        self._lock = ChangeLock(lambda: [loop.gate for loop in self])
        self._follower = LoopFollower(self._registry, self.refresh, self._try_again)

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self, configured: Mapping[str, LoopDefinition]) -> None:
        """Open every loop; the default one must be open.

        A loop that cannot be opened takes no requests; the others serve.

        Args:
            configured: the loops of the configuration file. One is applied where the file says something else of it
                than when it was last applied: what was changed since by others stands until then.

        Raises:
            ConfigurationError: the file says something of the default loop that it cannot be.
            StorageFullError, StorageUnavailableError: the ledger refused.
        """
        await self._registry.read_changes()
        await self._places.sweep()
        for name, place in self._registry.list_gone():
            await self._places.discard(name, place)
        for name, wanted in configured.items():
            await self._apply_configured(name, wanted)
        try:
            await put_into_effect(self._registry.default, self._watch)
        except (LoopRefusedError, InvalidRequestError) as error:
            raise ConfigurationError(f"the default loop: {error.detail}", error.errors) from None
        for loop in self._registry.list_others():
            await self._open(loop)
        if self._places.are_shared:
            self._follower.start()

    async def close(self) -> None:
        """Close every loop but the default one."""
        await self._follower.close()
        async with self._lock:
            for loop in self._registry.list_others():
                await close_loop(loop, "the service is shutting down")

    async def _apply_configured(self, name: str, wanted: LoopDefinition) -> None:
        while True:
            known = self.get(name) if name in self._registry else None
            definition = wanted
            if name == DEFAULT_LOOP:
                require_said_elsewhere(self._registry.said, wanted)
                self._registry.default.said = wanted.apply_to(self._registry.said)
                definition = wanted.apply_to(self._registry.default.definition)
            if is_applied(self.changes, definition):
                return
            if known is not None and known.definition.scope != definition.scope:
                raise ConfigurationError(f"loops.{name}.scope: {SCOPE_IS_FIXED}")
            place = await self._places.claim(name) if known is None else None
            try:
                change = self._registry.build_change(name, known, definition, SETTINGS_CLIENT, place)
                await self._registry.log_and_fold(change)
            except MovedError:  # another process starts too
                await self._registry.read_changes()
            else:
                return

    async def _open(self, loop: ManagedLoop) -> None:
        """Open a loop, or say why that cannot be."""
        try:
            runtime = await asyncio.to_thread(self._compose, loop.definition, loop.place)  # beside the serving
            await runtime.open()
        except BandstandError as error:
            loop.runtime, loop.fault = None, error.detail
            log.error("a loop cannot be opened", loop=loop.name, reason=error.detail)  # noqa: TRY400 (its reason says all)
        else:
            loop.runtime, loop.fault = runtime, None
            self._watch(loop)

    # ── following other processes ─────────────────────────────────────────────────────────────────────────────────

    async def refresh(self) -> None:
        """Apply what other processes have logged about the loops, if there are other processes.

        Raises:
            StorageUnavailableError: the ledger cannot be read now.
        """
        if self._places.are_shared:
            await asyncio.shield(self._refresh())

    async def _refresh(self) -> None:
        async with self._lock:
            before = {loop.name: (loop, loop.definition) for loop in self}
            changed = {change.name for change in await self._registry.read_changes()}
            async with AsyncExitStack() as waiting:
                for loop in self:
                    if loop.name not in before or loop is not before[loop.name][0]:
                        await waiting.enter_async_context(
                            loop.gate.close()
                        )  # whoever asks for it waits until it is open
                for name in changed:
                    await self._reconcile(before.get(name), self.get(name) if name in self._registry else None)

    async def _reconcile(self, was: tuple[ManagedLoop, LoopDefinition] | None, now: ManagedLoop | None) -> None:
        """Make a loop what it is now in the ledger, after another process has changed it."""
        if was is not None and was[0] is not now:
            await self._discard(was[0])
        elif now is not None and now.runtime is not None and is_applicable(now.deployment.definition, now.definition):
            follow_definition(now)
            return
        if now is self._registry.default:
            try:
                await put_into_effect(now, self._watch)
            except BandstandError as error:
                log_unfollowed(now, error)
        elif now is not None:
            async with now.gate.close():
                await close_loop(now, "it is being opened")
                await self._open(now)

    async def _try_again(self, loop: ManagedLoop) -> None:
        async def open_closed() -> None:
            async with self._lock:
                if loop is self._registry.default:
                    await put_into_effect(loop, self._watch)
                elif loop.runtime is None and loop.name in self._registry and self.get(loop.name) is loop:
                    await self._open(loop)

        await asyncio.shield(open_closed())

    def _watch(self, loop: ManagedLoop) -> None:
        if self._places.are_shared:
            self._follower.watch(loop)

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def changes(self) -> Sequence[LoopChange]:
        """Every change of a loop, the oldest first."""
        return self._registry.changes

    def get(self, name: str) -> ManagedLoop:
        """The loop of that name.

        Raises:
            UnknownLoopError: there is no such loop.
        """
        return self._registry.get(name)

    async def find(self, name: str) -> ManagedLoop:
        """The loop of that name, though another process made it this moment.

        Raises:
            UnknownLoopError: there is no such loop.
            StorageUnavailableError: the ledger cannot be read now.
        """
        if name not in self._registry:
            await self.refresh()
        return self.get(name)

    def __iter__(self) -> Iterator[ManagedLoop]:
        """Every loop, the default one first, then in order of their making."""
        return iter(self._registry)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._registry)

    def _list_closed(self) -> dict[str, str]:
        closed = [loop for loop in self._registry.list_others() if loop.runtime is None and loop.gate.is_open]
        return {loop.name: loop.fault or "" for loop in closed}

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def put(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        """Make a loop, or give one another definition. Idempotent. As :meth:`create` and :meth:`change`."""

        async def put() -> ManagedLoop:
            work = self._change if definition.name in self._registry else self._create
            return await work(definition, client)

        return await self._repeat(put)

    async def create(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        """Make a loop.

        Raises:
            InvalidRequestError: its definition is wrong.
            LoopRefusedError: there is one of that name, or it cannot be opened, or there are too many.
            UnsupportedByEngineError: the engine keeps no such loop.
            OverloadedError, StorageFullError, StorageUnavailableError: there is none now.
        """
        return await self._repeat(lambda: self._create(definition, client))

    async def _repeat(self, work: Callable[[], Awaitable[T]]) -> T:
        """Change loops; try again if another process has changed them meanwhile.

        Once begun, it finishes even if the caller is gone.
        """

        async def repeat() -> T:
            for _ in range(_TRIES):
                await self.refresh()
                with suppress(MovedError):
                    return await work()
            raise OverloadedError("other processes change loops without pause; try again shortly")

        return await asyncio.shield(repeat())

    async def _create(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        async with self._lock:
            if definition.name in self._registry:
                raise LoopRefusedError("there is a loop of that name")
            if len(self) > MAX_LOOPS:
                raise LoopRefusedError(f"there are {MAX_LOOPS} loops beside the default one; delete another first")
            place = await self._places.claim(definition.name)
            runtime = await compose_beside(self._compose, definition, place)
            change = self._registry.build_change(definition.name, None, definition, client, place)
            await self._registry.log_and_fold(change)
            loop = self.get(definition.name)
            try:
                await runtime.open()
            except BandstandError as error:
                await self._registry.log_and_fold(self._registry.build_change(definition.name, loop, None, client))
                await self._places.discard(definition.name, place)
                raise to_refusal(error) from error
            loop.runtime = runtime
            self._watch(loop)
            return loop

    async def change(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        """Give a loop another definition. Idempotent.

        Another mode, or other reward settings, are in effect at once. For anything else, and for another table of
        reactions, the loop is closed and opened again: requests wait meanwhile, and nothing that it learned is lost.

        Raises:
            UnknownLoopError: there is no such loop.
            InvalidRequestError: the definition is wrong, or not for this loop.
            LoopRefusedError: it cannot be put into effect, and all is as before.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
        """
        return await self._repeat(lambda: self._change(definition, client))

    async def set_mode(self, name: str, mode: LearningMode, client: str) -> ManagedLoop:
        """Change how a loop learns; ``online`` promotes an apprentice. As :meth:`change`."""
        return await self._repeat(lambda: self._change(replace(self.get(name).definition, mode=mode), client))

    async def _change(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        async with self._lock:
            loop = self.get(definition.name)
            before = loop.definition
            require_changeable(before, definition, loop.pinned_by)
            if definition == before and loop.runtime is not None:
                return loop
            change = self._registry.build_change(definition.name, loop, definition, client)
            if loop.runtime is not None and is_applicable(before, definition):
                await loop.deployment.apply_definition(definition)
                change = await self._log_or(change, lambda: loop.deployment.apply_definition(before))
            else:
                change = await self._restart(loop, definition, change)
            self._registry.fold(change)
            if loop is not self._registry.default:  # of which the ledger itself has told the others
                with suppress(BandstandError):  # else they hear of it within a second or two
                    await loop.deployment.store.announce_change()
            return loop

    async def _restart(self, loop: ManagedLoop, definition: LoopDefinition, change: LoopChange) -> LoopChange:
        if loop is self._registry.default:
            async with renew_loop(loop, definition, self._watch):
                return await self._registry.log(change)
        runtime = await compose_beside(self._compose, definition, loop.place)
        async with loop.gate.close():
            await close_loop(loop, "it is being opened")
            try:
                await runtime.open()
                change = await self._log_or(change, runtime.close)
            except (BandstandError, MovedError) as error:
                await self._open(loop)
                raise to_refusal(error) from error
            loop.runtime, loop.fault = runtime, None
            self._watch(loop)
            return change

    async def run_closed(self, name: str, work: Callable[[], None]) -> None:
        """Run work that needs a loop's state exclusively, on a thread, while the loop is closed; requests wait.

        Raises:
            UnknownLoopError: there is no such loop.
            BandstandError: what ``work`` raised, or the loop is not open.
        """
        await asyncio.shield(self._run_closed(name, work))

    async def _run_closed(self, name: str, work: Callable[[], None]) -> None:
        async with self._lock:  # the ledger of the default loop, too, is nobody's meanwhile
            loop = self.get(name)
            runtime = loop.require_runtime()
            async with loop.gate.close():
                await run_apart(runtime.run_closed(work))

    async def delete(self, name: str, client: str) -> None:
        """Delete a loop and all that it holds, for good.

        Raises:
            UnknownLoopError: there is no such loop.
            LoopRefusedError: it is the default one.
            OverloadedError, StorageFullError, StorageUnavailableError: it is there as before.
        """
        await self._repeat(lambda: self._delete(name, client))

    async def _delete(self, name: str, client: str) -> None:
        async with self._lock:
            loop = self.get(name)
            if loop is self._registry.default:
                raise LoopRefusedError("the default loop cannot be deleted")
            await self._registry.log_and_fold(self._registry.build_change(name, loop, None, client))
            await self._discard(loop)

    async def _discard(self, loop: ManagedLoop) -> None:
        """Release a loop that was deleted, and delete its state."""
        async with loop.gate.close():
            await close_loop(loop, "it was deleted")
            if self._registry.is_known(loop):  # else the ledger was put back to before it was made: its state stays
                await self._places.discard(loop.name, loop.place)

    async def _log_or(self, change: LoopChange, undo: Callable[[], Awaitable[Any]]) -> LoopChange:
        """Log a change that is in effect, or undo it."""
        try:
            return await self._registry.log(change)
        except (BandstandError, MovedError):
            await undo()
            raise
