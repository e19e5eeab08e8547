"""Hot statements are planned for large ledgers, though they are planned once, while the ledger is small."""

import json
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from bandstand.store.postgres import (
    console_queries,
    decision_rows,
    part_statements,
    picks,
    profiles,
    reward_statements,
    shown,
    silence_statements,
    upkeep,
)
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.decision_statements import (
    FIND_LOGGED,
    LOG_DECISIONS,
    LOG_REWARDS,
    LOG_SUBJECTS_REWARDS,
    SETTLE_SHADOWS,
)
from bandstand.store.postgres.schema import create_tables
from bandstand.store.postgres.user_admin import TABLES_OF_A_USER
from tests.store.postgres.shared import run_law_server

GROWING = {
    *("users", "decisions_rest", "decision_ids", "rewards", "claims", "idempotency", "revocations", "marks"),
    *("checkpoints", "lineage", "generated_tips", "shadows", "enrolments", "reward_parts", "windows"),
}
STATEMENTS = {
    "decisions": LOG_DECISIONS,
    "rewards": LOG_REWARDS,
    "repeat": FIND_LOGGED,
    "shadows": SETTLE_SHADOWS,
    "one reward": reward_statements.INSERT_REWARD,
    "link": reward_statements.FIND_LINK,
    "undo": reward_statements.REVOKE,
    "events": profiles.EVENTS,
    "events of many": profiles.NEWER_EVENTS_OF_MANY,
    "decisions by id": decision_rows.DECISIONS_BY_ID,
    "silences": silence_statements.CLOSE_WINDOWS,
    "windows": silence_statements.FIND_DUE,
    "parts": part_statements.PARTS_OF_DECISION,
    "metrics": part_statements.COUNT_METRICS,
    "a user's page": console_queries._DECISIONS,  # noqa: SLF001 (the statement itself)
    "what was shown": shown._DETAIL,  # noqa: SLF001 (the same)
    "picks": picks._PICKS,  # noqa: SLF001 (the same)
}

DECISIONS = 1_000_000 if "BANDSTAND_CHAOS" in os.environ else 100_000
FILL = f"""INSERT INTO users (user_id, version) SELECT 'user-' || i, 50 FROM generate_series(1, 10000) AS i;
INSERT INTO decisions (seq, nonce, uid, policy, client, ts, tip_id, pick, exploring, seed, score, propensity, floor,
        version, body, numbers, picked)
    SELECT i::bigint << 20, md5(i::text), 1 + i % 10000, 1, 'tests', i, 'tip-' || i % 10, 0, false, 0, 0, 1, 0, 0,
        sha256(i::text::bytea), sha256(i::text::bytea), sha256(i::text::bytea)
    FROM generate_series(1, {DECISIONS}) AS i;
INSERT INTO rewards (seq, uid, n, policy, decision_seq, decided, tip_id, value, weight, applied, source, picked,
        shadow_set, body_hash, client, ts)
    SELECT seq + 1, uid, row_number() OVER (PARTITION BY uid ORDER BY seq), 1, seq, ts, tip_id, 0.5, 1, true, 'client',
        picked, 0, 'x', client, ts FROM decisions WHERE (seq >> 20) % 20000 < 10000 AND seq % 2 = 0;
INSERT INTO claims (uid, decision_seq, holder) SELECT uid, decision_seq, seq FROM rewards;
INSERT INTO windows (decision, uid, held, due, fallback, awaits)
    SELECT seq, uid, false, ts, -0.1, true FROM decisions WHERE (seq >> 20) % 4 = 0;
ANALYZE"""  # noqa: S608 (a number)
"""Decisions of ten thousand users; half of them are rewarded, and a quarter have a window that ended."""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_law_server() as url:
        yield url


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_hot_statement_reads_a_growing_table_from_end_to_end(name: str, database: str) -> None:
    pool = ConnectionPool(LedgerAddress.parse(database), 1, durable=False)
    await create_tables(pool, "bandstand")
    plan = await read_plan(pool, STATEMENTS[name])
    await pool.close()
    assert not find_whole_reads(plan), "\n".join(plan)
    assert len(plan) > 3, "it was planned with its arguments unknown"


