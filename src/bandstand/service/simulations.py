"""Simulations: how a run stands, from its row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandstand.service.context import format_time
from bandstand.store.tables.simulations import RunState, SimulationRun


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationProgress:
    """How far a run is, in decisions; ``seconds_left`` only while it is played."""

    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationStatus:
    """A run.

    Attributes:
        client: the key that asked for it; ``-`` is the command line.
        plan: the plan's document.
        error: why it failed.
    """

    id: int
    state: RunState
    client: str
    created: str
    started: str | None
    ended: str | None
    progress: SimulationProgress
    plan: Mapping[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPage:
    """A page of runs, newest first; ``next`` is the ``before`` of the next page."""

    simulations: Sequence[SimulationStatus]
    next: int | None


def build_status(run: SimulationRun) -> SimulationStatus:
    """How a run stands."""
    return SimulationStatus(
        id=run.id,
        state=run.state,
        client=run.client,
        created=format_time(run.created),
        started=format_time(run.started),
        ended=format_time(run.ended),
        progress=SimulationProgress(done=run.done, total=run.total, seconds_left=compute_seconds_left(run)),
        plan=json.loads(run.plan),
        error=run.error,
    )


def compute_seconds_left(run: SimulationRun) -> float | None:
    """Seconds until a run is done, if it goes on as it has; ``None`` where it is not played, or has only begun."""
    if run.state != "running" or run.started is None or run.heartbeat is None or not run.done:
        return None
    return (run.heartbeat - run.started) / run.done * (run.total - run.done)
