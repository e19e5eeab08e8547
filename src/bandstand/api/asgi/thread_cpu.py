"""The CPU time of each thread of the process, from the kernel's scheduler statistics, read at each scrape."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_TASKS = Path("/proc/self/task")
_NUMBER = re.compile(r"_\d+$")  # of a thread in a pool


def read_thread_seconds() -> dict[str, float]:
    """Processor seconds of the threads alive now, by name, those of one pool together; empty where nobody counts."""
    seconds: dict[str, float] = {}
    for thread in threading.enumerate():
        try:
            nanoseconds = int((_TASKS / str(thread.native_id) / "schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):  # it has just ended, or this is no Linux
            continue
        name = "loop" if thread is threading.main_thread() else _NUMBER.sub("", thread.name)
        seconds[name] = seconds.get(name, 0.0) + nanoseconds / 1e9
    return seconds


class ThreadCpuCollector(Collector):
    """``bandstand_thread_cpu_seconds_total`` by thread: the loop's own, and each of what is done behind answers."""

    def collect(self) -> Iterator[Metric]:
        """The metric as it stands."""
        family = CounterMetricFamily(
            "bandstand_thread_cpu_seconds", "Processor time by thread, of threads that are alive.", labels=("thread",)
        )
        for name, seconds in sorted(read_thread_seconds().items()):
            family.add_metric((name,), seconds)
        yield family
