"""Windows that end all at once: what `/score` waits while silence is taught, beside what it waits when idle.

    python -m benchmarks.silence [--due 1000000] [--users 1000] [--seconds 20]

A ledger is made in which so many decisions, of so many users, are due. The use case is then called at a steady rate in
the process that serves, first with nothing due, then with all of it, and the waits of both are compared.
"""

import argparse
import asyncio
import json
import tempfile
import time
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.service.context import ServiceContext
from bandstand.service.score import score
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.sqlite.schema import connect

RATE = 200.0
WINDOW = RewardSettings(window=3600.0, default_reward=-0.1, aggregation="sum")
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


def build_deployment(state_dir: Path, now: float) -> ServiceContext:
    """A deployment over a directory, whose clock runs on from ``now``."""
    shipped = resources.files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8")
    catalogue, began = Catalogue.parse(tomllib.loads(shipped)), time.monotonic()

    def clock() -> float:
        return now + time.monotonic() - began

    store = EmbeddedStore(state_dir, catalogue, options=StoreOptions(), clock=clock)
    return ServiceContext(catalogue, store, clock=clock, reward_settings=WINDOW)


async def decide(deployment: ServiceContext, user_id: str) -> None:
    """One call of the use case."""
    request = {"user_id": user_id, "context": {"hour_of_day": 9}, "candidates": _CANDIDATES}
    await score(deployment, request, body=json.dumps(request).encode(), client="bench")


async def make_ledger(state_dir: Path, due: int, users: int, now: float) -> None:
    """Fill a directory with decisions whose windows end at ``now`` + 3600."""
    deployment = build_deployment(state_dir, now)
    await deployment.store.open()
    for number in range(users):
        await decide(deployment, f"user-{number}")
    await deployment.store.close()
    connection = connect(state_dir / "ledger.db")
    connection.execute("BEGIN")
    connection.execute(_CLONE, {"each": max(1, due // users - 1), "users": users})
    connection.execute(_OPEN)
    connection.execute("COMMIT")
    connection.close()


async def measure_waits(deployment: ServiceContext, users: int, seconds: float) -> list[float]:
    """Milliseconds of each call, at a steady rate whoever is late."""
    waits: list[float] = []

    async def call(number: int) -> None:
        started = time.perf_counter()
        await decide(deployment, f"user-{number % users}")
        waits.append(1000 * (time.perf_counter() - started))

    loop, tasks = asyncio.get_running_loop(), []
    began = loop.time()
    for number in range(int(RATE * seconds)):
        await asyncio.sleep(max(0.0, began + number / RATE - loop.time()))
        tasks.append(asyncio.create_task(call(number)))
    await asyncio.gather(*tasks)
    return waits


async def main(due: int, users: int, seconds: float) -> None:
    """Print both, and how much was taught meanwhile."""
    now = 1_750_000_000.0
    with tempfile.TemporaryDirectory() as directory:
        state_dir = Path(directory)
        started = time.perf_counter()
        await make_ledger(state_dir, due, users, now)
        print(f"{due:,} decisions of {users:,} users in {time.perf_counter() - started:.0f} s")
        found = {}
        for name, later in (("idle", 1800.0), ("due", 8000.0)):
            deployment = build_deployment(state_dir, now + later)
            await deployment.store.open()
            await deployment.start()
            await measure_waits(deployment, users, 2.0)  # everybody is in memory
            before = (await deployment.store.load_policy_totals())["linucb-v2"].rewards
            await deployment.windows.open()
            waits = await measure_waits(deployment, users, seconds)
            await deployment.windows.close()
            taught = (await deployment.store.load_policy_totals())["linucb-v2"].rewards - before
            found[name] = np.percentile(waits, [50, 90, 99])
            p50, p90, p99 = found[name]
            print(f"{name:5} p50 {p50:.2f} ms, p90 {p90:.2f}, p99 {p99:.2f}; taught {taught / seconds:,.0f} a second")
            await deployment.store.close()
        print(f"p99 is {found['due'][2] - found['idle'][2]:+.2f} ms; the bar is +5 ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--due", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.due, arguments.users, arguments.seconds))
