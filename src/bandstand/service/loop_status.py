"""Loops as a person, or a program, looks at them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bandstand.bandit.loop_definition import LearningMode, ModelScope
from bandstand.service.context import format_time
from bandstand.service.loop_runtime import ManagedLoop
from bandstand.service.loops import Loops
from bandstand.store.tables.loops import LoopAction

_MAX_CHANGES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStatus:
    """A loop now.

    Attributes:
        open: whether it takes requests; ``fault`` says why not.
        active_policy: what un-named requests mean, and, of an apprentice, what learns; ``None`` while it is not open.
        definition: in the form that ``PUT`` accepts.
        changed_by: name of the API key; ``settings`` for the configuration file; ``None`` for a default loop that is as
            it began.
    """

    name: str
    open: bool
    fault: str | None
    mode: LearningMode
    scope: ModelScope
    active_policy: str | None
    definition: Mapping[str, Any]
    changed_at: str | None
    changed_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopEntry:
    """One change of a loop."""

    loop: str
    action: LoopAction
    ts: str
    by: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDescription(LoopStatus):
    """A loop now, and its newest 100 changes, the newest first."""

    changes: Sequence[LoopEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopListing:
    """Every loop, the default one first."""

    loops: Sequence[LoopStatus]


def list_loops(loops: Loops, only: str | None = None) -> LoopListing:
    """Every loop, or only the one that the caller may see."""
    return LoopListing(loops=[build_loop_status(loop) for loop in loops if only in {None, loop.name}])


def describe_loop(loops: Loops, name: str) -> LoopDescription:
    """One loop.

    Raises:
        UnknownLoopError: there is no such loop.
    """
    return LoopDescription(**asdict(build_loop_status(loops.get(name))), changes=list_loop_entries(loops, name))


def list_loop_entries(loops: Loops, name: str | None = None) -> list[LoopEntry]:
    """The newest changes of a loop, or of all, the newest first."""
    chosen = [change for change in loops.changes if name in {None, change.name}]
    return [
        LoopEntry(
            loop=each.name,
            action=each.action,
            ts=format_time(each.ts),
            by=each.client,
            before=each.before,
            after=each.after,
        )
        for each in chosen[: -_MAX_CHANGES - 1 : -1]
    ]


def build_loop_status(loop: ManagedLoop) -> LoopStatus:
    """A loop now."""
    definition = loop.definition
    return LoopStatus(
        name=loop.name,
        open=loop.runtime is not None,
        fault=None if loop.runtime is not None else loop.fault,
        mode=definition.mode,
        scope=definition.scope,
        active_policy=None if loop.runtime is None else loop.deployment.active_policy,
        definition=definition.to_document(),
        changed_at=format_time(loop.changed_at),
        changed_by=loop.changed_by,
    )
