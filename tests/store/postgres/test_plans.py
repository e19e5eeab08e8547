"""Hot statements are planned for large ledgers, though they are planned once, while the ledger is small."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from bandstand.store.postgres import console_queries, part_statements, picks, profiles, reward_statements, shown
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.decision_statements import FIND_LOGGED, LOG_DECISIONS, LOG_REWARDS, SETTLE_SHADOWS
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
    "windows": part_statements.FIND_DUE,
    "parts": part_statements.PARTS_OF_DECISION,
    "metrics": part_statements.COUNT_METRICS,
    "a user's page": console_queries._DECISIONS,  # noqa: SLF001 (the statement itself)
    "what was shown": shown._DETAIL,  # noqa: SLF001 (the same)
    "picks": picks._PICKS,  # noqa: SLF001 (the same)
}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_law_server() as url:
        yield url


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_hot_statement_reads_a_growing_table_from_end_to_end(name: str, database: str) -> None:
    statement = STATEMENTS[name]
    pool = ConnectionPool(LedgerAddress.parse(database), 1, durable=False)
    await create_tables(pool, "bandstand")
    values = ", ".join(["NULL"] * max(int(number) for number in re.findall(r"\$(\d+)", statement)))
    async with pool.use() as channel:
        await channel.session.execute(f"PREPARE hot AS {statement}")
        plan = [line for (line,) in await channel.session.fetch(f"EXPLAIN EXECUTE hot ({values})")]
    await pool.close()
    read = {table for line in plan for table in re.findall(r"Seq Scan on (\w+)", line)}
    for line, condition in pairwise(plan):  # nor all of an index
        if " rewards" in line and re.search(r"Index (Only )?Scan", line) and "Index Cond" not in condition:
            read.add("rewards")
    assert not read & GROWING, "\n".join(plan)
    assert len(plan) > 3, "it was planned with its arguments unknown"


async def test_every_table_with_rows_of_a_user_is_erased(database: str) -> None:
    pool = ConnectionPool(LedgerAddress.parse(database), 1, durable=False)
    await create_tables(pool, "bandstand")
    query = """SELECT DISTINCT c.table_name FROM information_schema.columns AS c
        JOIN pg_class AS t ON t.oid = to_regclass('bandstand.' || c.table_name) AND NOT t.relispartition
        WHERE c.table_schema = 'bandstand' AND c.column_name = 'uid'"""
    found = {name for (name,) in await pool.fetch(query)}
    await pool.close()
    assert found == {"users", *TABLES_OF_A_USER}
