"""What ``/generate`` costs beyond its gateway, and what hanging ones cost ``/score``.

    python benchmarks/generate.py                     # some two minutes
    python benchmarks/generate.py --rounds 1 --seconds 5

**Overhead.** A scripted gateway thinks 200 ms. Sixteen connections ask it straight, then through the service, each
sending its next request when it has its answer; a round begins with all sixteen at once. What the service adds is its
median latency less the gateway's own, as measured beside it; the table has both, for the gateway too takes longer than
the 200 ms that it thinks.

**Isolation.** A gateway hangs for ever. An open load of 200 ``/score`` a second is measured alone, then while 500
requests for tips are sent at once and left hanging: with the limit that ships (64 wait, the others hear 503), and with
one that lets all 500 wait. The requests arrive inside the measured time, half a second after its beginning.

The service has core 0 to itself; the load and the gateway share core 1.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop
from feeds import KEY, Feed
from load import Burst, drive, post
from open_load import drive_open
from rich.console import Console
from rich.table import Table
from server_process import Server, pin, start_bandstand

THINKS = 0.2
CONCURRENT = 16
HANGING = 500
RATE = 200.0
ALL_WAIT = 1000
_KEY = (f"x-api-key: {KEY}",)
_SAYS = json.dumps(
    {
        "tips": [
            {"id": f"tip-{i}", "content": f"Take the next small step on task {i} now.", "rationale": "It is due."}
            for i in range(1, 4)
        ]
    }
)


class Gateway:
    """A scripted model in a process of its own, beside the load."""

    def __init__(self, delay: float) -> None:
        command = [
            sys.executable,
            "-m",
            "bandstand.testing.scripted_llm_server",
            "--delay",
            str(delay),
            "--text",
            _SAYS,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pin(self._process.pid, 1)
        assert self._process.stdout is not None  # noqa: S101 (it was asked for)
        self.url = self._process.stdout.readline().strip()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Terminate and wait."""
        self._process.terminate()
        self._process.wait(30)


def tips_request(user: int, rng: random.Random) -> bytes:
    """A request for three tips from ten tasks."""
    tasks = [
        {
            "id": f"task-{i}",
            "title": f"Write the report number {rng.randrange(1000)} for the board",
            "priority": rng.randint(1, 4),
            "is_overdue": rng.random() < 0.3,  # noqa: PLR2004 (some are)
            "task_age_days": round(rng.uniform(0, 40), 1),
        }
        for i in range(10)
    ]
    body = {"user_id": f"user-{user:06d}", "context": {"tasks": tasks, "hour_of_day": 9, "day_of_week": 1}}
    return post("/generate", json.dumps(body).encode(), _KEY)


def straight_request() -> bytes:
    """What a client asks of the gateway itself, about as long as what the service asks of it."""
    messages = [{"role": "system", "content": "x" * 2_000}, {"role": "user", "content": "x" * 1_500}]
    return post("/chat/completions", json.dumps({"model": "tip-generator", "messages": messages}).encode())


async def overhead(state: Path, options: argparse.Namespace, console: Console) -> None:
    """Measure and print the first number."""
    rng = random.Random(7)
    requests = [tips_request(user, rng) for user in range(200)]
    table = Table(title=f"/generate, {CONCURRENT} at once, a gateway that thinks {1e3 * THINKS:.0f} ms")
    for column in ("round", "gateway p50 ms", "service p50 ms", "p99 ms", "overhead p50 ms", "CPU ms", "failures"):
        table.add_column(column, justify="right")
    with ExitStack() as stack:
        gateway = Gateway(THINKS)
        stack.callback(gateway.stop)
        service = start_bandstand(state / "overhead", KEY, LITELLM_URL=gateway.url)
        stack.callback(service.stop)
        added = []
        for number in range(options.rounds + 1):
            straight = await drive(
                gateway.port, itertools.repeat(straight_request()), connections=CONCURRENT, seconds=options.seconds / 2
            )
            cpu = service.cpu()
            burst = await drive(
                service.port, itertools.cycle(requests), connections=CONCURRENT, seconds=options.seconds
            )
            cpu = (service.cpu() - cpu) / len(burst.latencies)
            if number:  # the first warms up
                added.append(burst.quantile(0.5) - straight.quantile(0.5))
                row = (straight.quantile(0.5), burst.quantile(0.5), burst.quantile(0.99), added[-1], cpu)
                table.add_row(str(number), *(f"{1e3 * value:.2f}" for value in row), str(burst.failures))
    console.print(table)
    console.print(f"median of the rounds: {1e3 * statistics.median(added):.2f} ms; load {os.getloadavg()[0]:.1f}")