@pytest.mark.parametrize("statement", [LOG_REWARDS, LOG_SUBJECTS_REWARDS], ids=["own", "subjects"])
async def test_rewards_lock_their_users_once_and_in_order(statement: str, database: str) -> None:
    """Who holds a row's lock and looks for the row again, as of the statement's start, meets those who wait for it."""
    pool = ConnectionPool(LedgerAddress.parse(database), 1, durable=False)
    await create_tables(pool, "bandstand")
    plan = "\n".join(await read_plan(pool, statement))
    await pool.close()
    update = plan[plan.index("Update on users u") : plan.index("CTE claimed")]
    steps = re.findall(r"->  (.*?) {2}\(cost", update)
    assert steps[:3] == ["Nested Loop", "Subquery Scan on m", "GroupAggregate"], (
        "one after the other, as they are sorted"
    )
    assert "Group Key: g_2.uid" in update
    assert plan.count(" on users u") == 2, "the update, and where it looks"
    assert plan.count("LockRows") == (statement is LOG_SUBJECTS_REWARDS), "but for people, who are locked as a key is"


@pytest.mark.slow
async def test_nor_does_one_that_is_planned_when_they_have_grown() -> None:
    with run_law_server() as url:
        pool = ConnectionPool(LedgerAddress.parse(url), 1, durable=False, statement_s=0)
        await create_tables(pool, "bandstand")
        async with pool.use() as channel:
            await channel.session.execute(FILL)
        plans = {name: await read_plan(pool, statement) for name, statement in STATEMENTS.items()}
        users = await pool.fetch("SELECT uid FROM users ORDER BY uid LIMIT 3")
        decisions = [row[0] for row in await pool.fetch("SELECT seq FROM decisions ORDER BY seq DESC LIMIT 64")]
        async with pool.use() as channel:
            asked: dict[str, tuple[str, tuple[object, ...]]] = {
                "repeat": (FIND_LOGGED, (decisions,)),
                "events": (profiles.EVENTS, (users[0][0], 0)),
                "counters": (profiles._COUNTERS, (users[1][0], 0)),  # noqa: SLF001 (the statement itself)
                "windows": (silence_statements.FIND_DUE, (2e9, 0.0, 0, 10)),
                "retention": (upkeep._OVERDUE, (decisions[-1], 0.0)),  # noqa: SLF001 (the same)
            }
            touched = [await count_pages(channel.session, statement, *values) for statement, values in asked.values()]
        await pool.close()
    for name, plan in plans.items():
        assert not find_whole_reads(plan), (name, plan)
    assert max(touched) < 2000, "however many the tables have"


async def read_plan(pool: ConnectionPool, statement: str) -> list[str]:
    """The plan of a statement whose arguments nobody knows yet."""
    values = ", ".join(["NULL"] * max(int(number) for number in re.findall(r"\$(\d+)", statement)))
    async with pool.use() as channel:
        await channel.session.execute(f"PREPARE hot AS {statement}")
        plan = [line for (line,) in await channel.session.fetch(f"EXPLAIN EXECUTE hot ({values})")]
        await channel.session.execute("DEALLOCATE hot")
    return plan


async def count_pages(session: Any, statement: str, *values: object) -> int:
    """Pages that a statement looks at when it is done."""
    (found,) = await session.fetchrow(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values)
    plan = json.loads(found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def find_whole_reads(plan: list[str]) -> set[str]:
    """Growing tables that a plan reads from end to end."""
    read = {table for line in plan for table in re.findall(r"Seq Scan on (\w+)", line)}
    for line, condition in pairwise(plan):  # nor all of an index
        if " rewards" in line and re.search(r"Index (Only )?Scan", line) and "Index Cond" not in condition:
            read.add("rewards")
    return read & GROWING


async def test_every_table_with_rows_of_a_user_is_erased(database: str) -> None:
    pool = ConnectionPool(LedgerAddress.parse(database), 1, durable=False)
    await create_tables(pool, "bandstand")
    query = """SELECT DISTINCT c.table_name FROM information_schema.columns AS c
        JOIN pg_class AS t ON t.oid = to_regclass('bandstand.' || c.table_name) AND NOT t.relispartition
        WHERE c.table_schema = 'bandstand' AND c.column_name = 'uid'"""
    found = {name for (name,) in await pool.fetch(query)}
    await pool.close()
    assert found == {"users", *TABLES_OF_A_USER}
