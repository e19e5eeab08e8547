"""A client's reward is counted by whoever writes it just as the trigger counts a judge's."""

import sqlite3
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from msgspec import structs

from bandstand.store.records import PolicyRef, Reward, first_seq_at, to_time
from bandstand.store.sqlite.schema import EVER, connect, create_tables
from bandstand.store.tables.event_rows import INSERT_REWARD, build_reward_row
from bandstand.store.tables.loop_health import LAST_BUCKET, build_arrival, compute_draw_sums, sum_draws
from bandstand.store.tables.reward_sums import COUNT_ARRIVAL
from tests.store.given import Subject, make_embedded

NOW = 1_790_000_000.0
_DAYS = 86_400.0


def open_ledger(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    create_tables(connection)
    return connection


def build_reward(seq: int, source: str, ts: float, value: float) -> Reward:
    ref = PolicyRef("linucb-v2", "hash", "tips-v2", "hash")
    return Reward("anna", ref, "tip", value, "tests", ts, b"", None, source=source, seq=seq)


def test_both_ways_of_counting_come_to_the_same(tmp_path: Path) -> None:
    ledger, random = open_ledger(tmp_path / "ledger.db"), Random(3)
    bounds = [below for (below,) in ledger.execute("SELECT below FROM delays WHERE bucket < ? ORDER BY below", (106,))]
    delays = [0.0, -5.0, 400 * _DAYS, 4000 * _DAYS, *(random.expovariate(1e-5) for _ in range(200)), *bounds]
    for number, delay in enumerate([None, *delays]):
        answered = None if delay is None else first_seq_at(NOW)
        ts = NOW + (delay or 0.0)
        judged = build_reward(first_seq_at(NOW) + 2 * number, "judge", ts, 0.5)
        placeholders = ", ".join("?" * 15)
        for reward in (judged, replace_source(judged, number)):
            row = build_reward_row(reward, 1, 7, answered)
            ledger.execute(f"{INSERT_REWARD}({placeholders})", row)  # (constants)
            if reward.source == "judge":
                ledger.execute(COUNT_ARRIVAL, (reward.seq,))
            else:
                statement, key, amounts = build_arrival(reward, 7, None if answered is None else to_time(answered))
                for day in (key[0], EVER):
                    ledger.execute(statement, (day, *key[1:], *amounts))
    query = "SELECT day, policy, bucket, rewards, reward_sum FROM arrivals WHERE source = ? ORDER BY day, bucket"
    counted = {source: ledger.execute(query, (source,)).fetchall() for source in ("judge", "client")}
    assert counted["judge"] == counted["client"]
    assert {row[2] for row in counted["client"]} >= {-1, 0, LAST_BUCKET}
    ledger.close()


async def test_decisions_add_together_what_each_adds_alone(tmp_path: Path) -> None:
    random = Random(5)
    async with Subject(make_embedded(tmp_path)) as subject:
        decisions = [subject.build_decision("anna", exploring=random.random() < 0.3) for _ in range(60)]
    expected: dict[int, list[float]] = defaultdict(lambda: [0.0] * 10)
    for decision in decisions:
        assert decision.numbers is not None
        decision.numbers *= random.random() / decision.numbers[3, decision.likeliest]
        part, amounts = compute_draw_sums(decision)
        assert (amounts[4], amounts[5]) == (decision.pick == decision.numbers[3].argmax(), decision.numbers[3].max())
        expected[part] = [sum(pair) for pair in zip(expected[part], amounts, strict=True)]
    summed = {key: amounts for _, key, amounts in sum_draws(7, 5, decisions)}
    assert len(summed) > 3, "their bins differ"
    assert summed == {(7, 5, part): pytest.approx(amounts) for part, amounts in expected.items()}


def replace_source(reward: Reward, number: int) -> Reward:
    """The same reward as a client's, under the next number."""
    return structs.replace(reward, source="client", seq=first_seq_at(NOW) + 2 * number + 1)
