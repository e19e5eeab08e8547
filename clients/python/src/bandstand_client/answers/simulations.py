"""Policies against personas.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class RunProgress(Answer):
    """How far a run is.

    Attributes:
        done: decisions of a simulation, events of the log for an evaluation.
        seconds_left: while it is played, if it goes on as it has.

    Example:
        >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
        >>> client.simulation(run.id).progress.done <= run.progress.total
        True
        >>> client.delete_simulation(run.id)
    """

    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class Simulation(Answer):
    """A run.

    Attributes:
        client: the key that asked for it; `-` is the command line.
        error: why it failed.

    Example:
        >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
        >>> run.plan["days"]
        1
        >>> client.delete_simulation(run.id)
    """

    id: int
    state: Literal["queued", "running", "done", "interrupted", "cancelled", "failed"]
    client: str
    created: str
    started: str | None = None
    ended: str | None = None
    progress: RunProgress
    plan: Mapping[str, Any]
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class SimulationList(Answer):
    """A page of runs, newest first; ``next`` is the ``before`` of the next page.

    Example:
        >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
        >>> client.simulations().simulations[0].id == run.id
        True
        >>> client.delete_simulation(run.id)
    """

    simulations: tuple[Simulation, ...]
    next: int | None = None


@dataclass(frozen=True, kw_only=True)
class SimulationResult(Answer):
    """A run with its results so far: by policy, over all decisions and by decision, by persona, by judge.

    Attributes:
        client: the key that asked for it; `-` is the command line.
        error: why it failed.

    Example:
        >>> run = client.start_simulation(["first-v1"], days=1, personas=1, seeds=1)
        >>> client.simulation(run.id).error is None
        True
        >>> client.delete_simulation(run.id)
    """

    id: int
    state: Literal["queued", "running", "done", "interrupted", "cancelled", "failed"]
    client: str
    created: str
    started: str | None = None
    ended: str | None = None
    progress: RunProgress
    plan: Mapping[str, Any]
    error: str | None = None
    policies: Mapping[str, Mapping[str, Any]]
    baselines: Mapping[str, Mapping[str, Any]]
    personas: Mapping[str, Mapping[str, Any]]
