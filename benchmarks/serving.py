"""What serving costs, over HTTP, as ratios to a bare ASGI app under the same server in the same run.

    python benchmarks/serving.py [--users 1000] [--seconds 3] [--rounds 5] [--state-dir DIR]

Every server has one worker on one core; the load has the other. Bursts alternate with bursts of the bare app, so that a
drifting machine drifts in both. The state directory is memory-backed where there is one; the disk's own sync time is
printed beside. One rate alone says little on a noisy machine; the ratios of neighbours do.
"""

import argparse
import itertools
import json
import os
import random
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import uvloop
from load import Burst, drive, post
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
CONNECTIONS = 32
CANDIDATES = 10
BODY_BYTES = 1747
_RIVALS = {"bare": "bare:app", "plain FastAPI": "plain_fastapi:app", "first implementation": "first_implementation:app"}
KEY = secrets.token_hex(16)


def score_body(user: int, rng: random.Random) -> bytes:
    """A score request of 10 candidates and exactly 1,747 bytes."""
    candidates = [
        {
            "id": f"tip-{i}",
            "content": "",
            "source": "task",
            "source_id": f"task-{rng.randrange(10_000):04d}",
            "features": {
                "hour_of_day": rng.randrange(24),
                "is_overdue": rng.choice((True, False, False)),
                "task_age_days": round(rng.uniform(0, 40), 1),
                "priority": rng.randint(1, 4),
            },
        }
        for i in range(CANDIDATES)
    ]
    context = {"hour_of_day": rng.randrange(24), "day_of_week": rng.randrange(7)}
    request = {"user_id": f"user-{user:06d}", "candidates": candidates, "context": context}
    spare = BODY_BYTES - len(json.dumps(request, separators=(",", ":")))
    share, rest = divmod(spare, CANDIDATES)
    for i, candidate in enumerate(candidates):
        candidate["content"] = ("Do the next small thing on the list. " * 3)[: share + (i < rest)]
    body = json.dumps(request, separators=(",", ":")).encode()
    assert len(body) == BODY_BYTES, len(body)  # noqa: S101 (the figure quoted must be the figure sent)
    return body


