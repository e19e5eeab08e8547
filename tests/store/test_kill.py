"""``kill -9`` in the middle of a stream of rewards: every acknowledged one is there, none twice."""

import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from bandstand.bandit.aggregation import PartSums
from bandstand.bandit.profile import Profile
from bandstand.store.embedded.options import StoreOptions
from tests.store import reapplying, revoking
from tests.store.given import Subject, assert_same, documents_in, ledger_of, make_embedded
from tests.store.stream import SHADOW, USERS, choose_aggregation

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TRIALS = 8
_STANDING = """FROM rewards AS r JOIN users USING (uid)
    WHERE NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq)"""
READING = StoreOptions(sync=False, checkpoint_seconds=3600.0, retention_days=0)


def killed_after(module: str, seconds: float, *arguments: str) -> list[list[str]]:
    """Let a process run for so long after its first line, kill it without warning, and return the words it said."""
    command = [sys.executable, "-m", f"tests.store.{module}", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]  # it has begun
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        lines += process.stdout.readlines()
        timer.join()
    assert process.returncode == -9, "it was killed, and did not end by itself"
    return [line.split() for line in lines]


def killed_stream(state_dir: Path, concurrency: int, seed: int, seconds: float) -> tuple[list[str], list[str]]:
    """Stream, kill without warning, and return the decisions and rewards that were acknowledged."""
    words = killed_after("stream", seconds, str(state_dir), str(concurrency), str(seed))
    decisions = [name for kind, name in words if kind == "decision"]
    rewards = [name for kind, name in words if kind == "reward"]
    return decisions, rewards


@pytest.mark.parametrize("concurrency", [1, 8, 64])
async def test_every_acknowledged_reward_survives_a_kill_and_none_counts_twice(
    tmp_path: Path, concurrency: int
) -> None:
    random = Random(concurrency)
    acknowledged: set[str] = set()
    live: dict[str, Profile] = {}
    for trial in range(TRIALS):
        decisions, rewards = killed_stream(tmp_path, concurrency, trial, random.uniform(0.02, 0.4))
        assert rewards, "the trial began"
        acknowledged.update(rewards)
        with ledger_of(tmp_path) as ledger:
            keys = Counter(key for (key,) in ledger.execute("SELECT key FROM idempotency"))
            seqs = Counter(seq for (seq,) in ledger.execute("SELECT reward_seq FROM idempotency"))
            count = ledger.execute("SELECT count(*) FROM idempotency").fetchone()[0]
            query = f"SELECT user_id, count(*) {_STANDING} GROUP BY user_id"
            applied = dict(ledger.execute(query))
            query = f"SELECT count(*) {_STANDING} GROUP BY coalesce(decision_seq, linked_seq, seq)"
            assert {several for (several,) in ledger.execute(query)} == {1}, "no decision is taught twice"
            query = (
                "SELECT count(*) FROM windows AS w WHERE awaits = (w.decision IN (SELECT decision_seq FROM rewards))"
            )
            assert ledger.execute(f"{query} AND fallback IS NOT NULL").fetchone() == (0,), "silence teaches just once"
            assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            check_aggregates(ledger)
        assert acknowledged <= keys.keys(), "every acknowledged reward is there"
        assert set(keys.values()) == set(seqs.values()) == {1}, "and none twice"
        assert len(acknowledged) <= count <= len(acknowledged) + concurrency * (trial + 1)
        async with Subject(make_embedded(tmp_path, READING)) as subject:
            for decision_id in decisions:
                assert await subject.store.find_decision(decision_id) is not None
            live = {f"user-{n}": await subject.store.load_profile(f"user-{n}") for n in range(USERS)}
            for user_id, profile in live.items():
                state = profile.policies.get(("linucb-v2", "tips-v2"))
                assert (0 if state is None else state.reward_count) == applied.get(user_id, 0)
                assert (await subject.state(user_id, SHADOW)).reward_count == applied.get(user_id, 0)
            assert subject.store.status().quarantined == 0
            for key in random.sample(rewards, min(len(rewards), 10)):
                again = await subject.reward_legacy("user-0", 0.5, key=("stream", key))
                assert again.match == "key", "a retry gets the first answer"
    for path in documents_in(tmp_path):
        path.unlink()
    async with Subject(make_embedded(tmp_path, READING)) as subject:
        for user_id, profile in live.items():
            assert_same(profile, await subject.store.load_profile(user_id))


