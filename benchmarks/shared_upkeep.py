"""What /score waits over PostgreSQL while much falls due at once, beside what it waits when nothing does.

    python benchmarks/shared_upkeep.py [--windows 1000000] [--turns 100000] [--erased 100000] [--trimmed 1000000]
        [--rate 200] [--seconds 15]

A PostgreSQL and one service; rows of real decisions are multiplied in the ledger. At each step an open load of /score
is answered twice: before, and beside (1) windows that have all ended, (2) turns that all wait for the judge's rules,
(3) the erasure of a user with very many decisions, half of them rewarded, (4) the retention of a day's decisions, half
of them rewarded: the service is kept from leading until the load has begun. Printed are p50 and p99 of both, and how
much was done meanwhile. 0 leaves a step out.
"""

import argparse
import asyncio
import itertools
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvloop
from feeds import KEY, score_body
from load import Burst, post
from open_load import drive_open
from rich.console import Console
from rich.table import Table
from server_process import LOAD_CORE, SERVER_CORE, pin, start_bandstand

from bandstand.store.postgres.address import LedgerAddress
from bandstand.testing.postgres_server import run_server

USERS, BUSY = 1000, "very-busy"
_HEADERS = (f"x-api-key: {KEY}",)
_MILLISECOND = 1 << 20
_FEATURES = {"hour_of_day": 9, "is_overdue": True, "task_age_days": 3.0, "priority": 2}
_CLONE = """INSERT INTO decisions (seq, nonce, uid, policy, client, ts, tip_id, pick, exploring, seed, score,
        propensity, floor, version, body, numbers, picked)
    SELECT c.ms << 20, c.nonce, c.uid, c.policy, c.client, c.ms / 1000.0, c.tip_id, c.pick, c.exploring, c.seed,
        c.score, c.propensity, c.floor, c.version, c.body, c.numbers, c.picked
    FROM (SELECT d.*, $2::bigint - row_number() OVER () AS ms FROM generate_series(1, $1::bigint) AS i CROSS JOIN (
        SELECT DISTINCT ON (uid) * FROM decisions WHERE uid = ANY ($3::bigint[]) ORDER BY uid, seq DESC) AS d) AS c"""
"""So many more of each user, one a millisecond before a time."""
_OPEN_WINDOWS = """INSERT INTO windows (decision, uid, held, due, fallback, awaits)
    SELECT seq, uid, false, extract(epoch FROM now()) - 1, -0.1, true FROM decisions ON CONFLICT DO NOTHING"""
_ADD_TURNS = """WITH one AS (SELECT * FROM judgements LIMIT 1), added AS (
        INSERT INTO judgements (seq, nonce, uid, policy, tip_id, features, taxonomy, body_hash, client, ts, state,
            tries, rounds, version)
        SELECT one.seq + i * 1048576, one.nonce, u.uid, one.policy, one.tip_id, one.features, one.taxonomy,
            one.body_hash, one.client, one.ts, 'waiting', 0, 0, 0
        FROM one, generate_series(1, $1::bigint) AS i JOIN users AS u ON u.uid = 1 + i % (SELECT max(uid) FROM users)
        RETURNING seq)
    INSERT INTO turns (judgement, query_t, answer_t, query_t1, about)
    SELECT seq, 'question ' || seq, 'Eight feet.', 'thanks, that is right', '' FROM added"""
_REWARD = """WITH user_of AS (SELECT uid FROM users WHERE user_id = $1), added AS (
        INSERT INTO rewards (seq, uid, n, policy, decision_seq, decided, tip_id, value, weight, applied, source, picked,
            shadow_set, body_hash, client, ts)
        SELECT d.seq + 1, d.uid, row_number() OVER (ORDER BY d.seq), d.policy, d.seq, d.ts, d.tip_id, 0.5, 1.0, true,
            'client', d.picked, 0, 'x', d.client, d.ts FROM decisions AS d JOIN user_of USING (uid)
        WHERE (d.seq >> 20) % 2 = 0 RETURNING uid, seq, decision_seq),
    claimed AS (INSERT INTO claims SELECT uid, decision_seq, seq FROM added)
    UPDATE users SET version = (SELECT count(*) FROM added) WHERE user_id = $1"""
_REWARD_OLD = """WITH added AS (
        INSERT INTO rewards (seq, uid, n, policy, decision_seq, decided, tip_id, value, weight, applied, source, picked,
            shadow_set, body_hash, client, ts)
        SELECT d.seq + 1, d.uid, u.version + row_number() OVER (PARTITION BY d.uid ORDER BY d.seq), d.policy, d.seq,
            d.ts, d.tip_id, 0.5, 1.0, true, 'client', d.picked, 0, 'x', d.client, d.ts
        FROM decisions AS d JOIN users AS u USING (uid) WHERE d.seq < $1 AND (d.seq >> 20) % 2 = 0
        RETURNING uid, seq, decision_seq)
    INSERT INTO claims SELECT uid, decision_seq, seq FROM added"""
