"""Latency: how long requests take to answer, as those who look at a service want to know it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLatency:
    """How long a route takes.

    Attributes:
        route: its path.
        requests: answered since the start.
        p50: seconds within which half of them were answered; ``None`` beyond the largest bound that is counted.
        p99: seconds within which 99 of 100 were.
    """

    route: str
    requests: int
    p50: float | None
    p99: float | None


ListLatencies = Callable[[], Sequence[RouteLatency]]
