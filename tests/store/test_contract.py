"""Every store keeps every law of the contract suite."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from bandstand.testing.memory_store import MemoryStore
from tests.store import checks, reaction_checks, reward_checks, turn_checks
from tests.store.checks import Law, check_store, find_laws
from tests.store.given import CATALOGUE, QUICK, Clock, MakeStore, make_embedded
from tests.store.postgres.shared import empty_ledger, keep_sessions, make_alternating, make_shared, run_law_server

LAWS = find_laws(checks) + find_laws(turn_checks) + find_laws(reward_checks) + find_laws(reaction_checks)


def memory(_: Path) -> MakeStore:
    kept: list[MemoryStore] = []

    def make(clock: Clock) -> MemoryStore:
        if not kept:
            kept.append(MemoryStore(CATALOGUE, clock=clock))
        return kept[0]

    return make


def on_disk(directory: Path) -> MakeStore:
    return make_embedded(directory / "state", QUICK)


@pytest.mark.parametrize("make_store", [memory, on_disk])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(law: Law, make_store: Callable[[Path], MakeStore], tmp_path: Path) -> None:
    await check_store(make_store(tmp_path), law)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database() -> AsyncIterator[str]:
    with run_law_server() as url:
        async with keep_sessions():
            yield url


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "make_store",
    [
        pytest.param(make_shared, id="postgres"),
        pytest.param(make_alternating, id="alternating", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law_of_shared_stores(law: Law, make_store: Callable[[str], MakeStore], database: str) -> None:
    await empty_ledger(database)
    await check_store(make_store(database), law)