_NOTE_VERSIONS = """UPDATE users AS u SET version = r.n FROM (SELECT uid, max(n) AS n FROM rewards GROUP BY uid) AS r
    WHERE u.uid = r.uid AND u.version < r.n"""
_LEAD_INSTEAD = """UPDATE leases SET holder = 'benchmark', until = clock_timestamp() + interval '1 hour',
    fence = fence + 1 WHERE name = 'upkeep'"""
_FILLED = "VACUUM (ANALYZE) decisions, users, rewards, windows, judgements"

Session = Any


class Trial:
    """A service, its ledger, and what came of each step.

    Args:
        directory: of the service's own files.
        environment: of the service.
        rate: calls a second.
        seconds: that a load lasts.

    Attributes:
        server: the service.
        session: to its ledger.
        counting: another one.
        table: what was measured.
    """

    session: Session
    counting: Session

    def __init__(self, directory: Path, environment: dict[str, str], *, rate: float, seconds: float) -> None:
        rng = random.Random(3)
        bodies = [score_body(user, rng) for user in range(USERS)]
        self._requests = itertools.cycle([post("/score", body, _HEADERS) for body in bodies])
        self._directory = directory
        self._environment = environment
        self._rate = rate
        self._seconds = seconds
        self._cloned = 0
        self.server = start_bandstand(directory, KEY, **environment)
        self.table = Table("beside", "p50 ms", "p99 ms", "p99 - idle", "done meanwhile", "load")

    def restart(self, **changed: str) -> None:
        """Stop the service, and start another."""
        self.server.stop()
        self.start(**changed)

    def start(self, **changed: str) -> None:
        """Start a service in the place of one that was stopped."""
        self.server = start_bandstand(self._directory, KEY, **self._environment | changed)

    def stop(self) -> None:
        """Stop the service."""
        self.server.stop()

    def connect(self) -> httpx.AsyncClient:
        """A client of the service."""
        base = f"http://127.0.0.1:{self.server.port}"
        return httpx.AsyncClient(base_url=base, headers={"x-api-key": KEY}, trust_env=False, timeout=300)

    async def decide_for_all(self) -> list[int]:
        """One decision for everybody; their keys."""
        await drive_open(self.server.port, self._requests, rate=500, seconds=USERS / 500 + 2, connections=32)
        rows = await self.session.fetch("SELECT uid FROM users WHERE user_id <> $1", BUSY)
        return [row[0] for row in rows]

    async def clone(self, uids: list[int], each: int, *, days_ago: int = 0) -> None:
        """Multiply decisions."""
        self._cloned += 3_600_000  # no two get the same numbers
        now = int(time.time() * 1000)
        await self.session.execute(_CLONE, each, now - self._cloned - days_ago * 86_400_000, uids)
        await self.session.execute(_FILLED)

    async def measure(
        self,
        what: str,
        count: Callable[[], Awaitable[int]],
        begin: Callable[[], Awaitable[object]],
        *,
        waits: bool = False,
    ) -> None:
        """Load before, and load beside what is begun, or goes on once it has begun; ``count`` says how much is left."""
        idle = await self._load(self._seconds)
        before = await count()
        begun = asyncio.create_task(self._begin(begin))
        if waits:
            await begun
            before = await count()
        started = time.perf_counter()
        busy = await self._load(self._seconds)
        done, seconds = before - await count(), time.perf_counter() - started
        await begun
        difference = 1e3 * (busy.quantile(0.99) - idle.quantile(0.99))
        load = f"{os.getloadavg()[0]:.1f}"
        self.table.add_row(f"nothing, before {what}", *_describe(idle), "", "", load)
        self.table.add_row(what, *_describe(busy), f"{difference:+.1f}", f"{done:,} in {seconds:.0f} s", load)

    async def _begin(self, begin: Callable[[], Awaitable[object]]) -> None:
        await asyncio.sleep(0.5)
        await begin()

    async def _load(self, seconds: float) -> Burst:
        burst = await drive_open(self.server.port, self._requests, rate=self._rate, seconds=seconds, connections=64)
        if burst.failures:
            raise RuntimeError(f"{burst.failures} calls failed")
        return burst

    async def count(self, query: str, *values: object) -> int:
        """The number that a question has for an answer."""
        return int(await self.counting.fetchval(query, *values))


def _describe(burst: Burst) -> tuple[str, str]:
    return f"{1e3 * burst.quantile(0.5):.1f}", f"{1e3 * burst.quantile(0.99):.1f}"


