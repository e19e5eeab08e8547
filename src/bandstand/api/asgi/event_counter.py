"""A counter that one thread counts in, at a fifth of the time that one for any thread takes; one or two a request."""

import time
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class EventCounter(Collector):
    """Counts events by label values; shows what the library's own counter would.

    Args:
        name: of the metric, without ``_total``.
        documentation: the same.
        label_names: of each count.
    """

    def __init__(self, name: str, documentation: str, label_names: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._label_names = tuple(label_names)
        self._counts: dict[Labels, int] = {}
        self._created: dict[Labels, float] = {}

    def count(self, labels: Labels) -> None:
        """Count one."""
        try:
            self._counts[labels] += 1
        except KeyError:
            self._counts[labels], self._created[labels] = 1, time.time()

    def describe(self) -> Iterator[Metric]:
        """The metric without counts, for the registry."""
        yield self._make_family()

    def collect(self) -> Iterator[Metric]:
        """The metric as it stands."""
        family = self._make_family()
        for labels, count in self._counts.items():
            family.add_metric(labels, count, created=self._created[labels])
        yield family

    def _make_family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._documentation, labels=self._label_names)
