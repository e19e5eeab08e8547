"""Runs beside the service, simulations and evaluations: how one stands, from its row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bandstand.service.context import format_time
from bandstand.store.tables.run_table import RunRecord, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStanding:
    """How far a run is, in steps of its kind; ``seconds_left`` only while it is played."""

    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run.

    Attributes:
        client: the key that asked for it; ``-`` is the command line.
        plan: what was asked, as its document.
        error: why it failed.
    """

    id: int
    state: RunState
    client: str
    created: str
    started: str | None
    ended: str | None
    progress: RunStanding
    plan: Mapping[str, Any]
    error: str | None


def build_status(run: RunRecord) -> RunStatus:
    """How a run stands."""
    return RunStatus(
        id=run.id,
        state=run.state,
        client=run.client,
        created=format_time(run.created),
        started=format_time(run.started),
        ended=format_time(run.ended),
        progress=RunStanding(done=run.done, total=run.total, seconds_left=compute_seconds_left(run)),
        plan=json.loads(run.plan),
        error=run.error,
    )


def compute_seconds_left(run: RunRecord) -> float | None:
    """Seconds until a run is done, if it continues as it has; ``None`` if it is not played, or has only begun."""
    if run.state != "running" or run.started is None or run.heartbeat is None or not run.done:
        return None
    return (run.heartbeat - run.started) / run.done * (run.total - run.done)
