"""What grows with a deployment: the cost of a call, the start, memory and the ledger's file, by users and decisions.

    python benchmarks/growth.py [--sizes 1000:10000 100000:1000000] [--seconds 2]

Each state directory is filled in this process by the use cases that serve (bodies of 1,747 bytes, a reward for every
fourth decision), then served, measured over HTTP with a bare ASGI app beside it, stopped, started, killed in the middle
of load and started again. A start is timed from the command to the first answered ``/score``, Python's own included.
"""

import argparse
import asyncio
import itertools
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import uvloop
from feeds import CONNECTIONS, KEY, score_body
from load import Burst, drive, post
from pydantic_core import from_json
from rich.console import Console
from rich.table import Table
from server_process import LOAD_CORE, Server, pin, start_bandstand, start_rival

from bandstand.bandit.catalogue import Catalogue
from bandstand.service.context import ServiceContext
from bandstand.service.reward import reward
from bandstand.service.score import score
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore

_GROUP = 64
_REWARDED = 4
"""Every so many decisions one has a reward."""
_HOT_USERS = 1000
_COLUMNS = (
    "users",
    "decisions",
    "file MB",
    "bytes a decision",
    "start s",
    "after kill -9 s",
    "memory MB",
    "cold ÷ bare",
    "warm ÷ bare",
    "warm µs",
    "bare µs",
    "p99 ms",
)


class Size(NamedTuple):
    """How large a deployment is."""

    users: int
    decisions: int


async def fill(state: Path, size: Size) -> None:
    """Make a deployment of that size."""
    definition = files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8")
    catalogue = Catalogue.parse(tomllib.loads(definition))
    store = EmbeddedStore(state, catalogue, options=StoreOptions(sync=False, checkpoint_seconds=60))
    await store.open()
    deployment = ServiceContext(catalogue, store)
    await deployment.start()
    bodies = [score_body(number, random.Random(number)) for number in range(_HOT_USERS)]

    async def visit(number: int) -> None:
        user, body = number % size.users, bodies[number % _HOT_USERS]
        body = body.replace(b'"user-%06d"' % (number % _HOT_USERS), b'"user-%06d"' % user)
        scored = await score(deployment, from_json(body), body=body, client="bench")
        if number % _REWARDED == 0:
            await reward(deployment, {"decision_id": scored.decision_id, "reward": 0.5}, client="bench")

    for start in range(0, size.decisions, _GROUP):
        await asyncio.gather(*map(visit, range(start, min(start + _GROUP, size.decisions))))
    await store.close()


def weigh(state: Path) -> float:
    """Bytes that a decision takes in the ledger, its share of everything else included."""
    ledger = state / "ledger.db"
    with closing(sqlite3.connect(ledger)) as connection:
        (decisions,) = connection.execute("SELECT count(*) FROM decisions").fetchone()
    return ledger.stat().st_size / int(decisions)


async def start_and_score(state: Path) -> tuple[Server, float]:
    """Start the service; returns how many seconds its first answer took."""
    started = time.perf_counter()
    server = start_bandstand(state, KEY)
    first = await drive(server.port, build_requests(1, 0), connections=1, seconds=60)
    assert not first.failures  # noqa: S101 (what is timed is an answer)
    return server, time.perf_counter() - started


def build_requests(count: int, first: int) -> Iterator[bytes]:
    """One score request for each of some users."""
    for user in range(first, first + count):
        yield post("/score", score_body(user, random.Random(user)), (f"x-api-key: {KEY}",))


async def drive_measured(server: Server, requests: Iterator[bytes], seconds: float) -> Burst:
    """Drive a server, and note the processor time it took."""
    before = server.cpu()
    burst = await drive(server.port, requests, connections=CONNECTIONS, seconds=seconds)
    burst.cpu = server.cpu() - before
    return burst


async def measure(state: Path, size: Size, bare: Server, options: argparse.Namespace) -> list[str]:
    """Measure a deployment of one size; returns its row."""
    used = weigh(state)
    hot = min(size.users // 2, _HOT_USERS)
    cold_requests = list(build_requests(hot, 0))
    warm_requests = list(build_requests(hot, size.users - hot))
    server, after_stop = await start_and_score(state)
    floor = await drive_measured(bare, itertools.cycle(warm_requests), options.seconds)
    cold = await drive_measured(server, iter(cold_requests), 60)
    await drive_measured(server, iter(warm_requests), 60)
    warm = await drive_measured(server, itertools.cycle(warm_requests), options.seconds)
    memory = server.memory()
    load = asyncio.ensure_future(drive(server.port, itertools.cycle(warm_requests), connections=8, seconds=60))
    await asyncio.sleep(0.5)
    server.kill()
    await asyncio.wait([load])
    load.exception()  # its connections broke: that was the point
    after_kill = []
    for _ in range(options.rounds):
        server, seconds = await start_and_score(state)
        after_kill.append(seconds)
        server.kill()
    return [
        f"{size.users:,}",
        f"{size.decisions:,}",
        f"{used * size.decisions / 1e6:.1f}",
        f"{used:.0f}",
        f"{after_stop:.2f}",
        f"{statistics.median(after_kill):.2f}",
        f"{memory / 1e6:.0f}",
        f"{floor.cpu_each / cold.cpu_each:.3f}",
        f"{floor.cpu_each / warm.cpu_each:.3f}",
        f"{1e6 * warm.cpu_each:.0f}",
        f"{1e6 * floor.cpu_each:.0f}",
        f"{1e3 * warm.quantile(0.99):.1f}",
    ]


async def main(options: argparse.Namespace) -> None:
    """Measure every size and print the table."""
    root = options.keep or Path(tempfile.mkdtemp(prefix="bandstand-growth-", dir=options.state_dir))
    for size in options.sizes:
        if not (root / f"{size.users}-{size.decisions}").exists():
            await fill(root / f"{size.users}-{size.decisions}", size)
    if options.fill_only:
        return
    pin(0, LOAD_CORE)
    table = Table(title="what grows with a deployment")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    bare = start_rival("bare:app", root)
    try:
        for size in options.sizes:
            state = root / f"{size.users}-{size.decisions}"
            row = await measure(state, size, bare, options)
            print(*row, sep="\t", flush=True)  # whatever becomes of the rest
            table.add_row(*row)
    finally:
        bare.stop()
        if not options.keep:
            shutil.rmtree(root, ignore_errors=True)
    Console(width=150).print(table)


def parse_size(text: str) -> Size:
    """Read ``users:decisions``."""
    users, decisions = map(int, text.split(":"))
    return Size(users, decisions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [Size(1000, 10_000), Size(100_000, 1_000_000)]
    parser.add_argument("--sizes", nargs="*", type=parse_size, default=sizes, metavar="USERS:DECISIONS")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3, help="starts after a kill")
    memory_disk = Path("/dev/shm")  # noqa: S108 (a memory-backed place to measure on, not to keep anything in)
    parser.add_argument("--state-dir", type=Path, default=memory_disk if memory_disk.is_dir() else None)
    parser.add_argument(
        "--keep", type=Path, help="fill this directory, if it is empty, and leave it: filling takes longest"
    )
    parser.add_argument("--fill-only", action="store_true", help="with --keep: measure in another run")
    uvloop.run(main(parser.parse_args()))
