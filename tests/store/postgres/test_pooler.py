"""Behind PgBouncer in transaction mode: a few laws of stores, and loops that share the server's sessions."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from bandstand.testing.pooler import find_pooler, run_pooler
from bandstand.testing.postgres_server import QUICK_SETTINGS
from tests.store import checks
from tests.store.checks import check_store
from tests.store.given import Subject
from tests.store.postgres import shared_checks
from tests.store.postgres.shared import check_shared_law, empty_ledger, make_shared, run_test_server
from tests.store.postgres.shared_checks import SharedSubjects

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, str]]:
    """A ledger's URL behind the pooler, and past it."""
    if find_pooler() is None:
        assert not os.environ.get("CI"), "CI must have PgBouncer: make databases"
        pytest.skip("PgBouncer is not installed: make databases")
    with run_test_server(QUICK_SETTINGS) as server, run_pooler(server) as url:
        yield url, server.build_url()


async def test_fifty_rewards_at_once_are_all_there(urls: tuple[str, str]) -> None:
    await empty_ledger(urls[1])
    await check_store(make_shared(urls[0]), checks.fifty_concurrent_rewards_lose_none)


@pytest.mark.parametrize(
    "law",
    [
        shared_checks.a_reward_taken_by_one_counts_in_the_next_decision_of_the_other,
        shared_checks.an_erasure_in_the_middle_of_scores_and_rewards_leaves_nothing,
        shared_checks.a_ledger_that_was_put_back_is_read_anew_by_all,
    ],
    ids=lambda law: law.__name__,
)
async def test_law_of_two_processes(law: Callable[[SharedSubjects], Awaitable[Any]], urls: tuple[str, str]) -> None:
    pooled, direct = urls
    await check_shared_law(pooled, law, direct)


async def test_each_loop_has_its_own_events(urls: tuple[str, str]) -> None:
    pooled, direct = urls
    await empty_ledger(direct)
    menu = f"{pooled}&schema=bandstand_menu"
    async with Subject(make_shared(pooled)) as first, Subject(make_shared(menu), seed=1) as second:
        loops = [(first, 60, 0.5), (second, 40, -0.25)]
        decisions = [[await subject.decide("anna") for _ in range(count)] for subject, count, _ in loops]
        rewards = [
            subject.reward(decision, value)
            for (subject, _, value), made in zip(loops, decisions, strict=True)
            for decision in made
        ]
        await asyncio.gather(*rewards)
        for subject, count, value in loops:
            state = (await subject.store.load_profile("anna")).policies["linucb-v2", "tips-v2"]
            assert (state.pulls, state.reward_count, state.cumulative_reward) == (count, count, count * value)
