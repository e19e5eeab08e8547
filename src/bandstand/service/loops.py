"""The loops of a service: which there are, how they are made, changed and deleted, and who did so.

Every loop but the default one has a state directory of its own, and so a ledger, documents, priors and a queue of turns
of its own: nothing that one learns can reach another. Which loops there are is told by events of the default loop's
ledger, each logged before what it says is done: a process that dies in between is gone on with at the next start.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import Context
from dataclasses import replace
from typing import Any, Final

import structlog

from bandstand.bandit.loop_definition import DEFAULT_LOOP, LearningMode, LoopDefinition
from bandstand.errors import (
    BandstandError,
    ConfigurationError,
    FieldError,
    InvalidRequestError,
    LoopRefusedError,
    UnknownLoopError,
    UnsupportedByEngineError,
)
from bandstand.service.loop_runtime import ComposeLoop, LoopFiles, LoopRuntime, ManagedLoop
from bandstand.store.protocol import Store
from bandstand.store.tables.loops import LoopAction, LoopChange

MAX_LOOPS: Final = 100
"""Beside the default one: each has threads, files and some megabytes of its own."""

SETTINGS_CLIENT: Final = "settings"
"""Who changes a loop where the configuration file does."""

log = structlog.get_logger("bandstand")


class Loops:
    """The loops of one service.

    Args:
        default: serves the default loop; whoever makes this opens it before, and closes it after.
        compose: makes what serves another.
        files: where their states are.
        unchangeable: why there is the default loop alone, as it is; ``None`` where others may be made.

    Attributes:
        changes: every change of a loop, the oldest first.
    """

    def __init__(
        self, default: LoopRuntime, compose: ComposeLoop, files: LoopFiles, *, unchangeable: str | None = None
    ) -> None:
        deployment = default.deployment
        self.changes: list[LoopChange] = []
        self._default = ManagedLoop(deployment.definition, runtime=default)
        self._loops: dict[str, ManagedLoop] = {DEFAULT_LOOP: self._default}
        self._compose = compose
        self._files = files
        self._unchangeable = unchangeable
        self._store: Store = deployment.store
        self._clock = deployment.clock
        deployment.list_closed_loops = self._list_closed
        self._lock = asyncio.Lock()  # held by whoever makes, changes or deletes a loop

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self, configured: Mapping[str, LoopDefinition]) -> None:
        """Open every loop; the default one must be open.

        A loop that cannot be opened takes no requests, and is no reason not to serve the others.

        Args:
            configured: the loops of the configuration file. One is applied where the file says something else of it
                than when it was last applied: what was changed since by others stands until then.

        Raises:
            ConfigurationError: the file says something of the default loop that it cannot be.
            StorageFullError, StorageUnavailableError: the ledger refused.
        """
        for change in await self._store.list_loop_changes():
            self._fold(change)
        await asyncio.to_thread(self._discard_deleted)
        await self._apply_configuration(configured)
        try:
            await self._default.deployment.apply_definition(self._default.definition)
        except LoopRefusedError as error:
            raise ConfigurationError(f"the default loop: {error.detail}") from None
        for loop in self._others():
            await self._open(loop)

    async def close(self) -> None:
        """Close every loop but the default one."""
        async with self._lock:
            for loop in self._others():
                if loop.runtime is not None:
                    runtime, loop.runtime, loop.fault = loop.runtime, None, "the service is shutting down"
                    await runtime.close()

    def _fold(self, change: LoopChange) -> None:
        self.changes.append(change)
        if change.after is None:
            self._loops.pop(change.name, None)
            return
        definition = LoopDefinition.parse(change.name, change.after)
        loop = self._loops.setdefault(change.name, ManagedLoop(definition))
        if change.name == DEFAULT_LOOP:  # what else it is, the settings say
            definition = definition.apply_to(self._default.definition)
        loop.definition, loop.changed_at, loop.changed_by = definition, change.ts, change.client

    def _discard_deleted(self) -> None:
        self._files.sweep()
        for name in {change.name for change in self.changes} - self._loops.keys():
            self._files.discard(name)

    async def _apply_configuration(self, configured: Mapping[str, LoopDefinition]) -> None:
        applied = {each.name: each.after for each in self.changes if each.client == SETTINGS_CLIENT}
        for name, wanted in configured.items():
            known = self._loops.get(name)
            definition = self._merge_default(wanted) if name == DEFAULT_LOOP else wanted
            if applied.get(name) == definition.to_document():
                continue
            if known is not None and known.definition.scope != definition.scope:
                raise ConfigurationError(f"loops.{name}.scope: {_SCOPE_IS_FIXED}")
            await self._log_and_fold(self._build_change(name, known, definition, SETTINGS_CLIENT))

    def _merge_default(self, wanted: LoopDefinition) -> LoopDefinition:
        """The default loop as the file has it: what it does not say, the settings do."""
        before, unsaid = self._default.definition, LoopDefinition(name=DEFAULT_LOOP)
        faults = [
            FieldError(f"loops.default.{key}", _SAID_BY_SETTINGS)
            for key in ("scope", *_FROM_SETTINGS)
            if getattr(wanted, key) not in (getattr(before, key), getattr(unsaid, key))
        ]
        if wanted.rewards.reactions not in (before.rewards.reactions, unsaid.rewards.reactions):
            faults.append(FieldError("loops.default.rewards.reactions", _SAID_BY_SETTINGS))
        if faults:
            raise ConfigurationError(f"{faults[0].field}: {faults[0].message}", faults)
        return wanted.apply_to(before)

    async def _open(self, loop: ManagedLoop) -> None:
        """Open a loop, or say why that cannot be."""
        try:
            loop.runtime = await self._start(loop.definition)
            loop.fault = None
        except BandstandError as error:
            loop.runtime, loop.fault = None, error.detail
            log.error("a loop cannot be opened", loop=loop.name, reason=error.detail)  # noqa: TRY400 (its reason says all)

    async def _start(self, definition: LoopDefinition) -> LoopRuntime:
        runtime = await asyncio.to_thread(self._compose, definition)  # beside the serving: it takes its time
        await runtime.open()
        return runtime

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, name: str) -> ManagedLoop:
        """The loop of that name.

        Raises:
            UnknownLoopError: there is none.
        """
        loop = self._loops.get(name)
        if loop is None:
            raise UnknownLoopError("no loop of that name")
        return loop

    def __iter__(self) -> Iterator[ManagedLoop]:
        """Every loop, the default one first, then in order of their making."""
        return iter(list(self._loops.values()))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._loops)

    def _list_closed(self) -> dict[str, str]:
        return {loop.name: loop.fault or "" for loop in self._others() if loop.runtime is None and loop.gate.is_open}

    def _others(self) -> list[ManagedLoop]:
        return [loop for loop in self if loop is not self._default]

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def put(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        """Make a loop, or give one another definition. Idempotent.

        Raises:
            InvalidRequestError: the definition is wrong, or not for this loop.
            LoopRefusedError: it cannot be put into effect, and all is as before; or there are too many.
            UnsupportedByEngineError: no loop can be made or changed over this engine.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
        """
        if definition.name in self._loops:
            return await self.change(definition, client)
        return await self.create(definition, client)

    async def create(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        """Make a loop.

        Raises:
            InvalidRequestError: its definition is wrong.
            LoopRefusedError: there is one of that name, or there are too many.
            UnsupportedByEngineError: no loop can be made or changed over this engine.
            OverloadedError, StorageFullError, StorageUnavailableError: there is none now.
        """
        return await asyncio.shield(self._create(definition, client))  # once it has begun, whoever asked may go

    async def _create(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        async with self._lock:
            self._require_changeable()
            if definition.name in self._loops:
                raise LoopRefusedError("there is a loop of that name")
            if len(self._loops) > MAX_LOOPS:
                raise LoopRefusedError(f"there are {MAX_LOOPS} loops beside the default one; delete another first")
            runtime = await self._try_compose(definition)
            if await asyncio.to_thread(self._files.is_taken, definition.name):
                message = "there is a state directory of that name which this ledger does not know; move it away"
                raise LoopRefusedError(message)
            change = self._build_change(definition.name, None, definition, client)
            await self._store.log_loop_change(change)
            self._fold(change)
            try:
                await runtime.open()
            except BandstandError as error:
                await self._log_and_fold(self._build_change(definition.name, ManagedLoop(definition), None, client))
                await asyncio.to_thread(self._files.discard, definition.name)
                raise _to_refusal(error) from error
            loop = self._loops[definition.name]
            loop.runtime = runtime
            return loop

    async def change(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        """Give a loop another definition. Idempotent.

        Another mode, or other reward settings, are in effect at once. For anything else, and for another table of
        reactions, the loop is closed and opened again: requests wait for that moment, and nothing that it learned is
        lost.

        Raises:
            UnknownLoopError: there is none of that name.
            InvalidRequestError: the definition is wrong, or not for this loop.
            LoopRefusedError: it cannot be put into effect, and all is as before.
            UnsupportedByEngineError: no loop can be made or changed over this engine.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
        """
        return await asyncio.shield(self._change(definition, client))

    async def set_mode(self, name: str, mode: LearningMode, client: str) -> ManagedLoop:
        """Have a loop learn in another way; ``online`` promotes an apprentice. As :meth:`change`."""
        return await self.change(replace(self.get(name).definition, mode=mode), client)

    async def _change(self, definition: LoopDefinition, client: str) -> ManagedLoop:
        async with self._lock:
            self._require_changeable()
            loop = self.get(definition.name)
            before = loop.definition
            if faults := _find_fixed(before, definition):
                raise InvalidRequestError(f"{faults[0].field}: {faults[0].message}", faults)
            if definition == before and loop.runtime is not None:
                return loop
            change = self._build_change(definition.name, loop, definition, client)
            # The wire of a loop is made as it is opened, with the actions of its table.
            same_wire = definition.rewards.reactions == before.rewards.reactions
            if same_wire and loop.runtime is not None and definition.apply_to(before) == definition:
                await loop.deployment.apply_definition(definition)
                await self._log_or(change, lambda: loop.deployment.apply_definition(before))
            else:
                await self._restart(loop, definition, change)
            self._fold(change)
            return loop

    async def _restart(self, loop: ManagedLoop, definition: LoopDefinition, change: LoopChange) -> None:
        runtime = await self._try_compose(definition)
        async with loop.gate.close():
            if loop.runtime is not None:
                await loop.runtime.close()
                loop.runtime, loop.fault = None, "it is being opened"
            try:
                await runtime.open()
                await self._log_or(change, runtime.close)
            except BandstandError as error:
                await self._open(loop)
                raise _to_refusal(error) from error
            loop.runtime, loop.fault = runtime, None

    async def run_closed(self, name: str, work: Callable[[], None]) -> None:
        """Run what needs a loop's state for itself, on a thread, while the loop has let go of it; requests wait.

        Raises:
            UnknownLoopError: there is none of that name.
            BandstandError: what ``work`` raised, or the loop is not open.
        """
        await asyncio.shield(self._run_closed(name, work))

    async def _run_closed(self, name: str, work: Callable[[], None]) -> None:
        async with self._lock:  # the ledger of the default loop, too, is nobody's meanwhile
            loop = self.get(name)
            runtime = loop.require_runtime()
            async with loop.gate.close():
                # What is begun there goes on when the request that asked is long answered: it is no part of it.
                await asyncio.create_task(runtime.run_closed(work), context=Context())

    async def delete(self, name: str, client: str) -> None:
        """Delete a loop and all that it holds, for good.

        Raises:
            UnknownLoopError: there is none of that name.
            LoopRefusedError: it is the default one.
            UnsupportedByEngineError: no loop can be made or changed over this engine.
            OverloadedError, StorageFullError, StorageUnavailableError: it is there as before.
        """
        await asyncio.shield(self._delete(name, client))

    async def _delete(self, name: str, client: str) -> None:
        async with self._lock:
            self._require_changeable()
            loop = self.get(name)
            if loop is self._default:
                raise LoopRefusedError("the default loop cannot be deleted")
            await self._log_and_fold(self._build_change(name, loop, None, client))
            async with loop.gate.close():
                runtime, loop.runtime, loop.fault = loop.runtime, None, "it was deleted"
                if runtime is not None:
                    await runtime.close()
                await asyncio.to_thread(self._files.discard, name)

    def _require_changeable(self) -> None:
        if self._unchangeable is not None:
            raise UnsupportedByEngineError(self._unchangeable)

    async def _try_compose(self, definition: LoopDefinition) -> LoopRuntime:
        try:
            return await asyncio.to_thread(self._compose, definition)
        except ConfigurationError as error:
            raise InvalidRequestError(error.detail, error.errors) from None

    def _build_change(
        self, name: str, before: ManagedLoop | None, after: LoopDefinition | None, client: str
    ) -> LoopChange:
        action: LoopAction = "create" if before is None else "delete" if after is None else "change"
        return LoopChange(
            name=name,
            action=action,
            before=None if before is None else before.definition.to_document(),
            after=None if after is None else after.to_document(),
            ts=self._clock(),
            client=client,
        )

    async def _log_and_fold(self, change: LoopChange) -> None:
        await self._store.log_loop_change(change)
        self._fold(change)

    async def _log_or(self, change: LoopChange, undo: Callable[[], Awaitable[Any]]) -> None:
        """Log a change that is in effect, or undo it."""
        try:
            await self._store.log_loop_change(change)
        except BandstandError:
            await undo()
            raise


def _to_refusal(error: BandstandError) -> BandstandError:
    """What a loop could not be opened for, to whoever asked."""
    return LoopRefusedError(error.detail, error.errors) if isinstance(error, ConfigurationError) else error


_SCOPE_IS_FIXED = "whose the models are is for good; make another loop"
_SAID_BY_SETTINGS = "of the default loop the settings say it"
_FROM_SETTINGS = ("policy", "shadow", "include", "schemas", "policies", "retention_days")


def _find_fixed(before: LoopDefinition, after: LoopDefinition) -> list[FieldError]:
    """What a definition says that cannot be changed in this loop."""
    faults = [FieldError("scope", _SCOPE_IS_FIXED)] if before.scope != after.scope else []
    if before.name == DEFAULT_LOOP:
        if before.rewards.reactions != after.rewards.reactions:
            faults.append(FieldError("rewards.reactions", _SAID_BY_SETTINGS))
        faults += [
            FieldError(key, _SAID_BY_SETTINGS) for key in _FROM_SETTINGS if getattr(before, key) != getattr(after, key)
        ]
    return faults
