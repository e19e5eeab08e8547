"""One loop of a service: what it is, what serves it, and what the service needs for that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.errors import StorageUnavailableError
from bandstand.service.context import ServiceContext
from bandstand.service.loop_gate import LoopGate


class LoopForm:
    """What of a running loop its definition makes, where the rest is there for good; a class of whoever joins loops."""

    __slots__ = ()


class LoopRuntime(Protocol):
    """What serves one loop.

    Attributes:
        deployment: its policies, its store, its clock.
    """

    deployment: ServiceContext

    async def open(self) -> None:
        """Own its state and be ready; nothing is left open where that fails."""

    async def close(self) -> None:
        """Commit what was accepted, and close the state."""

    async def run_closed(self, work: Callable[[], None]) -> None:
        """Close the state, run work that needs it exclusively on a thread, and open the state again.

        Raises:
            BandstandError: what ``work`` raised; or the state cannot be opened again, and the loop answers nothing any
                more.
        """

    def compose_form(self, definition: LoopDefinition) -> LoopForm:
        """Make, beside the serving, what another definition takes; it blocks for some hundred milliseconds.

        Raises:
            ConfigurationError: it cannot be so.
        """

    async def take_form(self, form: LoopForm) -> LoopForm:
        """Release the state, and take it up in another form; nobody may be inside. Returns the former one.

        Raises:
            BandstandError: the state cannot be taken up so, and is as before.
        """


ComposeLoop = Callable[[LoopDefinition, str | None], LoopRuntime]
"""Joins the parts of a loop over the place of its state.

It blocks for some hundred milliseconds, and raises ConfigurationError, or UnsupportedByEngineError.
"""


class LoopPlaces(Protocol):
    """Where the states of loops are.

    Attributes:
        are_shared: whether other processes serve the same loops, and make, change and delete them.
    """

    are_shared: bool

    async def claim(self, name: str) -> str | None:
        """The place for the state of a new loop; ``None`` for one that is named as the loop.

        Raises:
            LoopRefusedError: there is a state of that name.
            UnsupportedByEngineError: there can be none.
        """

    async def discard(self, name: str, place: str | None) -> None:
        """Delete the state of a loop; idempotent."""

    async def sweep(self) -> None:
        """Finish what a process that died was deleting."""


@dataclass(slots=True, eq=False)
class ManagedLoop:
    """A loop of the service.

    Attributes:
        definition: what it is.
        place: what holds its state, if that is not named as the loop.
        changed_at: when it was last changed or made, seconds since the epoch; ``None`` for the default one as it began.
        changed_by: name of the API key that did so.
        runtime: what serves it; ``None`` while nothing does.
        fault: why nothing does.
        gate: which requests pass.
        said: of the default one, what the settings and the configuration file say of it.
    """

    definition: LoopDefinition
    place: str | None = None
    changed_at: float | None = None
    changed_by: str | None = None
    runtime: LoopRuntime | None = None
    fault: str | None = None
    gate: LoopGate = field(default_factory=LoopGate)
    said: LoopDefinition | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name

    @property
    def pinned_by(self) -> str | None:
        """The setting that says which of its policies serves, if one does."""
        return None if self.runtime is None else self.runtime.deployment.pinned_by

    @property
    def deployment(self) -> ServiceContext:
        """What serves it.

        Raises:
            StorageUnavailableError: nothing does.
        """
        return self.require_runtime().deployment

    def require_runtime(self) -> LoopRuntime:
        """What serves it.

        Raises:
            StorageUnavailableError: nothing does.
        """
        if self.runtime is None:
            raise StorageUnavailableError(f"this loop is not open: {self.fault}")
        return self.runtime
