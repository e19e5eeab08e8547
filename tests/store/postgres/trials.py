"""Processes that stream into a ledger and are killed, and what must be there of all that they had acknowledged."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from bandstand.store.postgres.address import LedgerAddress
from tests.store.given import Subject, assert_same
from tests.store.postgres.shared import make_shared
from tests.store.postgres.stream import USERS

CHAOS = int(os.environ.get("BANDSTAND_CHAOS", "0"))
"""How long the long form is; 0 for the short one."""
_ROOT = Path(__file__).parents[3]
_CLIENTS = 8


class Streamer:
    """A process that streams, and what it has acknowledged."""

    def __init__(self, url: str, seed: int, durability: str = "full") -> None:
        command = [sys.executable, "-m", "tests.store.postgres.stream", url, str(_CLIENTS), str(seed), durability]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._first = self._process.stdout.readline()  # it has begun

    def pause(self) -> None:
        """Let it stand still."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> list[list[str]]:
        """Kill it without warning; returns the words that it said."""
        has_ended = self._process.poll() is not None
        self._process.kill()
        assert self._process.stdout is not None
        lines = [self._first, *self._process.stdout.readlines()]
        self._process.wait()
        self._process.stdout.close()
        assert not has_ended, "it streams until it is killed"
        return [line.split() for line in lines]


@contextmanager
def run_streamers(url: str, count: int, durability: str = "full") -> Iterator[list[Streamer]]:
    """Some streamers; those that are left at the end of the block are killed."""
    streamers = [Streamer(url, seed, durability) for seed in range(count)]
    try:
        yield streamers
    finally:
        for each in streamers:
            each.kill()


@dataclass(frozen=True)
class TrialTotals:
    """What was acknowledged in a trial, and what there was of it at the end.

    Attributes:
        decisions: that were acknowledged.
        lost_decisions: of these, those that have gone.
        rewards: decisions whose reward was acknowledged.
        answers: how often one was, so that what came twice counts twice.
        turns: that were acknowledged.
        verdicts: of these, those that were judged.
        leaders: how many led, one after the other.
        lead_writes: what they wrote as leaders.
    """

    decisions: int
    lost_decisions: int
    rewards: int
    answers: int
    turns: int
    verdicts: int
    leaders: int
    lead_writes: int


async def require_kept(url: str, words: list[list[str]], *, keeps_decisions: bool = False) -> TrialTotals:
    """Whatever was acknowledged is in the ledger, once; two stores and a rebuild know the same of everybody.

    Args:
        url: of the ledger.
        words: what the streamers said.
        keeps_decisions: whether decisions without a reward must be there, too.
    """
    said = {
        kind: [rest for first, *rest in words if first == kind] for kind in ("decision", "reward", "turn", "verdict")
    }
    acknowledged = {decision_id: float(value) for decision_id, value in said["reward"]}
    assert acknowledged, "the trial began"
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn, server_settings={"search_path": "bandstand"})
    try:
        await require_rewards(session, acknowledged)
        await require_judged(session, {each for (each,) in said["turn"]}, {each for (each,) in said["verdict"]})
        kept = {row[0] for row in await session.fetch("SELECT lpad(to_hex(seq), 16, '0') || nonce FROM decisions")}
        decisions = {each for (each,) in said["decision"]}
        assert not keeps_decisions or decisions <= kept
        ahead = """SELECT count(DISTINCT fence)::int AS leaders, count(*)::int AS writes,
            count(*) FILTER (WHERE fence < highest)::int AS late
            FROM (SELECT fence, max(fence) OVER (ORDER BY n) AS highest FROM public.led) AS led"""
        leaders, writes, late = await session.fetchrow(ahead)
        assert not late, "whoever led before writes nothing more"
        await require_same_states(url, session)
    finally:
        await session.close()
    return TrialTotals(
        decisions=len(decisions),
        lost_decisions=len(decisions - kept),
        rewards=len(acknowledged),
        answers=len(said["reward"]),
        turns=len(said["turn"]),
        verdicts=len({each for (each,) in said["verdict"]}),
        leaders=leaders,
        lead_writes=writes,
    )


async def require_rewards(session: asyncpg.Connection, acknowledged: dict[str, float]) -> None:
    """Each reward is there once, with its value, and is counted once."""
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


async def require_judged(session: asyncpg.Connection, turns: set[str], judged: set[str]) -> None:
    """Each turn is there once, and was judged once if it was said to be."""
    rows = await session.fetch(
        """SELECT lpad(to_hex(j.seq), 16, '0') || j.nonce AS turn, j.rounds, j.reward_seq,
            (SELECT count(*) FROM verdicts AS v WHERE v.judgement = j.seq) AS verdicts,
            (SELECT count(*) FROM rewards AS r WHERE r.decision_seq = j.decision_seq) AS rewards FROM judgements AS j"""
    )
    found = {row["turn"]: row for row in rows}
    assert turns <= found.keys()
    assert all((found[each]["rounds"], found[each]["verdicts"]) == (1, 1) for each in judged)
    for row in rows:
        assert row["rounds"] == row["verdicts"] <= 1
        assert row["rewards"] == (row["reward_seq"] is not None) == row["rounds"]


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


def record_totals(record: Callable[[str, object], None], totals: TrialTotals, **counts: object) -> None:
    """Have the figures of a trial printed at the end."""
    record("totals", ", ".join(f"{name} {value}" for name, value in {**counts, **asdict(totals)}.items()))
