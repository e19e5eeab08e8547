"""The split: un-named requests mean the user's arm, and who each arm met is held against who it should have."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bandstand.bandit.experiment import Experiment, Split
from bandstand.service.context import ServiceContext
from bandstand.service.experiment import load_experiment_status
from bandstand.service.policies import build_overview
from bandstand.service.stats import load_deployment_stats, load_user_stats
from bandstand.testing.memory_store import MemoryStore
from tests.service.given import Make, Service
from tests.store.given import CATALOGUE

SPLIT = "linucb-v2:70,first-v1:30"
USERS = [f"user-{number}" for number in range(60)]


@pytest.fixture
async def split(make: Make, tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(make(tmp_path), experiment=Experiment.parse(SPLIT))
    await service.deployment.store.open()
    await service.deployment.start()
    yield service
    await service.deployment.store.close()


def arm(service: Service, user_id: str) -> str:
    return Split(Experiment.parse(SPLIT), service.deployment.store.secret).assign_policy(user_id)


async def test_a_user_has_one_policy_in_all_un_named_requests(split: Service) -> None:
    for _ in range(2):
        for user_id in USERS[:20]:
            assert (await split.score(user_id=user_id)).policy == arm(split, user_id)
            assert (await split.reward(split.legacy(user_id))).policy == arm(split, user_id)
            assert (await load_user_stats(split.deployment, user_id)).policy == arm(split, user_id)
        await split.reopen()


async def test_a_named_policy_is_the_one_that_is_named(split: Service) -> None:
    for user_id in USERS[:10]:
        assert (await split.score(user_id=user_id, policy="linucb")).policy == "linucb-v1"
        assert (await split.reward(split.legacy(user_id), policy="linucb")).policy == "linucb-v1"
    told = await load_experiment_status(split.deployment)
    assert told is not None
    assert told.users == 0, "they are no part of the experiment"


async def test_users_count_once_and_decisions_do_not(split: Service) -> None:
    for _ in range(3):
        for user_id in USERS:
            await split.score(user_id=user_id)
        await split.reopen()
    await split.reward(split.legacy("only rewarded"))
    met = [arm(split, user_id) for user_id in USERS]
    told = await load_experiment_status(split.deployment)
    assert told is not None
    assert (told.name, told.since, told.users) == ("", "2025-06-15T15:06:40+00:00", 60)
    assert {policy: (each.share, each.users) for policy, each in told.arms.items()} == {
        "linucb-v2": (0.7, met.count("linucb-v2")),
        "first-v1": (0.3, met.count("first-v1")),
    }
    assert [each.expected for each in told.arms.values()] == pytest.approx([42.0, 18.0])
    statistic = (met.count("first-v1") - 18) ** 2 / 18 + (met.count("linucb-v2") - 42) ** 2 / 42
    assert told.chi_square == pytest.approx(statistic)
    assert told.p_value is not None
    assert told.mismatch == (told.p_value < 0.001), "as one split in a thousand is, by chance"
    assert (await load_deployment_stats(split.deployment)).experiment == told


async def test_an_erased_user_counts_no_more(split: Service) -> None:
    for user_id in USERS[:10]:
        await split.score(user_id=user_id)
    assert (await split.deployment.store.erase(USERS[0], "tests")).enrolments == 1
    told = await load_experiment_status(split.deployment)
    assert told is not None
    assert told.users == 9
    await split.score(user_id=USERS[0])
    told = await load_experiment_status(split.deployment)
    assert told is not None
    assert told.users == 10


async def test_few_users_prove_nothing(split: Service) -> None:
    for user_id in USERS[:16]:
        await split.score(user_id=user_id)
    told = await load_experiment_status(split.deployment)
    assert told is not None
    assert (told.chi_square, told.p_value, told.mismatch) == (None, None, False)


async def test_a_split_that_loses_users_of_one_arm_is_flagged(split: Service) -> None:
    kept = [
        user_id for user_id in (f"user-{n}" for n in range(400)) if arm(split, user_id) == "linucb-v2" or "7" in user_id
    ]
    for user_id in kept:
        await split.score(user_id=user_id)
    told = await load_experiment_status(split.deployment)
    assert told is not None
    assert told.mismatch
    assert told.p_value is not None
    assert told.p_value < 0.001


async def test_sound_splits_are_flagged_as_rarely_as_is_said() -> None:
    flagged = 0
    for secret in range(200):
        store = MemoryStore(CATALOGUE, secret=bytes([secret]) * 32)
        deployment = ServiceContext(CATALOGUE, store, experiment=Experiment.parse(SPLIT))
        await deployment.start()
        met = [deployment.get_policy(None, user_id).name for user_id in USERS]
        store._deployment._enrolments = {  # noqa: SLF001 (as if each had been scored)
            (deployment.running_experiment.seq if deployment.running_experiment else 0, policy): {
                user_id for user_id, own in zip(USERS, met, strict=True) if own == policy
            }
            for policy in ("linucb-v2", "first-v1")
        }
        told = await load_experiment_status(deployment)
        assert told is not None
        flagged += told.mismatch
    assert flagged <= 3, "of 200, at 1 in 1,000: 4 or more would happen once in 100,000 times"


async def test_the_same_experiment_goes_on_after_a_restart_and_another_begins_anew(split: Service) -> None:
    for user_id in USERS[:10]:
        await split.score(user_id=user_id)
    begun = split.deployment.running_experiment
    await split.reopen()
    assert split.deployment.running_experiment == begun
    store = split.deployment.store
    split.clock.now += 60
    other = ServiceContext(CATALOGUE, store, experiment=Experiment.parse("second=" + SPLIT))
    await other.start()
    told = await load_experiment_status(other)
    assert told is not None
    assert (told.name, told.users, told.since) == ("second", 0, "2025-06-15T15:07:40+00:00")
    none = ServiceContext(CATALOGUE, store)
    await none.start()
    assert await load_experiment_status(none) is None
    again = ServiceContext(CATALOGUE, store, experiment=Experiment.parse("second=" + SPLIT))
    await again.start()
    assert again.running_experiment is not None
    assert again.running_experiment != other.running_experiment, "it had ended"


async def test_arms_may_be_named_by_alias_and_are_told_with_their_shares() -> None:
    deployment = ServiceContext(CATALOGUE, MemoryStore(CATALOGUE), experiment=Experiment.parse("egreedy:1,linucb:3"))
    await deployment.start()
    told = build_overview(deployment)
    assert (told.active, told.pinned_by) == ("linucb-v1", "EXPERIMENT")
    assert {each.name: each.share for each in told.policies if each.active} == {
        "egreedy-v1": 0.25,
        "linucb-v1": 0.75,
    }
    with pytest.raises(ValueError, match="twice"):
        ServiceContext(CATALOGUE, MemoryStore(CATALOGUE), experiment=Experiment.parse("linucb:1,linucb-v1:3"))
