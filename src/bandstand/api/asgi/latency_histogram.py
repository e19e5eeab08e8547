"""A histogram that one thread counts in, at a third of the time that one for any thread takes; one a request."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class LatencyHistogram(Collector):
    """Counts seconds by label values; shows what the library's own histogram would.

    Args:
        name: of the metric.
        documentation: the same.
        label_names: of each count.
        bounds: the largest value of each bucket but the last, which has none; ascending.
    """

    def __init__(self, name: str, documentation: str, label_names: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._label_names = tuple(label_names)
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, Latencies] = {}

    def get(self, labels: Labels) -> "Latencies":
        """Where those of some label values are counted; it is not shown before one is."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = Latencies(self._bounds)
        return counts

    def observe(self, labels: Labels, seconds: float) -> None:
        """Count one."""
        self.get(labels).observe(seconds)

    def compute_quantiles(self, labels: Labels, shares: Sequence[float]) -> tuple[int, list[float | None]]:
        """How many were counted, and within how many seconds each share of them came.

        Inside a bucket they are taken to be spread evenly; what is above the largest bound has no number.

        Args:
            labels: those of all counts whose label values begin so.
            shares: of the counts, in (0, 1].
        """
        mine = [counts.buckets for known, counts in self._counts.items() if known[: len(labels)] == labels]
        buckets = [sum(column) for column in zip(*mine, strict=True)] or [0] * (len(self._bounds) + 1)
        total = sum(buckets)
        return total, [self._find_quantile(buckets, share * total) for share in shares]

    def _find_quantile(self, buckets: Sequence[int], rank: float) -> float | None:
        below, low = 0, 0.0
        for count, high in zip(buckets, self._bounds, strict=False):
            if count and below + count >= rank:
                return low + (high - low) * (rank - below) / count
            below, low = below + count, high
        return None

    def describe(self) -> Iterator[Metric]:
        """The metric without counts, for the registry."""
        yield self._make_family()

    def collect(self) -> Iterator[Metric]:
        """The metric as it stands."""
        family = self._make_family()
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            if not any(counts.buckets):
                continue
            buckets = list(zip(names, map(float, accumulate(counts.buckets)), strict=True))
            family.add_metric(labels, buckets, counts.total)
            by_name = dict(zip(self._label_names, labels, strict=True))
            family.add_sample(f"{self._name}_created", by_name, counts.created)
        yield family

    def _make_family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._label_names)


class Latencies:
    """Counts seconds of one series.

    Args:
        bounds: the largest value of each bucket but the last; ascending.
    """

    __slots__ = ("_bounds", "buckets", "created", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.created = time.time()

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds
