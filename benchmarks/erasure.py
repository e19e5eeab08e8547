"""How long others wait while a user with very many decisions is erased, or trimmed by retention.

    python benchmarks/erasure.py [--decisions 100000]

A state directory is made by the service itself, and one user's decision and reward are multiplied in its ledger. Then
others score and reward over two connections, first with nothing else to do, then while that user is erased, and once
more while the service trims a like user at its start. Printed are the longest wait of each kind and the usual one.
"""

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
from load import Burst, drive, post
from server_process import Server, start_bandstand

KEY = "bench-key"
USER = "very-busy"
DAY = 86_400
_MAX_SECONDS = 300
_HEADERS = (f"authorization: Bearer {KEY}",)
_FEATURES = {"priority": 2, "is_overdue": True, "task_age_days": 3.0}
_TIPS = [{"id": f"tip-{n}", "content": f"Tip {n}", "source": "task", "features": _FEATURES} for n in range(10)]
_MULTIPLY_DECISIONS = """
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
    INSERT INTO decisions (seq, nonce, uid, policy, client, ts, tip_id, pick, exploring, seed, score, propensity, floor,
        body, numbers)
    SELECT seq - ?2 - 2 * n, lower(hex(randomblob(8))), uid, policy, client, ts - ?3, tip_id, pick, exploring, seed,
        score, propensity, floor, body, numbers
    FROM decisions, n WHERE uid = (SELECT uid FROM users WHERE user_id = ?4)"""
_MULTIPLY_REWARDS = """
    INSERT INTO rewards (seq, uid, policy, decision_seq, tip_id, value, weight, applied, source, body_hash, client, ts)
    SELECT seq + 1, uid, policy, seq, tip_id, 0.5, 1.0, 1, 'client', x'00', client, ts FROM decisions
    WHERE uid = (SELECT uid FROM users WHERE user_id = ?) AND seq % 2 = 0"""


def count_decisions(state: Path) -> int:
    """How many decisions the user has in the ledger."""
    with closing(sqlite3.connect(f"file:{state / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        query = "SELECT count(*) FROM decisions WHERE uid = (SELECT uid FROM users WHERE user_id = ?)"
        return int(ledger.execute(query, (USER,)).fetchone()[0])


def make_state(state: Path, decisions: int, days_ago: int) -> None:
    """Let the service decide once for the user, and multiply that."""
    server = start_bandstand(state, KEY)
    body = {"user_id": USER, "candidates": _TIPS}
    headers = {"authorization": f"Bearer {KEY}"}
    httpx.post(f"http://127.0.0.1:{server.port}/score", json=body, headers=headers, trust_env=False).raise_for_status()
    server.stop()
    with closing(sqlite3.connect(state / "ledger.db")) as ledger, ledger:
        (seq,) = ledger.execute("SELECT seq FROM decisions").fetchone()
        parity = seq % 2  # the copies get even numbers, and their rewards the odd ones
        shift = (days_ago * DAY * 1000 << 20) + parity
        ledger.execute(_MULTIPLY_DECISIONS, (decisions, shift, days_ago * DAY, USER))
        ledger.execute(_MULTIPLY_REWARDS, (USER,))


def requests_until(is_over: Callable[[], bool], path: str, name: str) -> Iterator[bytes]:
    """Requests about a thousand others, until it is over."""
    number = 0
    while not is_over():
        number += 1
        user = f"{name}-{number % 1000}"
        body: dict[str, object] = {"user_id": user, "candidates": _TIPS}
        if path == "/reward":
            body = {"user_id": user, "tip_id": "tip-1", "reward": 0.5, "features": _FEATURES}
        yield post(path, json.dumps(body).encode(), _HEADERS)


async def load_until(server: Server, is_over: Callable[[], bool]) -> dict[str, Burst]:
    """Score and reward, each over one connection, until it is over."""
    paths = ("/score", "/reward")
    requests = (requests_until(is_over, path, path[1:]) for path in paths)
    bursts = await asyncio.gather(*(drive(server.port, each, connections=1, seconds=600) for each in requests))
    return dict(zip(paths, bursts, strict=True))


def report(what: str, bursts: dict[str, Burst], seconds: float) -> None:
    """Print a row for each route."""
    for path, burst in bursts.items():
        times = ", ".join(f"{name} {burst.quantile(q) * 1e3:.2f}" for name, q in (("p50", 0.5), ("p99", 0.99)))
        longest = max(burst.latencies) * 1e3
        print(f"{what:28} {seconds:6.1f} s  {path:8} {times}, longest {longest:.1f} ms, failed {burst.failures}")


async def measure_quiet(server: Server, seconds: float) -> None:
    """Load with nothing else to do."""
    until = time.perf_counter() + seconds
    report("nothing else", await load_until(server, lambda: time.perf_counter() > until), seconds)


async def measure_erasure(server: Server) -> None:
    """Load while the user is erased."""
    async with httpx.AsyncClient(trust_env=False, timeout=600, headers={"authorization": f"Bearer {KEY}"}) as client:
        started = time.perf_counter()
        url = f"http://127.0.0.1:{server.port}/users?user_id={USER}"
        erasing = asyncio.create_task(client.delete(url))
        bursts = await load_until(server, erasing.done)
        report("while one is erased", bursts, time.perf_counter() - started)
        receipt = (await erasing).raise_for_status().json()
        print(f"{'':28} {receipt['erased']['decisions']:,} decisions, {receipt['erased']['rewards']:,} rewards gone")


async def measure_trim(server: Server, state: Path, decisions: int) -> None:
    """Load while the service, just started, trims the user."""
    started, left = time.perf_counter(), decisions

    async def watch() -> None:
        nonlocal left
        while left > 1 and time.perf_counter() - started < _MAX_SECONDS:
            await asyncio.sleep(0.5)
            left = await asyncio.to_thread(count_decisions, state)

    watching = asyncio.create_task(watch())
    bursts = await load_until(server, watching.done)
    report("while one is trimmed", bursts, time.perf_counter() - started)
    print(f"{'':28} {decisions - left:,} decisions gone")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=100_000)
    decisions = parser.parse_args().decisions
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "erased"
        make_state(state, decisions, days_ago=1)
        server = start_bandstand(state, KEY)
        try:
            asyncio.run(measure_quiet(server, 5.0))
            asyncio.run(measure_erasure(server))
        finally:
            server.stop()
        state = Path(folder) / "trimmed"
        make_state(state, decisions, days_ago=200)
        before = count_decisions(state)
        server = start_bandstand(state, KEY)
        try:
            asyncio.run(measure_trim(server, state, before))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