def check_aggregates(ledger: sqlite3.Connection) -> None:
    """What stands for a decision of parts is what those come to that are in the ledger, by its own aggregation."""
    parts: dict[int, list[tuple[str, float]]] = {}
    query = "SELECT decision, key, value FROM reward_parts AS p JOIN idempotency ON reward_seq = p.seq ORDER BY p.seq"
    for decision, key, value in ledger.execute(query):
        parts.setdefault(decision, []).append((key, value))
    stands = dict(ledger.execute(f"SELECT coalesce(decision_seq, linked_seq), value {_STANDING}"))
    for decision, given in parts.items():
        aggregation = choose_aggregation(int(given[0][0].split("-")[-1]))
        expected = PartSums.from_values(value for _, value in given).aggregate(aggregation)
        assert decision not in stands or stands[decision] == pytest.approx(expected, abs=1e-9), (given, aggregation)
    assert not parts or stands.keys() & parts.keys()


async def test_a_kill_in_the_middle_of_a_revocation_leaves_all_of_it_or_none(tmp_path: Path) -> None:
    random = Random(7)
    for trial in range(TRIALS):
        words = killed_after("revoking", random.uniform(0.0, 0.1), str(tmp_path), str(trial))
        ended = {batch for what, batch in words if what == "end"}
        with ledger_of(tmp_path) as ledger:
            query = """SELECT client, count(*), sum(EXISTS (SELECT 1 FROM revocations WHERE reward_seq = r.seq))
                FROM rewards AS r WHERE client LIKE 'batch-%' GROUP BY client"""
            gone = {client: taken / given for client, given, taken in ledger.execute(query)}
            query = "SELECT json_extract(document, '$.selection.client') FROM marks WHERE kind = 'revocation'"
            recorded = Counter(client for (client,) in ledger.execute(query))
        assert set(gone.values()) <= {0.0, 1.0}, "all of a batch or none"
        assert ended <= {client for client, share in gone.items() if share}, "acknowledged is kept"
        assert recorded == Counter(client for client, share in gone.items() if share), "and recorded with it, once"
    async with Subject(make_embedded(tmp_path, READING)) as subject:
        live = {f"user-{n}": await subject.store.load_profile(f"user-{n}") for n in range(revoking.USERS)}
        assert subject.store.status().quarantined == 0
    for path in documents_in(tmp_path):
        path.unlink()
    async with Subject(make_embedded(tmp_path, READING)) as subject:
        for user_id, profile in live.items():
            assert_same(profile, await subject.store.load_profile(user_id))


async def test_a_kill_while_reactions_are_mapped_anew_leaves_each_decision_of_one_table(tmp_path: Path) -> None:
    random, are_mixed = Random(11), False
    live: dict[str, Profile] = {}
    await reapplying.fill(tmp_path)
    for trial in range(TRIALS // 2):
        killed_after("reapplying", random.uniform(0.0, 0.1), str(tmp_path))
        with ledger_of(tmp_path) as ledger:
            query = f"SELECT count(*) {_STANDING} GROUP BY coalesce(decision_seq, linked_seq, seq)"
            assert [count for (count,) in ledger.execute(query)] == [1] * reapplying.TAUGHT, "each teaches, and once"
            standing = {value for (value,) in ledger.execute(f"SELECT value {_STANDING}")}
            assert standing <= reapplying.WORTH[0] | reapplying.WORTH[1]
            are_mixed |= standing not in reapplying.WORTH
        async with Subject(make_embedded(tmp_path, READING)) as subject:
            await reapplying.reapply_all(subject, trial % 2)  # what was cut short goes on
            assert await reapplying.reapply_all(subject, trial % 2) == 0
            live = {f"user-{n}": await subject.store.load_profile(f"user-{n}") for n in range(reapplying.USERS)}
        taught = [state for profile in live.values() for state in profile.policies.values()]
        assert sum(state.reward_count for state in taught) == reapplying.TAUGHT
        assert sum(state.cumulative_reward for state in taught) == pytest.approx(reapplying.TOTAL[trial % 2], abs=1e-9)
        with ledger_of(tmp_path) as ledger:
            assert {value for (value,) in ledger.execute(f"SELECT value {_STANDING}")} == reapplying.WORTH[trial % 2]
    assert are_mixed, "one was cut short"
    for path in documents_in(tmp_path):
        path.unlink()
    async with Subject(make_embedded(tmp_path, READING)) as subject:
        for user_id, profile in live.items():
            assert_same(profile, await subject.store.load_profile(user_id))
