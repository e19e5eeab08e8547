"""Stores that share a ledger keep the laws of stores that do, and every law when every first answer is lost."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from bandstand.store.postgres import connections
from bandstand.store.postgres.connections import Channel, ConnectionPool
from tests.store import checks, reaction_checks, reward_checks, turn_checks
from tests.store.checks import Law, check_store, find_laws
from tests.store.postgres import shared_checks
from tests.store.postgres.shared import check_shared_law, empty_ledger, keep_sessions, make_shared, run_law_server
from tests.store.postgres.shared_checks import SharedSubjects

T = TypeVar("T")
SharedLaw = Callable[[SharedSubjects], Awaitable[None]]
LAWS = find_laws(checks) + find_laws(turn_checks) + find_laws(reward_checks) + find_laws(reaction_checks)
SHARED_LAWS: list[Any] = [law for law in find_laws(shared_checks) if law.__name__ != "decide_stale"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database() -> AsyncIterator[str]:
    with run_law_server() as url:
        async with keep_sessions():
            yield url


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("law", SHARED_LAWS, ids=lambda law: law.__name__)
async def test_law_of_two_processes(law: SharedLaw, database: str) -> None:
    await check_shared_law(database, law)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law_where_every_first_answer_is_lost(law: Law, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked is done and committed, and nobody hears of it: it is asked again, and counts once."""
    run = ConnectionPool.run

    async def lose_first(pool: ConnectionPool, work: connections.Work[T], **options: bool) -> T:
        async def lose(channel: Channel, tries: int) -> T:
            result = await work(channel, tries)
            if not tries:
                channel.session.is_sound = True
                raise ConnectionResetError
            return result

        return await run(pool, lose, **options)

    await empty_ledger(database)
    monkeypatch.setattr(connections, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(ConnectionPool, "run", lose_first)
    await check_store(make_shared(database), law)
