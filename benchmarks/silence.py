"""Windows that end all at once: what `/score` waits while silence is taught, beside what it waits when nothing is due.

    python benchmarks/silence.py [--due 1000000] [--users 1000] [--seconds 20] [--rounds 3] [--folder /var/tmp]
                                 [--durability full]

A ledger on the disk is made with so many decisions, of so many users, whose windows are open. It is then served, and
`/score` is called over HTTP at a steady rate (benchmarks/open_load.py): with all windows still open, and with all of
them ended, in turn, each time by a process of its own. What is said at the end are medians over rounds: on a machine
that does other things besides, single ones are theirs.
"""

import argparse
import asyncio
import itertools
import json
import sqlite3
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import numpy as np
from load import post
from open_load import drive_open
from server_process import LOAD_CORE, pin, start_bandstand

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.service.context import ServiceContext
from bandstand.service.score import score
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.sqlite.schema import connect

RATE = 200.0
WINDOW_S = 3600.0
WINDOW = RewardSettings(window=WINDOW_S, default_reward=-0.1, aggregation="sum")
_KEY = "silence"
_SETTINGS = {"REWARD_WINDOW": str(int(WINDOW_S)), "DEFAULT_REWARD": "-0.1", "REWARD_AGGREGATION": "sum", "JUDGE": "off"}
_CANDIDATES = [
    {"id": f"tip-{number}", "content": "", "source": "bench", "features": {"priority": 1 + number % 4}}
    for number in range(10)
]
_CLONE = """WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :each)
    INSERT INTO decisions SELECT d.seq - 62914560000 * i, d.nonce, d.uid, d.policy, d.client, d.ts, d.tip_id,
        d.pick, d.exploring, d.seed, d.score, d.propensity, d.floor, d.body, d.numbers
    FROM n CROSS JOIN (SELECT * FROM decisions WHERE uid <= :users) AS d"""
_OPEN = """INSERT INTO windows SELECT seq, 0, ts + 3600.0, -0.1, 1 FROM decisions
    WHERE seq NOT IN (SELECT decision FROM windows)"""


def build_request(user_id: str) -> dict[str, object]:
    """What is asked about a user."""
    return {"user_id": user_id, "context": {"hour_of_day": 9}, "candidates": _CANDIDATES}


async def make_ledger(state_dir: Path, due: int, users: int) -> None:
    """Fill a directory with decisions of more than an hour ago."""
    shipped = resources.files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8")
    catalogue, then = Catalogue.parse(tomllib.loads(shipped)), time.time() - 2 * WINDOW_S
    store = EmbeddedStore(state_dir, catalogue, options=StoreOptions(), clock=lambda: then)
    deployment = ServiceContext(catalogue, store, clock=lambda: then, reward_settings=WINDOW)
    await store.open()
    for number in range(users):
        request = build_request(f"user-{number}")
        await score(deployment, request, body=json.dumps(request).encode(), client="bench")
    await store.close()
    with closing(connect(state_dir / "ledger.db")) as connection:
        connection.execute("BEGIN")
        connection.execute(_CLONE, {"each": max(1, due // users - 1), "users": users})
        connection.execute(_OPEN)
        connection.execute("COMMIT")


def set_ends(state_dir: Path, ends: float) -> None:
    """Have all windows that wait end at a time; nobody may serve the directory."""
    with closing(connect(state_dir / "ledger.db")) as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE windows SET due = ? WHERE awaits = 1", (ends,))
        connection.execute("COMMIT")


def count_waiting(state_dir: Path) -> int:
    """Windows that wait for their end, or to be seen to after it."""
    with closing(sqlite3.connect(state_dir / "ledger.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM windows WHERE awaits = 1").fetchone()[0])


def iter_requests(users: int) -> Iterator[bytes]:
    """Yield decisions about the users, in turn, for ever."""
    made = [
        post("/score", json.dumps(build_request(f"user-{number}")).encode(), (f"x-api-key: {_KEY}",))
        for number in range(users)
    ]
    return itertools.cycle(made)


def measure_waits(state_dir: Path, users: int, seconds: float, durability: str) -> list[float]:
    """Serve the directory, print what calls wait, and return p50, p90 and p99 in milliseconds."""
    server = start_bandstand(state_dir, _KEY, DURABILITY=durability, **_SETTINGS)
    requests = iter_requests(users)
    try:
        asyncio.run(drive_open(server.port, requests, rate=RATE, seconds=users / RATE + 1.0))  # all are in memory
        waiting, cpu = count_waiting(state_dir), server.cpu()
        burst = asyncio.run(drive_open(server.port, requests, rate=RATE, seconds=seconds))
        cpu, waiting = server.cpu() - cpu, waiting - count_waiting(state_dir) + len(burst.latencies)
    finally:
        server.stop()
    found = [1e3 * burst.quantile(q) for q in (0.5, 0.9, 0.99)]
    print(
        "p50 {:.2f} ms, p90 {:.2f}, p99 {:.2f}".format(*found),
        f"{burst.failures} failures; taught {waiting / burst.seconds:,.0f} a second; "
        f"{cpu / burst.seconds:.0%} of a core",
        sep="; ",
        flush=True,
    )
    return found


def main() -> None:
    """Print both in turn, and how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--due", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="on a disk; the system's for temporary files if left out")
    parser.add_argument("--durability", choices=("full", "process"), default="full", help="process: nothing is synced")
    arguments = parser.parse_args()
    pin(0, LOAD_CORE)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        state_dir, started = Path(folder), time.perf_counter()
        asyncio.run(make_ledger(state_dir, arguments.due, arguments.users))
        print(f"{arguments.due:,} decisions of {arguments.users:,} users in {time.perf_counter() - started:.0f} s")
        found: dict[str, list[list[float]]] = {"open": [], "ended": []}
        for _ in range(arguments.rounds):
            for name, later in (("open", 86_400.0), ("ended", -60.0)):
                set_ends(state_dir, time.time() + later)
                print(f"{name:5} ", end="")
                found[name].append(measure_waits(state_dir, arguments.users, arguments.seconds, arguments.durability))
        medians = {name: np.median(rounds, axis=0) for name, rounds in found.items()}
        apart = medians["ended"] - medians["open"]
        print(f"medians of {arguments.rounds} rounds: p50 {apart[0]:+.2f} ms, p99 {apart[2]:+.2f} ms; the bar is +5 ms")


if __name__ == "__main__":
    main()
