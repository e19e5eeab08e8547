"""What the memory store knows of no single user: experiments, and the memories of policies."""

from collections.abc import Callable, Collection, Mapping

from bandstand.store.records import Decision, PolicyRef
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import ExperimentStart
from bandstand.testing.memory_events import MemoryEvents


class MemoryDeployment:
    """The part of :class:`bandstand.store.protocol.DeploymentLog` that has a state of its own.

    Args:
        events: what happened.
        clock: seconds since the epoch.
    """

    def __init__(self, events: MemoryEvents, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock
        self._memory_changes: list[MemoryChange] = []
        self._experiment: tuple[str | None, ExperimentStart | None] = (None, None)
        self._enrolments: dict[tuple[int, str], set[str]] = {}

    def enrol(self, decision: Decision) -> None:
        """Count a user to the arm that decided for them."""
        if decision.experiment:
            self._enrolments.setdefault((decision.experiment, decision.policy.name), set()).add(decision.user_id)

    def remove_user(self, user_id: str) -> int:
        """Forget a user; returns how many enrolments went."""
        enrolments = sum(user_id in users for users in self._enrolments.values())
        for users in self._enrolments.values():
            users.discard(user_id)
        return enrolments

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any."""
        if self._experiment[0] != definition:
            ts = self._clock()
            self._experiment = (
                definition,
                None if definition is None else ExperimentStart(self._events.sequence.next(ts), ts),
            )
        return self._experiment[1]

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return {arm: len(users) for (begun, arm), users in self._enrolments.items() if begun == experiment and users}

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on."""
        if list(policies) != self._events.registry.get_shadows():
            self._events.registry.record_shadows(self._events.sequence.next(self._clock()), policies)

    async def set_memory(self, change: MemoryChange) -> None:
        """Record a policy's memory, and sum everybody's rewards again."""
        self._memory_changes.append(change)
        self._events.registry.record_memory(change)
        self._events.refold(change.policy)

    async def list_memory_changes(self) -> list[MemoryChange]:
        """Every change of a policy's memory, the oldest first."""
        return list(self._memory_changes)
