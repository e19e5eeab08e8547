"""Metrics: means and intervals of what rewards bring by name, for each policy and candidate."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bandstand.service.context import ServiceContext
from bandstand.store.tables.windows import MetricSums

_Z = 1.959963984540054  # of the normal interval of 95 %
_MAX_CANDIDATES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricMean:
    """The mean of a metric over the rewards that brought it, and its normal interval of 95 %.

    Attributes:
        low: ``None`` if fewer than two rewards brought it, as ``high``.
    """

    rewards: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """A metric of one policy's decisions.

    Attributes:
        all: over all of them.
        candidates: by the candidate that was picked; the 50 with the most rewards.
    """

    all: MetricMean
    candidates: Mapping[str, MetricMean]


async def load_metrics(deployment: ServiceContext) -> Mapping[str, Mapping[str, MetricSummary]]:
    """Every metric that rewards brought, by policy and by name."""
    return summarise_metrics(await deployment.store.load_metric_sums())


def summarise_metrics(sums: Iterable[MetricSums]) -> dict[str, dict[str, MetricSummary]]:
    """Means and intervals of metrics, by policy and by name."""
    grouped: dict[tuple[str, str], dict[str, tuple[int, float, float]]] = {}
    for policy, metric, tip_id, *more in sorted(sums):
        candidates = grouped.setdefault((policy, metric), {})
        candidates[tip_id] = _add(candidates.get(tip_id, (0, 0.0, 0.0)), more)  # of another definition of the policy
    found: dict[str, dict[str, MetricSummary]] = {}
    for (policy, metric), candidates in grouped.items():
        total = (0, 0.0, 0.0)
        for amounts in candidates.values():
            total = _add(total, amounts)
        most = sorted(candidates.items(), key=lambda each: (-each[1][0], each[0]))[:_MAX_CANDIDATES]
        found.setdefault(policy, {})[metric] = MetricSummary(
            all=build_mean(*total), candidates={tip_id: build_mean(*amounts) for tip_id, amounts in most}
        )
    return found


def build_mean(count: int, total: float, squares: float) -> MetricMean:
    """The mean m of n ≥ 1 values from Σ v and Σ v², ± 1.96 s/√n with s² = (Σ v² - n m²)/(n - 1).

    >>> build_mean(2, 1.0, 1.0).mean
    0.5
    """
    mean = total / count
    if count == 1:
        return MetricMean(rewards=1, mean=mean, low=None, high=None)
    variance = max(0.0, squares - count * mean * mean) / (count - 1)
    reach = _Z * math.sqrt(variance / count)
    return MetricMean(rewards=count, mean=mean, low=mean - reach, high=mean + reach)


def _add(so_far: tuple[int, float, float], more: Iterable[float]) -> tuple[int, float, float]:
    count, total, squares = (one + other for one, other in zip(so_far, more, strict=True))
    return int(count), total, squares