class Server:
    """A server process on core 0."""

    def __init__(self, arguments: list[str], environment: dict[str, str], port: int) -> None:
        self.port = port
        self._process = subprocess.Popen(
            arguments, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        pin(self._process.pid, 0)
        for _ in range(200):
            time.sleep(0.05)
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
            except httpx.TransportError:
                continue
            return
        raise RuntimeError(f"no answer from {arguments}")

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0

    def cpu(self) -> float:
        """Processor seconds used so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Terminate and wait."""
        self._process.terminate()
        self._process.wait(30)


def pin(pid: int, core: int) -> None:
    """Keep a process, and the threads it will make, on one core."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rival(name: str, state: Path) -> Server:
    """One of the apps in ``rivals/`` under the same server and settings."""
    port = free_port()
    code = (
        f"import uvicorn, sys; sys.path.insert(0, {str(HERE / 'rivals')!r}); "
        f"uvicorn.run({_RIVALS[name]!r}, port={port}, loop='uvloop', http='httptools', access_log=False, "
        "log_level='error', server_header=False)"
    )
    return Server([sys.executable, "-c", code], {"STATE_DIR": str(state)}, port)


def bandstand(state: Path, **environment: str) -> Server:
    """The service with everything on: keys, request ids, ledger, metrics."""
    port = free_port()
    command = [sys.executable, "-m", "bandstand", "serve", "--port", str(port), "--state-dir", str(state)]
    return Server(command, {"API_KEYS": f"bench:admin:{KEY}", **environment}, port)


def sync_seconds(directory: Path) -> float:
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
    """Bursts of one server, each with the bare burst beside it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pairs: list[tuple[Burst, Burst]] = []

    def add(self, burst: Burst, bare: Burst) -> None:
        """Keep a burst and its neighbour."""
        self.pairs.append((burst, bare))

    def row(self) -> list[str]:
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


async def measure(name: str, server: Server, bare: Server, feed: "Feed", options: argparse.Namespace) -> Series:
    """Alternate bursts of a server with bursts of the bare app."""
    series = Series(name)
    for number in range(options.rounds + 1):
        floor = await burst_of(bare, feed.scores(), options.seconds / 2)
        burst = await burst_of(server, await feed.prepare(server), options.seconds)
        if number:  # the first warms up
            series.add(burst, floor)
    return series


async def burst_of(server: Server, requests: Iterator[bytes], seconds: float) -> Burst:
    """Drive a server, and note the processor time it took."""
    before = server.cpu()
    burst = await drive(server.port, requests, connections=CONNECTIONS, seconds=seconds)
    burst.cpu = server.cpu() - before
    return burst


class Feed:
    """Makes the requests: score bodies over all users in random order."""

    def __init__(self, users: int, path: str = "/score") -> None:
        rng = random.Random(7)
        headers = (f"x-api-key: {KEY}",)
        self._requests = [post(path, score_body(user, rng), headers) for user in range(users)]
        rng.shuffle(self._requests)

    def scores(self) -> Iterator[bytes]:
        """Score requests without end."""
        return itertools.cycle(self._requests)

    async def prepare(self, server: Server) -> Iterator[bytes]:  # noqa: ARG002 (rewards need it)
        """The requests of the next burst."""
        return self.scores()


class RewardFeed(Feed):
    """Makes reward requests: scores first, unmeasured, for decisions to reward."""

    decisions = 40_000

    async def prepare(self, server: Server) -> Iterator[bytes]:
        """One reward for each of many fresh decisions."""
        scores = itertools.islice(self.scores(), self.decisions)
        burst = await drive(server.port, scores, connections=CONNECTIONS, seconds=600, keep=True)
        rewards = []
        for number, body in enumerate(burst.bodies):
            decision = json.loads(body)["decision_id"]
            reward = json.dumps({"decision_id": decision, "reward": (number % 21 - 10) / 10}).encode()
            rewards.append(post("/reward", reward, (f"x-api-key: {KEY}",)))
        return iter(rewards)


async def main(options: argparse.Namespace) -> None:
    """Run every series and print the table."""
    pin(0, 1)
    state = Path(tempfile.mkdtemp(prefix="bandstand-bench-", dir=options.state_dir))
    console = Console(width=120)
    rows: list[list[str]] = []
    try:
        with ExitStack() as stack:

            def started(server: Server) -> Server:
                stack.callback(server.stop)
                return server

            bare = started(rival("bare", state))
            feed = Feed(options.users)
            service = started(bandstand(state / "service"))
            before = service.memory()
            rows.append((await measure("/score", service, bare, feed, options)).row())
            warm = service.memory() - before
            rows.append((await measure("/reward", service, bare, RewardFeed(options.users), options)).row())
            if not options.quick:
                first = state / "first"
                first.mkdir()
                for name in ("plain FastAPI", "first implementation"):
                    server = started(rival(name, first))
                    rows.append((await measure(f"{name} /score", server, bare, feed, options)).row())
        table = Table(title=f"{CONNECTIONS} connections, {options.users:,} users, {BODY_BYTES:,}-byte bodies")
        for column in (
            "what",
            "÷ bare",
            "range",
            "by CPU",
            "req/s",
            "CPU µs",
            "p50 ms",
            "p99 ms",
            "p99 ÷ bare",
            "failures",
        ):
            table.add_column(column, justify="left" if column == "what" else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print(
            f"sync on the state's disk: {1e3 * sync_seconds(state):.2f} ms; resident memory grew by "
            f"{warm / 2**20:.1f} MiB over the /score bursts; load {os.getloadavg()[0]:.1f}"
        )
    finally:
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    memory = Path("/dev/shm")  # noqa: S108 (a memory-backed place to measure on, not to keep anything in)
    parser.add_argument("--state-dir", type=Path, default=memory if memory.is_dir() else None)
    parser.add_argument("--quick", action="store_true", help="only the service and the bare app")
    uvloop.run(main(parser.parse_args()))
