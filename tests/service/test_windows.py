"""Rewards over time at the use cases: parts, metrics, and silence."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bandstand.bandit.reward_formula import MetricTerm, RewardFormula
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import AlreadyRewardedError, InvalidRequestError
from bandstand.service.activation import activate
from bandstand.service.history import load_receipt
from bandstand.service.metrics import build_mean, load_metrics
from tests.service.given import Make, Service

FORMULA = RewardFormula((MetricTerm("click", 0.25), MetricTerm("revenue", 0.01, 0.0, 50.0)))
SETTINGS = RewardSettings(window=600.0, default_reward=-0.25, aggregation="sum", formula=FORMULA)


@pytest.fixture
async def over_time(make: Make, tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(make(tmp_path), reward_settings=SETTINGS)
    await service.deployment.store.open()
    await service.deployment.start()
    yield service
    await service.deployment.store.close()


async def count_learned(service: Service) -> tuple[int, float]:
    profile = await service.deployment.store.load_profile("anna")
    states = [state for state in profile.policies.values() if state.reward_count]
    return sum(state.reward_count for state in states), sum(state.cumulative_reward for state in states)


async def test_parts_are_answered_each_with_what_they_come_to(over_time: Service) -> None:
    decision_id = (await over_time.score()).decision_id
    for key, value, aggregate in (("a", 0.5, 0.5), ("b", 0.25, 0.75), ("a", 0.5, 0.5), ("c", 0.75, 1.0)):
        told = await over_time.reward({"decision_id": decision_id, "reward": value}, key=key)
        assert (told.reward, told.aggregate, told.applied) == (value, aggregate, True)
    assert await count_learned(over_time) == (1, 1.0)
    receipt = await load_receipt(over_time.deployment, str(decision_id))
    assert receipt.window_ends == "2025-06-15T15:16:40+00:00"


async def test_a_formula_makes_the_reward_of_metrics_and_others_are_kept(over_time: Service) -> None:
    decision_id = (await over_time.score()).decision_id
    told = await over_time.reward({"decision_id": decision_id, "metrics": {"click": 1, "revenue": 25.0, "age": 3}})
    assert (told.reward, told.aggregate) == (0.5, 0.5)
    await over_time.reward({"decision_id": decision_id, "metrics": {"age": 5}, "reward": 0.25})
    assert await count_learned(over_time) == (1, 0.75)
    [(policy, found)] = (await load_metrics(over_time.deployment)).items()
    assert policy == "linucb-v2"
    assert found["age"].all == build_mean(2, 8.0, 34.0)
    assert (found["age"].all.mean, found["revenue"].all.rewards, found["revenue"].all.low) == (4.0, 1, None)
    assert [each.rewards for each in found["age"].candidates.values()] == [2]
    await over_time.deployment.store.erase("anna", "tests")
    assert await load_metrics(over_time.deployment) == {}


async def test_metrics_of_what_was_not_shown_do_not_count_until_it_is(over_time: Service) -> None:
    decision_id = (await over_time.score(defer=True)).decision_id
    await over_time.reward({"decision_id": decision_id, "metrics": {"click": 1}})
    assert await load_metrics(over_time.deployment) == {}
    assert (await activate(over_time.deployment, str(decision_id), "tests")).reward == 0.25
    assert (await load_metrics(over_time.deployment))["linucb-v2"]["click"].all.mean == 1.0


async def test_silence_teaches_once_and_what_is_late_says_so(over_time: Service) -> None:
    answered, silent = [(await over_time.score()).decision_id for _ in range(2)]
    await over_time.reward({"decision_id": answered, "reward": 0.5})
    over_time.clock.now += 600.0
    for _ in range(2):
        assert not await over_time.deployment.windows.close_some()
        assert await count_learned(over_time) == (2, 0.25)
    for decision_id in (answered, silent):
        told = await over_time.reward({"decision_id": decision_id, "reward": 1.0})
        assert (told.reward, told.applied, told.reason, told.aggregate) == (1.0, False, "late", None)
    assert await count_learned(over_time) == (2, 0.25)


async def test_where_a_decision_is_rewarded_once_metrics_are_kept_beside(service: Service) -> None:
    decision_id = (await service.score()).decision_id
    request = {"decision_id": decision_id, "reward": 0.5, "metrics": {"revenue": 3.5}}
    assert (await service.reward(request)).reward == 0.5
    assert (await service.reward(request)).repeated
    for changed in ({"metrics": {"revenue": 4.5}}, {"reward": 0.25}):
        with pytest.raises(AlreadyRewardedError):
            await service.reward({**request, **changed})
    assert (await load_metrics(service.deployment))["linucb-v2"]["revenue"].all.mean == 3.5
    for refused in ({"decision_id": decision_id, "metrics": {"a": 1.0}}, service.legacy(metrics={"a": 1.0})):
        with pytest.raises(InvalidRequestError):
            await service.reward(refused)


async def test_a_loop_has_its_own_range(make: Make, tmp_path: Path) -> None:
    service = Service(make(tmp_path), reward_settings=RewardSettings(minimum=0.0, maximum=5.0))
    await service.deployment.store.open()
    decision_id = (await service.score()).decision_id
    with pytest.raises(InvalidRequestError, match=r"\[0, 5\]"):
        await service.reward({"decision_id": decision_id, "reward": -1.0})
    assert (await service.reward({"decision_id": decision_id, "reward": 4.5})).aggregate == 4.5
    await service.deployment.store.close()
