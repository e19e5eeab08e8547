"""Undo as operators meet it: what was taken back is out of users' states and out of the priors, and told."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.bandit.population import PopulationPrior
from bandstand.bandit.ridge import RidgeState
from bandstand.errors import InvalidRequestError, UnknownDecisionError
from bandstand.service.undo import SkippedRewards, UndoResult, UnreachableUsers, undo
from bandstand.store.tables.undo import Selection
from tests.learning.test_population import POLICY, Learning, is_same
from tests.service.given import Service
from tests.store.given import documents_in

SHOP, FRAUD = Selection(client="tests"), Selection(client="fraud")


@pytest.fixture
async def learning(tmp_path: Path) -> AsyncIterator[Learning]:
    learning = Learning(tmp_path)
    await learning.open()
    yield learning
    await learning.close()


async def praise_unwanted(service: Learning, users: int, each: int, first: int = 0) -> None:
    """Let a client with another key praise what nobody wants."""
    for user in range(first, first + users):
        for _ in range(each):
            request = service.legacy(f"user-{user}")
            request["features"] |= {"priority": 1}
            request["reward"] = 1.0
            await service.reward(request, client="fraud")


async def batch_fit(service: Learning, users: int) -> PopulationPrior:
    """The prior that the users' states as they are now make, from nothing."""
    members = dict[str, RidgeState]()
    for user in sorted(f"user-{number}" for number in range(users)):
        state = (await service.deployment.store.load_profile(user)).policies.get(("linucb-v2", "tips-v2"))
        if state is not None and state.ridge is not None:
            members[user] = state.ridge
    return POLICY.fit_prior(members)


async def test_the_prior_is_the_batch_fit_of_what_is_left(learning: Learning) -> None:
    """Some of what went was all that a user had: they are out of the population."""
    await learning.teach_policy(users=5, each=6)
    await praise_unwanted(learning, users=3, each=4)
    await praise_unwanted(learning, users=2, each=4, first=5)
    await learning.wait_until_fitted()
    await learning.deployment.population.refresh_prior("linucb-v2")
    deceived = learning.prior()
    told = await undo(learning.deployment, FRAUD, "the office")
    assert told == UndoResult(
        dry_run=False,
        rewards=20,
        users=5,
        policies={"linucb-v2": 20},
        priors=["linucb-v2"],
        passed_over=SkippedRewards(revoked_before=0, forgotten=0, never_taught=0),
        out_of_reach=UnreachableUsers(users=0, until=None),
    )
    expected = await batch_fit(learning, 7)
    assert (expected.users, expected.rewards) == (5, 30)
    assert is_same(learning.prior(), expected.shared, 1e-6)
    assert all(is_same(learning.prior(f"user-{user}"), expected.get_prior(f"user-{user}"), 1e-6) for user in range(7))
    assert not is_same(learning.prior(), deceived, 1e-3)

    honest = Learning(learning.files.path("x").parent.parent / "honest")
    await honest.open()
    await honest.teach_policy(users=5, each=6)
    await honest.deployment.population.refresh_prior("linucb-v2")
    assert is_same(learning.prior(), honest.prior(), 1e-6)
    await honest.close()

    before = learning.prior()
    await learning.reopen()
    assert is_same(learning.prior(), before)


async def test_a_crash_between_the_commit_and_the_prior_is_mended_at_the_next_start(learning: Learning) -> None:
    await learning.teach_policy(users=5, each=6)
    await praise_unwanted(learning, users=3, each=4)
    await learning.deployment.population.refresh_prior("linucb-v2")  # of all of them, whatever was learned meanwhile
    await learning.read_prior_file()
    store = learning.deployment.store
    await store.revoke((await store.select_rewards(FRAUD)).revocable, cause="undo", client="tests")
    await learning.close()
    crashed = learning.files.read("linucb-v2") or {"generation": 0}
    learning.open_again()
    await learning.open()
    await learning.wait_until_fitted(crashed["generation"] + 1)
    expected = await batch_fit(learning, 5)
    await learning.read_prior_file()
    assert is_same(learning.prior(), expected.shared, 1e-6)


