"""Processes and databases killed in the middle of rewards: every acknowledged one is there, none twice.

``BANDSTAND_CHAOS=N`` multiplies the kills: ``make chaos`` takes many.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import asyncpg
import pytest

from bandstand.store.postgres.address import LedgerAddress
from bandstand.testing.postgres_server import PostgresServer
from tests.store.given import Subject, assert_same
from tests.store.postgres.shared import make_shared, run_test_server
from tests.store.postgres.stream import USERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
KILLS = 2 * int(os.environ.get("BANDSTAND_CHAOS", "1"))
CLIENTS = 8


class Streamer:
    """A process that streams, and what it has acknowledged."""

    def __init__(self, url: str, seed: int) -> None:
        command = [sys.executable, "-m", "tests.store.postgres.stream", url, str(CLIENTS), str(seed)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._first = self._process.stdout.readline()  # it has begun

    def kill(self) -> list[list[str]]:
        """Kill it without warning; returns the words that it said."""
        self._process.kill()
        assert self._process.stdout is not None
        lines = [self._first, *self._process.stdout.readlines()]
        self._process.wait()
        self._process.stdout.close()
        return [line.split() for line in lines]


@contextmanager
def run_streamers(url: str, count: int) -> Iterator[list[Streamer]]:
    """Some streamers; those that are left at the end of the block are killed."""
    streamers = [Streamer(url, seed) for seed in range(count)]
    try:
        yield streamers
    finally:
        for each in streamers:
            each.kill()


async def require_kept(url: str, words: list[list[str]]) -> None:
    """Whatever was acknowledged is in the ledger, once; two stores and a rebuild know the same of everybody."""
    acknowledged = {
        decision_id: float(value) for kind, decision_id, *rest in words if kind == "reward" for value in rest
    }
    assert acknowledged, "the trial began"
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn, server_settings={"search_path": "bandstand"})
    try:
        given = Counter[str]()
        values: dict[str, float] = {}
        query = """SELECT lpad(to_hex(d.seq), 16, '0') || d.nonce, r.value FROM rewards AS r
            JOIN decisions AS d ON d.seq = r.decision_seq"""
        for decision_id, value in await session.fetch(query):
            given[decision_id] += 1
            values[decision_id] = value
        assert set(given.values()) == {1}, "none twice"
        assert {decision_id: values.get(decision_id) for decision_id in acknowledged} == acknowledged
        counted = "SELECT count(*)::int, count(DISTINCT (uid, n))::int FROM rewards"
        rewards, numbers = await session.fetchrow(counted)
        assert rewards == numbers
        behind = "SELECT count(*) FROM users AS u WHERE version < (SELECT max(n) FROM rewards WHERE uid = u.uid)"
        assert await session.fetchval(behind) == 0
        totals = "SELECT sum(rewards)::int, sum(decisions)::int FROM rollups_s WHERE hour = -1"
        decisions = await session.fetchval("SELECT count(*)::int FROM decisions")
        assert tuple(await session.fetchrow(totals)) == (rewards, decisions)
        await require_same_states(url, session)
    finally:
        await session.close()


async def require_same_states(url: str, session: asyncpg.Connection) -> None:
    """A store with the checkpoints, and one that folds everything, know the same of everybody."""
    async with Subject(make_shared(url)) as subject:
        live = {f"user-{n}": (await subject.store.load_profile(f"user-{n}")).copy() for n in range(USERS)}
    await session.execute("DELETE FROM checkpoints")
    async with Subject(make_shared(url)) as subject:
        for user_id, profile in live.items():
            assert_same(profile, await subject.store.load_profile(user_id))
            held = await session.fetchval(
                "SELECT count(*) FROM rewards JOIN users USING (uid) WHERE user_id = $1 AND applied", user_id
            )
            assert sum(state.reward_count for state in profile.policies.values()) == held


async def test_every_acknowledged_reward_survives_killed_processes_and_databases_and_none_counts_twice() -> None:
    random, words = Random(1), list[list[str]]()
    with run_test_server({"autovacuum": "off"}) as server:
        url = server.build_url()
        with run_streamers(url, 2) as streamers:
            for kill in range(KILLS):
                await asyncio.sleep(random.uniform(0.05, 0.6))
                words += streamers.pop(0).kill()
                streamers.append(Streamer(url, 100 + kill))
                if kill % 2:
                    await asyncio.sleep(random.uniform(0.3, 1.0))
                    kill_and_restart(server)
            await asyncio.sleep(1.5)
            while streamers:
                words += streamers.pop().kill()
        await require_kept(url, words)


def kill_and_restart(server: PostgresServer) -> None:
    """Kill the database, and start it again as soon as that can be."""
    server.kill()
    for _ in range(100):
        try:
            server.start()
        except RuntimeError:  # what was killed has not let go of its memory yet
            time.sleep(0.1)
        else:
            return
    raise AssertionError((server.folder / "log").read_text(errors="replace")[-2000:])
