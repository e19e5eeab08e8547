"""What serving costs, over HTTP, as ratios to a bare ASGI app under the same server in the same run.

    python benchmarks/serving.py [--users 1000] [--seconds 3] [--rounds 5] [--rows NAME …] [--rivals-python PYTHON]

Every server has one worker on one core; the load has the other. Bursts alternate with bursts of the bare app, so that a
drifting machine drifts in both. Processor time is the kernel's (scheduler statistics of each thread), which holds where
neighbours are busy; rates less so. The state directory is memory-backed where there is one; the disk's own sync time is
printed beside. Vowpal Wabbit and MABWiser run where a Python is given that has ``rivals/requirements.txt``, FastAPI and
uvicorn.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import uvloop
from feeds import BODY_BYTES, CONNECTIONS, KEY, Feed, LegacyRewardFeed, OwnIdFeed, RewardFeed
from load import Burst, drive
from rich.console import Console
from rich.table import Table
from server_process import LOAD_CORE, Server, pin, start_bandstand, start_rival

_COLUMNS = ("what", "÷ bare", "range", "by CPU", "req/s", "CPU µs", "p50 ms", "p99 ms", "p99 ÷ bare", "failures")


def measure_sync(directory: Path) -> float:
    """Median time of one write and fsync."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times)


class Series:
    """Bursts of one server, each with the bare burst beside it.

    Attributes:
        threads: processor seconds by thread, over all bursts.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pairs: list[tuple[Burst, Burst]] = []
        self.threads: dict[str, float] = {}

    def add(self, burst: Burst, bare: Burst, threads: dict[str, float]) -> None:
        """Keep a burst and its neighbour."""
        self.pairs.append((burst, bare))
        for name, seconds in threads.items():
            self.threads[name] = self.threads.get(name, 0.0) + seconds

    def build_row(self) -> list[str]:
        """Medians over the rounds."""
        ratios = [burst.rate / bare.rate for burst, bare in self.pairs]
        tails = [burst.quantile(0.99) / bare.quantile(0.99) for burst, bare in self.pairs]
        work = [bare.cpu_each / burst.cpu_each for burst, bare in self.pairs]
        return [
            self.name,
            f"{statistics.median(ratios):.3f}",
            f"{min(ratios):.3f}-{max(ratios):.3f}",
            f"{statistics.median(work):.3f}",
            f"{statistics.median(burst.rate for burst, _ in self.pairs):,.0f}",
            f"{statistics.median(1e6 * burst.cpu_each for burst, _ in self.pairs):.0f}",
            f"{statistics.median(1e3 * burst.quantile(0.5) for burst, _ in self.pairs):.2f}",
            f"{statistics.median(1e3 * burst.quantile(0.99) for burst, _ in self.pairs):.2f}",
            f"{statistics.median(tails):.1f}",
            str(sum(burst.failures for burst, _ in self.pairs)),
        ]

    def build_thread_row(self) -> list[str]:
        """Processor time a request by thread, in µs; what is below a twentieth of one is left out."""
        requests = sum(len(burst.latencies) for burst, _ in self.pairs)
        each = {name: 1e6 * seconds / requests for name, seconds in self.threads.items()}
        parts = sorted(each.items(), key=lambda item: -item[1])
        return [self.name, ", ".join(f"{name} {spent:.1f}" for name, spent in parts if spent >= 0.05)]  # noqa: PLR2004


class Row(NamedTuple):
    """A row of the table: which server, which requests."""

    name: str
    start: Callable[[Path], Server]
    build_feed: Callable[[int], Feed]


def build_rows(rivals_python: str | None) -> list[Row]:
    """Everything that can be measured here."""

    def plain(state: Path) -> Server:
        return start_bandstand(state, KEY)

    def shadowed(state: Path) -> Server:
        return start_bandstand(state, KEY, SHADOW="thompson-v1")

    rows = [
        Row("/score", plain, Feed),
        Row("/reward", plain, RewardFeed),
        Row("/reward, legacy form", plain, LegacyRewardFeed),
        Row("/score, own id", plain, OwnIdFeed),
        Row("/score, K = 100", plain, lambda users: Feed(users, candidates=100)),
        Row("/score, one shadow", shadowed, Feed),
        Row("FastAPI, constant answer", lambda state: start_rival("plain_fastapi:app", state), Feed),
        Row("first implementation", lambda state: start_rival("first_implementation:app", state), Feed),
    ]
    if rivals_python is not None:
        for name in ("vw", "mabwiser"):

            def rival(state: Path, app: str = f"{name}_fastapi:app") -> Server:
                return start_rival(app, state, rivals_python)

            rows += [Row(f"{name} /score", rival, Feed), Row(f"{name} /reward", rival, LegacyRewardFeed)]
    return rows


async def measure(row: Row, server: Server, bare: Server, options: argparse.Namespace) -> Series:
    """Alternate bursts of a server with bursts of the bare app."""
    series, feed, floor_feed = Series(row.name), row.build_feed(options.users), row.build_feed(options.users)
    for number in range(options.rounds + 1):
        floor = await run_burst(bare, floor_feed.scores(), options.seconds / 2)
        requests = await feed.prepare(server)
        before = server.cpu_by_thread()
        burst = await run_burst(server, requests, options.seconds)
        after = server.cpu_by_thread()
        if number:  # the first warms up
            series.add(burst, floor, {name: after[name] - before.get(name, 0.0) for name in after})
    return series


async def run_burst(server: Server, requests: Iterator[bytes], seconds: float) -> Burst:
    """Drive a server, and note the processor time it took."""
    before = server.cpu()
    burst = await drive(server.port, requests, connections=CONNECTIONS, seconds=seconds)
    burst.cpu = server.cpu() - before
    return burst


async def main(options: argparse.Namespace) -> None:
    """Run every series and print the tables."""
    pin(0, LOAD_CORE)
    state = Path(tempfile.mkdtemp(prefix="bandstand-bench-", dir=options.state_dir))
    console = Console(width=130)
    rows = [row for row in build_rows(options.rivals_python) if not options.rows or row.name in options.rows]
    measured: list[Series] = []
    try:
        with ExitStack() as bare_stack:
            bare = start_rival("bare:app", state)
            bare_stack.callback(bare.stop)
            server, started = None, None
            for number, row in enumerate(rows):
                if started is not row.start:
                    if server is not None:
                        server.stop()
                    directory = state / str(number)
                    directory.mkdir()
                    server, started = row.start(directory), row.start
                assert server is not None  # noqa: S101 (it was started above)
                measured.append(await measure(row, server, bare, options))
                print(*measured[-1].build_row(), sep="\t", flush=True)  # whatever becomes of the rest
            if server is not None:
                server.stop()
        table = Table(title=f"{CONNECTIONS} connections, {options.users:,} users, {BODY_BYTES:,}-byte bodies")
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column == "what" else "right")
        threads = Table("what", "CPU µs a request, by thread")
        for series in measured:
            table.add_row(*series.build_row())
            if series.threads:
                threads.add_row(*series.build_thread_row())
        console.print(table)
        console.print(threads)
        console.print(f"sync on the state's disk: {1e3 * measure_sync(state):.2f} ms; load {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    memory = Path("/dev/shm")  # noqa: S108 (a memory-backed place to measure on, not to keep anything in)
    parser.add_argument("--state-dir", type=Path, default=memory if memory.is_dir() else None)
    parser.add_argument("--rows", nargs="*", help="only these")
    parser.add_argument("--rivals-python", help="of an environment that has the rivals")
    uvloop.run(main(parser.parse_args()))
