"""A primary that is lost under load: its synchronous standby takes over, and has every acknowledged reward."""

import asyncio
from collections.abc import Callable
from random import Random
from urllib.parse import quote

import asyncpg
import pytest

from bandstand.store.postgres.address import LedgerAddress
from bandstand.testing.postgres_server import PostgresServer, run_server
from tests.store.postgres.shared import run_test_server
from tests.store.postgres.trials import CHAOS, record_totals, require_kept, run_streamers

pytestmark = pytest.mark.slow

FAIL_OVERS = CHAOS // 5 or 1
SYNCHRONOUS = {"autovacuum": "off", "synchronous_standby_names": "ANY 1 (standby)"}


def build_url(*servers: PostgresServer) -> str:
    """The URL of a ledger on whichever of the servers takes writes."""
    hosts = ",".join(quote(str(server.folder), safe="") for server in servers)
    return f"postgresql://bandstand@/postgres?host={hosts}&schema=bandstand"


@pytest.mark.parametrize("trial", range(FAIL_OVERS))
async def test_no_acknowledged_reward_goes_with_a_primary_that_has_a_synchronous_standby(
    trial: int, record_property: Callable[[str, object], None]
) -> None:
    random, durability = Random(trial), ("full", "strict")[trial % 2]
    with run_test_server(SYNCHRONOUS) as primary, run_server({"autovacuum": "off"}, primary) as standby:
        with run_streamers(build_url(primary, standby), 2, durability) as streamers:
            await asyncio.sleep(random.uniform(1.0, 3.0))
            primary.kill()
            await asyncio.sleep(random.uniform(0.0, 1.0))
            standby.promote()
            before = await count_rewards(standby)
            async with asyncio.timeout(120):
                while await count_rewards(standby) == before:  # noqa: ASYNC110 (they go on there by themselves)
                    await asyncio.sleep(0.1)
            words = []
            while streamers:
                words += streamers.pop().kill()
        totals = await require_kept(standby.build_url(), words, keeps_decisions=durability == "strict")
    record_totals(record_property, totals, durability=durability)


async def count_rewards(server: PostgresServer) -> int:
    """How many rewards a server has."""
    session = await asyncpg.connect(LedgerAddress.parse(server.build_url()).dsn)
    try:
        return int(await session.fetchval("SELECT count(*) FROM bandstand.rewards"))
    finally:
        await session.close()