async def try_windows(trial: Trial, uids: list[int], windows: int) -> None:
    """Let all windows end at the same moment."""
    await trial.clone(uids, max(1, windows // len(uids)))
    left = "SELECT count(*) FROM windows WHERE awaits AND due < extract(epoch FROM now())"

    async def end() -> None:
        await trial.session.execute(_OPEN_WINDOWS)

    await trial.measure("windows that ended", lambda: trial.count(left), end, waits=True)
    await trial.session.execute("TRUNCATE windows")


async def try_turns(trial: Trial, turns: int) -> None:
    """Let as many turns wait for a judge that has just started."""
    words = {"query_t": "question", "answer_t": "Eight feet.", "query_t1": "thanks, that is right"}
    turn = {"user_id": "user-000001", "tip_id": "tip-1", "features": _FEATURES, "turn": words}
    async with trial.connect() as client:
        (await client.post("/reward", json=turn)).raise_for_status()
    left = "SELECT count(*) FROM judgements WHERE state = 'waiting'"

    async def restart() -> None:
        await trial.session.execute(_ADD_TURNS, turns)
        await asyncio.to_thread(trial.restart)
        await trial.decide_for_all()  # who is not in memory is read

    await trial.measure("turns that wait", lambda: trial.count(left), restart, waits=True)
    await trial.session.execute("DELETE FROM turns; DELETE FROM judgements WHERE state = 'waiting'")


async def try_erasure(trial: Trial, erased: int) -> None:
    """Erase somebody with very many decisions."""
    body = score_body(0, random.Random(5)).replace(b'"user-000000"', f'"{BUSY}"'.encode())
    async with trial.connect() as client:
        answer = await client.post("/score", content=body, headers={"content-type": "application/json"})
        answer.raise_for_status()
        uid = await trial.count("SELECT uid FROM users WHERE user_id = $1", BUSY)
        await trial.clone([uid], erased)
        await trial.session.execute(_REWARD, BUSY)
        left = "SELECT count(*) FROM decisions WHERE uid = $1"

        async def erase() -> None:
            (await client.delete("/users", params={"user_id": BUSY})).raise_for_status()

        await trial.measure("an erasure", lambda: trial.count(left, uid), erase)


async def try_retention(trial: Trial, uids: list[int], trimmed: int) -> None:
    """Let the service lead, once the load has begun, and delete a day that is past its time as whoever begins does."""
    await trial.clone(uids, max(1, trimmed // len(uids)), days_ago=100)
    old = int((time.time() - 90 * 86_400) * 1000) * _MILLISECOND
    await trial.session.execute(_REWARD_OLD, old)
    await trial.session.execute(_NOTE_VERSIONS)
    await trial.session.execute(_FILLED)
    await asyncio.to_thread(trial.stop)
    await trial.session.execute(_LEAD_INSTEAD)
    trial.start(DECISION_RETENTION_DAYS="90")
    await trial.decide_for_all()
    left = "SELECT count(*) FROM decisions WHERE seq < $1"

    async def let_lead() -> None:
        await trial.session.execute("UPDATE leases SET until = clock_timestamp() WHERE name = 'upkeep'")

    await trial.measure("the retention of a day", lambda: trial.count(left, old), let_lead)


@asynccontextmanager
async def _open_session(url: str) -> AsyncIterator[Session]:
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn, server_settings={"search_path": "bandstand"})
    try:
        yield session
    finally:
        await session.close()


async def main(options: argparse.Namespace) -> None:
    """Try what was asked for, and print the table."""
    pin(os.getpid(), LOAD_CORE)
    with tempfile.TemporaryDirectory() as directory, run_server({}) as database:
        for process in database.list_processes():
            pin(process, SERVER_CORE)
        url = database.build_url()
        environment = {
            "STATE_URL": url,
            "JUDGE": "rules",
            "DECISION_RETENTION_DAYS": "0",
            "REWARD_WINDOW": "86400",
            "DEFAULT_REWARD": "-0.1",
        }
        async with AsyncExitStack() as stack:
            trial = Trial(Path(directory), environment, rate=options.rate, seconds=options.seconds)
            stack.callback(trial.stop)
            trial.session, trial.counting = [await stack.enter_async_context(_open_session(url)) for _ in range(2)]
            uids = await trial.decide_for_all()
            if options.windows:
                await try_windows(trial, uids, options.windows)
            if options.turns:
                await try_turns(trial, options.turns)
            if options.erased:
                await try_erasure(trial, options.erased)
            if options.trimmed:
                await try_retention(trial, uids, options.trimmed)
    Console(width=120).print(trial.table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=100_000)
    parser.add_argument("--erased", type=int, default=100_000)
    parser.add_argument("--trimmed", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    uvloop.run(main(parser.parse_args()))
