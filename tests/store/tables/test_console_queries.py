"""Sight: pages and sums are those of the ledger, found by counting it the long way."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import StorageUnavailableError
from bandstand.store.sqlite.reader import LedgerReader
from bandstand.store.sqlite.schema import connect
from bandstand.store.tables.console_queries import MAX_COUNTED, ConsoleQueries
from tests.store.given import NOON, Subject, make_embedded

HOUR = 3600


@pytest.fixture
async def subject(tmp_path: Path) -> AsyncIterator[Subject]:
    async with Subject(make_embedded(tmp_path)) as living:
        yield living


@pytest.fixture
async def sight(tmp_path: Path) -> AsyncIterator[ConsoleQueries]:
    looking = ConsoleQueries(tmp_path)
    yield looking
    await looking.close()


async def test_activity_is_the_sum_of_what_happened_in_each_stretch(subject: Subject, sight: ConsoleQueries) -> None:
    first = int(NOON // HOUR)
    for hour in (0, 0, 1, 5, 6, 13):
        subject.clock.now = NOON + hour * HOUR
        decision = await subject.decide("ada", "linucb-v1", exploring=hour == 5)
        if hour != 1:
            await subject.reward(decision, 0.5 if hour else -1.0)
    await subject.decide("bea", "linucb-v2")
    told = await sight.load_activity(first, first + 14, 6)
    made = Counter((hour // 6 * 6, "linucb-v1") for hour in (first + since for since in (0, 0, 1, 5, 6, 13)))
    made[(first + 13) // 6 * 6, "linucb-v2"] += 1
    assert {(each.hour, each.policy): each.decisions for each in told} == made
    assert sum(each.explores for each in told) == 1
    assert sum(each.rewards for each in told) == 5
    assert sum(each.reward_sum for each in told) == -0.5
    assert await sight.load_activity(first + 14, first + 20, 6) == []
    assert sum(each.decisions for each in await sight.load_activity(first, first + 13, 1)) == 5, "the end is left out"


async def test_users_are_paged_both_ways(subject: Subject, sight: ConsoleQueries) -> None:
    names = ["b-2", "a-1", "b-1", "c", "b", "b\U0010ffff", "b-%"]
    for name in names:
        await subject.decide(name)
    newest = await sight.list_newest_users(None, 3)
    assert [user.user_id for user in newest] == names[:-4:-1]
    assert [user.user_id for user in await sight.list_newest_users(newest[-1].uid, 10)] == names[-4::-1]
    begun = await sight.list_users_by_prefix("b", "", 2)
    assert [user.user_id for user in begun] == ["b", "b-%"]
    more = await sight.list_users_by_prefix("b", begun[-1].user_id, 10)
    assert [user.user_id for user in more] == ["b-1", "b-2"]
    assert [user.user_id for user in await sight.list_users_by_prefix("b-", "", 10)] == ["b-%", "b-1", "b-2"]


async def test_a_user_is_counted_up_to_a_bound(subject: Subject, sight: ConsoleQueries, tmp_path: Path) -> None:
    made = [await subject.decide("ada") for _ in range(5)]
    subject.clock.now += 60
    await subject.reward(made[0])
    user = await sight.find_user("ada")
    assert user is not None
    assert (user.decisions, user.rewards, user.last_seen) == (5, 1, NOON + 60)
    assert await sight.find_user("bea") is None
    with closing(connect(tmp_path / "ledger.db")) as connection:
        connection.execute(
            """WITH more AS (SELECT 1 AS seq UNION ALL SELECT seq + 1 FROM more WHERE seq < ?)
            INSERT INTO decisions (seq, nonce, uid, policy, client, ts, tip_id, pick, exploring, seed, score,
                propensity, floor, body, numbers)
            SELECT more.seq, '0', uid, policy, client, ts, tip_id, pick, exploring, decisions.seed, score,
                propensity, floor, body, numbers FROM more, decisions WHERE decisions.seq = ?""",
            (MAX_COUNTED, made[0].seq),
        )
    user = await sight.find_user("ada")
    assert user is not None
    assert user.decisions == MAX_COUNTED


async def test_decisions_carry_their_reward_whatever_its_form(subject: Subject, sight: ConsoleQueries) -> None:
    named = await subject.decide("ada", own_id="mine")
    linked = await subject.decide("ada", tip_id="tip-x")
    late = await subject.decide("ada")
    await subject.reward(named, 0.5)
    await subject.reward_legacy("ada", -0.5, tip_id="tip-x")
    await subject.store.reset("ada", "tests")
    await subject.reward(late, 1.0)
    none = await subject.decide("ada", exploring=True)
    await subject.decide("bea")
    user = await sight.find_user("ada")
    assert user is not None
    told = await sight.list_decisions(user.uid, None, 10)
    assert [each.decision_id for each in told] == [each.decision_id for each in (none, late, linked, named)]
    assert [(each.reward, each.applied, each.reason) for each in told] == [
        (None, None, None),
        (1.0, False, "reset"),
        (-0.5, True, None),
        (0.5, True, None),
    ]
    assert [each.exploring for each in told] == [True, False, False, False]
    assert await sight.list_decisions(user.uid, told[1].seq, 1) == told[2:3]
    assert [value for _, value in await sight.list_rewards(user.uid, 2)] == [-0.5, 1.0]
    assert await sight.list_user_resets(user.uid, 9) == [NOON]


async def test_no_question_reads_a_table_from_end_to_end(
    subject: Subject, sight: ConsoleQueries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = await subject.decide("ada", own_id="mine")
    await subject.reward(decision)
    asked: list[tuple[str, Sequence[object]]] = []
    ask = LedgerReader.run_query

    def listen_to_queries(reader: LedgerReader, question: Callable[..., Any], *values: object) -> Any:
        return ask(reader, lambda connection: question(Listener(connection, asked), *values))

    monkeypatch.setattr(LedgerReader, "run_query", listen_to_queries)
    user = await sight.find_user("ada")
    assert user is not None
    await asyncio.gather(
        sight.load_activity(0, 1, 6),
        sight.list_newest_users(None, 1),
        sight.list_users_by_prefix("a", "", 1),
        sight.list_user_resets(1, 9),
    )
    await asyncio.gather(sight.list_decisions(user.uid, None, 1), sight.list_rewards(user.uid, 1))
    assert len(asked) == 7
    connection = connect(tmp_path / "ledger.db", read_only=True)
    for query, values in asked:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        assert not [step for step in plan if step.startswith("SCAN") and not step.startswith("SCAN (")], (query, plan)
    connection.close()


class Listener:
    """A connection that remembers what was executed on it."""

    def __init__(self, connection: sqlite3.Connection, asked: list[tuple[str, Sequence[object]]]) -> None:
        self._connection = connection
        self._asked = asked

    def execute(self, query: str, values: Sequence[object]) -> sqlite3.Cursor:
        self._asked.append((query, values))
        return self._connection.execute(query, values)


async def test_a_ledger_that_is_not_there_or_closed_is_unavailable(tmp_path: Path) -> None:
    looking = ConsoleQueries(tmp_path / "nowhere")
    with pytest.raises(StorageUnavailableError):
        await looking.find_user("ada")
    await looking.close()
    with pytest.raises(StorageUnavailableError):
        await looking.find_user("ada")
