"""Processor time by thread, as /metrics shows it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bandstand.api.asgi.metrics import Metrics
from bandstand.api.asgi.thread_cpu import read_thread_seconds

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no such statistics")


def test_the_threads_of_one_pool_are_counted_together() -> None:
    met = threading.Barrier(3)
    with ThreadPoolExecutor(2, thread_name_prefix="crowd") as pool:
        for _ in range(2):
            pool.submit(met.wait, 60)
        met.wait(60)
        names = read_thread_seconds().keys()
    assert {"loop", "crowd"} <= names
    assert not any(name.startswith("crowd_") for name in names)


def test_metrics_show_the_loop() -> None:
    line = next(each for each in Metrics().render().decode().splitlines() if '{thread="loop"}' in each)
    assert line.startswith("bandstand_thread_cpu_seconds_total")
    assert float(line.split()[-1]) > 0.0