async def isolation(state: Path, options: argparse.Namespace, console: Console) -> None:
    """Measure and print the second number."""
    table = Table(title=f"/score at {RATE:.0f} a second, alone and beside {HANGING} requests for tips that hang")
    for column in (
        "limit",
        "what",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "longest ms",
        "p99 less idle's, ms",
        "answered 503",
    ):
        table.add_column(column, justify="left" if column == "what" else "right")
    for limit in (None, ALL_WAIT):
        with ExitStack() as stack:
            gateway = Gateway(3_600)
            stack.callback(gateway.stop)
            environment = {"LITELLM_URL": gateway.url, "GENERATE_DEADLINE_S": "3600"}
            if limit is not None:
                environment["GENERATE_MAX_CONCURRENT"] = str(limit)
            service = start_bandstand(state / f"isolation-{limit}", KEY, **environment)
            stack.callback(service.stop)
            feed = Feed(1000)
            await drive_open(service.port, feed.scores(), rate=RATE, seconds=3)  # warms up
            for _ in range(options.rounds):
                idle = await drive_open(service.port, feed.scores(), rate=RATE, seconds=2 * options.seconds)
                busy, refused = await beside_hanging(service, feed, 2 * options.seconds)
                for what, burst in (("idle", idle), ("beside", busy)):
                    values = [1e3 * burst.quantile(q) for q in (0.5, 0.99, 0.999, 1.0)]
                    more = 1e3 * (burst.quantile(0.99) - idle.quantile(0.99))
                    shown = [f"{value:.2f}" for value in (*values, more)]
                    table.add_row(str(limit or "64 (ships)"), what, *shown, str(refused) if burst is busy else "")
    console.print(table)
    console.print(f"load {os.getloadavg()[0]:.1f}")


async def beside_hanging(service: Server, feed: Feed, seconds: float) -> tuple[Burst, int]:
    """Score while requests for tips hang; returns also how many of these were refused."""
    rng = random.Random(3)
    requests = [tips_request(user, rng) for user in range(HANGING)]

    async def hang() -> tuple[int, list[asyncio.StreamWriter]]:
        connections = [await asyncio.open_connection("127.0.0.1", service.port) for _ in requests]
        await asyncio.sleep(0.5)
        for (_, writer), request in zip(connections, requests, strict=True):
            writer.write(request)
        await asyncio.sleep(seconds / 2)
        refused = sum(bool(reader._buffer) for reader, _ in connections)  # type: ignore[attr-defined]  # noqa: SLF001 (whatever was answered)
        return refused, [writer for _, writer in connections]

    hanging = asyncio.create_task(hang())
    burst = await drive_open(service.port, feed.scores(), rate=RATE, seconds=seconds)
    refused, writers = await hanging
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(1)
    return burst, refused


async def main(options: argparse.Namespace) -> None:
    """Measure both."""
    pin(0, 1)
    state = Path(tempfile.mkdtemp(prefix="bandstand-bench-", dir=options.state_dir))
    console = Console()
    try:
        if options.only != "isolation":
            await overhead(state, options, console)
        if options.only != "overhead":
            await isolation(state, options, console)
    finally:
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("overhead", "isolation"))
    memory = Path("/dev/shm")  # noqa: S108 (a memory-backed place to measure on, not to keep anything in)
    parser.add_argument("--state-dir", type=Path, default=memory if memory.is_dir() else None)
    uvloop.run(main(parser.parse_args()))
