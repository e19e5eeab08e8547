"""Simulations, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from bandstand.service.runs import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPage:
    """A page of simulations, newest first; ``next`` is the ``before`` of the next page."""

    simulations: Sequence[RunStatus]
    next: int | None
