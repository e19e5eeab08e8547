"""The loops that exist, read from the events of the default loop's ledger."""

from collections.abc import Callable, Iterator

from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.errors import UnknownLoopError
from bandstand.service.loop_runtime import LoopRuntime, ManagedLoop
from bandstand.store.protocol import Store
from bandstand.store.tables.loops import LoopAction, LoopChange, fold_default_loop


class LoopRegistry:
    """The loops of one service, folded from their changes.

    Args:
        default: serves the default loop.

    Attributes:
        changes: every change of a loop, the oldest first.
        default: the default loop, which is always there.
        said: what the settings say of it.
    """

    def __init__(self, default: LoopRuntime) -> None:
        deployment = default.deployment
        self.changes: list[LoopChange] = []
        self.said = deployment.definition
        self.default = ManagedLoop(self.said, runtime=default, said=self.said)
        self._loops: dict[str, ManagedLoop] = {DEFAULT_LOOP: self.default}
        self._store: Store = deployment.store
        self._clock: Callable[[], float] = deployment.clock

    def get(self, name: str) -> ManagedLoop:
        """The loop of that name.

        Raises:
            UnknownLoopError: there is no such loop.
        """
        loop = self._loops.get(name)
        if loop is None:
            raise UnknownLoopError("no loop of that name")
        return loop

    def __contains__(self, name: str) -> bool:
        """Whether there is a loop of that name."""
        return name in self._loops

    def __iter__(self) -> Iterator[ManagedLoop]:
        """Every loop, the default one first, then in order of their making."""
        return iter(list(self._loops.values()))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._loops)

    def list_others(self) -> list[ManagedLoop]:
        """Every loop but the default one."""
        return [loop for loop in self if loop is not self.default]

    def list_gone(self) -> set[tuple[str, str | None]]:
        """Names and places of loops that were made and are not there any more."""
        return self._list_made() - {(loop.name, loop.place) for loop in self}

    def is_known(self, loop: ManagedLoop) -> bool:
        """Whether a loop was ever made, by what is logged: that may have been put back to an earlier moment."""
        return (loop.name, loop.place) in self._list_made()

    def _list_made(self) -> set[tuple[str, str | None]]:
        return {(change.name, change.place) for change in self.changes if change.action == "create"}

    async def read_changes(self) -> list[LoopChange]:
        """Fold what was logged since, and return it; of a ledger that was put back, all that was and is there."""
        logged, known = await self._store.list_loop_changes(), self.changes
        if [change.seq for change in logged[: len(known)]] != [change.seq for change in known]:
            self._fold_anew(logged)
            return [*known, *logged]
        new = logged[len(known) :]
        for change in new:
            self.fold(change)
        return new

    def _fold_anew(self, changes: list[LoopChange]) -> None:
        before, self.changes, self._loops = self._loops, [], {DEFAULT_LOOP: self.default}
        self.default.definition = self.said
        for change in changes:
            self.fold(change)
        for name, now in self._loops.items():
            was = before.get(name)
            if was is not None and was.place == now.place:  # what serves it goes on
                was.definition, was.changed_at, was.changed_by = now.definition, now.changed_at, now.changed_by
                self._loops[name] = was

    def fold(self, change: LoopChange) -> None:
        """Take a change that is logged into account; who serves its loop follows."""
        self.changes.append(change)
        if change.after is None:
            self._loops.pop(change.name, None)
            return
        if change.name == DEFAULT_LOOP:
            definition = fold_default_loop(self.said, [change])
        else:
            definition = LoopDefinition.parse(change.name, change.after)
        loop = self._loops.setdefault(change.name, ManagedLoop(definition, change.place))
        loop.definition, loop.changed_at, loop.changed_by = definition, change.ts, change.client

    async def log(self, change: LoopChange) -> LoopChange:
        """Log a change, if it rests on the newest there is; it is not folded yet.

        Raises:
            MovedError: another process has logged one since.
            OverloadedError, StorageFullError, StorageUnavailableError: it was not logged.
        """
        return await self._store.log_loop_change(change, after=self._get_newest())

    async def log_and_fold(self, change: LoopChange) -> None:
        """Log a change, as :meth:`log` does, and take it into account."""
        self.fold(await self.log(change))

    def _get_newest(self) -> int:
        return self.changes[-1].seq if self.changes else 0

    def build_change(
        self,
        name: str,
        before: ManagedLoop | None,
        after: LoopDefinition | None,
        client: str,
        place: str | None = None,
    ) -> LoopChange:
        """A change from what a loop is, ``None`` for not there, to what it is to be, ``None`` for gone."""
        action: LoopAction = "create" if before is None else "delete" if after is None else "change"
        return LoopChange(
            name=name,
            action=action,
            before=None if before is None else before.definition.to_document(),
            after=None if after is None else after.to_document(),
            ts=self._clock(),
            client=client,
            place=place,
            own=self.said.find_differences(after) if name == DEFAULT_LOOP and after is not None else None,
        )