async def test_a_prior_that_nobody_teaches_any_more_is_mended_once_and_not_at_every_start(learning: Learning) -> None:
    """What was taken back is another policy's, and newer than all that this one learned."""
    await learning.teach_policy(users=5, each=6)
    await learning.wait_until_fitted()
    await learning.teach_policy(users=1, each=1, policy="thompson-v1", first=5)
    store = learning.deployment.store
    await store.revoke((await store.select_rewards(SHOP)).revocable[-1:], cause="undo", client="tests")
    generations = []
    for _ in range(3):
        await learning.reopen()
        await learning.deployment.population.refresh_prior("thompson-v1")  # once the start has done what it does
        generations.append(learning.deployment.population.build_summary()["linucb-v2"]["generation"])
    assert generations == [generations[0]] * 3


async def test_once_is_enough_and_a_dry_run_is_none(learning: Learning) -> None:
    await learning.teach_policy(users=2, each=3)
    await praise_unwanted(learning, users=2, each=2)
    would = await undo(learning.deployment, FRAUD, "the office", dry_run=True)
    assert (would.rewards, would.users, would.policies) == (4, 2, {"linucb-v2": 4})
    did = await undo(learning.deployment, FRAUD, "the office")
    assert replace(did, dry_run=True) == would
    again = await undo(learning.deployment, FRAUD, "the office")
    assert (again.rewards, again.users, again.priors) == (0, 0, [])
    assert again.passed_over.revoked_before == 4


async def test_two_at_once_take_each_reward_back_once(learning: Learning) -> None:
    await learning.teach_policy(users=2, each=3)
    await praise_unwanted(learning, users=2, each=3)
    took = await asyncio.gather(*(undo(learning.deployment, FRAUD, "the office") for _ in range(4)))
    assert sum(each.rewards for each in took) == 6
    profile = await learning.deployment.store.load_profile("user-0")
    assert profile.policies["linucb-v2", "tips-v2"].reward_count == 3


async def test_whoever_hangs_up_does_not_leave_the_prior_behind(learning: Learning) -> None:
    await learning.teach_policy(users=5, each=6)
    await praise_unwanted(learning, users=3, each=4)
    await learning.wait_until_fitted()
    asking = asyncio.create_task(undo(learning.deployment, FRAUD, "the office"))
    while not await learning.deployment.store.has_revocations_since(0):  # noqa: ASYNC110 (what is waited for is on the disk)
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    expected = await batch_fit(learning, 5)
    async with asyncio.timeout(60):
        while not is_same(learning.prior(), expected.shared, 1e-6):  # noqa: ASYNC110 (nobody is told when it is done)
            await asyncio.sleep(0.01)


async def test_a_user_s_stats_and_the_deployment_s_are_without_it(service: Service) -> None:
    scored = await service.score(service.request("anna"))
    await service.reward({"decision_id": scored.decision_id, "reward": 1.0})
    await service.reward(service.legacy("anna", -0.5))
    assert scored.decision_id is not None
    told = await undo(service.deployment, Selection(decision_id=scored.decision_id), "the office")
    assert (told.rewards, told.users) == (1, 1)
    state = (await service.deployment.store.load_profile("anna")).policies["linucb-v2", "tips-v2"]
    assert (state.pulls, state.reward_count, state.cumulative_reward) == (1, 1, -0.5)
    totals = (await service.deployment.store.load_policy_totals())["linucb-v2"]
    assert (totals.decisions, totals.rewards) == (1, 1)
    assert totals.reward_sum == pytest.approx(-0.5)


@pytest.mark.parametrize("selection", [Selection(), Selection(since=2.0, until=2.0), Selection(since=3.0, until=2.0)])
async def test_what_chooses_nothing_in_particular_is_refused(service: Service, selection: Selection) -> None:
    await service.reward(service.legacy("anna", 0.5))
    with pytest.raises(InvalidRequestError):
        await undo(service.deployment, selection, "the office")
    assert await service.deployment.store.has_revocations_since(0) is False


async def test_an_unknown_decision_is_an_error(service: Service) -> None:
    with pytest.raises(UnknownDecisionError):
        await undo(service.deployment, Selection(decision_id="nobody's"), "the office")


async def test_everything_taken_back_leaves_strangers(learning: Learning, tmp_path: Path) -> None:
    await learning.teach_policy(users=5, each=6)
    await learning.wait_until_fitted()
    await undo(learning.deployment, replace(SHOP, since=0.0, until=1e11), "the office")
    assert is_same(learning.prior("user-1"), POLICY.prior)
    await learning.reopen()
    assert documents_in(tmp_path)
    state = (await learning.deployment.store.load_profile("user-1")).policies["linucb-v2", "tips-v2"]
    assert (state.ridge, state.reward_count) == (None, 0)
