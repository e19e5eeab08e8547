"""Learned priors of several processes: one learns them, all believe the same, and nobody who was erased is in them."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from bandstand.learning.shared_population import SharedPriorRefresher
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.ledger import SharedStoreOptions
from bandstand.store.postgres.store import SharedStore
from tests.store.given import CATALOGUE, Clock, Subject
from tests.store.postgres.shared import empty_ledger, keep_sessions, run_law_server

POLICY = CATALOGUE.policies["linucb-v2"]
REFRESH = 20
pytestmark = pytest.mark.asyncio(loop_scope="module")
OPTIONS = SharedStoreOptions(may_lead=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database() -> AsyncIterator[str]:
    with run_law_server() as url:
        async with keep_sessions():
            yield url


class Process(Subject):
    """One process of a deployment: a store, and the priors it believes."""

    store: SharedStore

    def __init__(self, url: str, seed: int) -> None:
        def make(clock: Clock) -> SharedStore:
            return SharedStore(LedgerAddress.parse(url), CATALOGUE, options=OPTIONS, clock=clock)

        super().__init__(make, seed)
        self.priors = SharedPriorRefresher(
            CATALOGUE, self.store, self.store.priors, refresh_rewards=REFRESH, clock=self.clock
        )

    async def start(self) -> None:
        """Open both."""
        await self.store.open()
        await self.priors.open()

    async def stop(self) -> None:
        """Close both."""
        await self.priors.close()
        await self.store.close()

    async def lead(self) -> None:
        """Take the lease, and learn what is due."""
        await self.store.upkeep.try_to_lead()
        assert self.store.upkeep.is_leader
        await self.priors.look()

    async def teach(self, user_id: str, count: int) -> None:
        """Have a user rewarded."""
        for _ in range(count):
            await self.reward(await self.decide(user_id), self.random.uniform(-1, 1))

    def read(self, user_id: str = "") -> tuple[int, np.ndarray, np.ndarray]:
        """The generation that is believed, and what it says of a user."""
        prior = self.priors.get_prior(POLICY, user_id)
        return self.priors.build_summary()[POLICY.name]["generation"], prior.mean, prior.covariance


def assert_believed_by_all(processes: list[Process], user_id: str = "") -> None:
    """All have the same generation, to the last bit."""
    first, *others = [each.read(user_id) for each in processes]
    for other in others:
        assert other[0] == first[0]
        np.testing.assert_array_equal(other[1], first[1])
        np.testing.assert_array_equal(other[2], first[2])


@pytest_asyncio.fixture(loop_scope="module")
async def processes(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Process]]:
    """Three that look at each other's priors when the test says so, and not each second besides."""
    monkeypatch.setattr("bandstand.learning.shared_population._POLL_S", 3600.0)
    await empty_ledger(database)
    made = [Process(database, seed) for seed in range(3)]
    for each in made:
        await each.start()
    yield made
    for each in made:
        await each.stop()


async def test_one_learns_from_all_and_another_goes_on_where_it_was_killed(processes: list[Process]) -> None:
    leader, other, third = processes
    for number, each in enumerate(processes):
        await each.teach(f"user-{number}", 10)
    await leader.lead()
    await other.priors.look()
    await third.priors.look()
    assert leader.read()[0] == 1
    assert leader.priors.build_summary()[POLICY.name]["users"] == 3, "though it took the rewards of one itself"
    assert_believed_by_all(processes)
    assert_believed_by_all(processes, "user-1")
    await other.priors.look()
    assert other.read()[0] == 1, "only who leads learns"

    await leader.store.upkeep.step_down()  # as a lease that has run out
    await other.store.upkeep.try_to_lead()
    await third.teach("user-3", 30)
    await other.priors.look()
    leader.store.upkeep._fence = 1  # noqa: SLF001 (it was paused, and does not know that another leads)
    await leader.teach("user-4", 60)
    await leader.priors.look()
    await leader.priors.look()
    await third.priors.look()
    assert third.read()[0] == 2
    assert third.priors.build_summary()[POLICY.name]["users"] == 4
    assert_believed_by_all(processes)


async def test_an_erasure_leaves_a_prior_equal_to_one_that_never_met_the_erased(processes: list[Process]) -> None:
    leader, other, third = processes
    for number in range(3):
        await other.teach(f"user-{number}", 8)
    await leader.lead()
    await third.store.erase("user-2", "tests")
    assert await third.store.priors.load(POLICY.name) is None, "who goes, goes from it in the same commit"
    assert await leader.priors.apply_erasure("user-2") == 1
    for each in (other, third):
        await each.priors.look()
    assert_believed_by_all(processes)
    document = await third.store.priors.load(POLICY.name)
    assert document is not None
    assert "user-2" not in str(document)
    members = {}
    for user_id in ("user-0", "user-1"):
        state = (await third.store.load_profile(user_id)).policies[POLICY.name, POLICY.schema.name]
        assert state.ridge is not None
        members[user_id] = state.ridge
    expected = POLICY.fit_prior(members, None).get_prior("")
    np.testing.assert_allclose(third.read()[1], expected.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(third.read()[2], expected.covariance, rtol=0, atol=1e-9)


async def test_what_is_taken_back_is_learned_anew_and_what_nobody_learned_from_is_not(
    processes: list[Process],
) -> None:
    leader, other, _ = processes
    await other.teach("user-0", 30)
    await leader.lead()
    assert leader.read()[0] == 1
    assert await leader.priors.apply_revocation(["user-0"], 0) == [POLICY.name]
    assert await leader.priors.apply_revocation(["nobody"], 0) == []
    await other.priors.look()
    assert other.read()[0] == 2
    assert_believed_by_all([leader, other])
