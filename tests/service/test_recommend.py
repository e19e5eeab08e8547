"""Recommend: the tips, the pick among them, and one reward that teaches both the policy and the prompt."""

import json
from dataclasses import asdict

import pytest

from bandstand.bandit.arms import RewardSums
from bandstand.errors import InvalidRequestError
from bandstand.service.recommend import recommend
from bandstand.service.stats import load_user_stats
from tests.service.given import Service
from tests.service.writing import by_model, by_template, request


async def test_the_pick_is_what_scoring_the_tips_gives(service: Service) -> None:
    writing, _ = by_model()
    answer = await recommend(service.deployment, writing, request(), client="shop")
    receipt = await service.deployment.store.find_receipt(str(answer.decision_id))
    assert receipt is not None
    assert (receipt.tip_id, receipt.score, receipt.propensity) == (
        answer.tip_id,
        answer.score,
        answer.propensity,
    )
    assert (receipt.client, receipt.policy.name) == ("shop", answer.policy)
    candidates = [asdict(tip) for tip in answer.candidates]
    assert json.loads(receipt.body) == {
        "user_id": "anna",
        "candidates": candidates,
        "context": {"hour_of_day": 9, "day_of_week": 1},
    }
    assert {ranked["tip_id"] for ranked in answer.ranking} == {tip["id"] for tip in candidates}
    assert sum(ranked["propensity"] for ranked in answer.ranking) == pytest.approx(1)
    scores = [ranked["score"] for ranked in answer.ranking]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3, "three tasks, three features, three scores"


async def test_one_reward_teaches_the_policy_and_the_prompt(service: Service) -> None:
    writing, _ = by_model()
    answer = await recommend(service.deployment, writing, request(), client="shop")
    await service.reward({"decision_id": answer.decision_id, "reward": 0.5})
    assert (await load_user_stats(service.deployment, "anna")).cumulative_reward == 0.5
    (total,) = await service.deployment.store.load_prompt_totals()
    assert (total.prompt.version, total.decisions, total.reward_sums) == ("v1", 1, RewardSums(1, 0.5, 0.25))


async def test_it_learns_what_kind_of_task_a_user_takes_up(service: Service) -> None:
    answer = await recommend(service.deployment, by_template(), request(), client="shop")
    for _ in range(60):
        service.clock.now += 1
        answer = await recommend(service.deployment, by_template(), request(), client="shop")
        picked = next(tip for tip in answer.candidates if tip.id == answer.tip_id)
        value = 1.0 if picked.source_id == "7" else -1.0
        await service.reward({"decision_id": answer.decision_id, "reward": value})
    assert answer.candidates[1].source_id == "7"
    best = answer.ranking[0]
    assert (best["tip_id"], best["propensity"]) == ("tip-2", pytest.approx(0.98 + 0.02 / 3))


async def test_no_tips_no_pick(service: Service) -> None:
    answer = await recommend(service.deployment, by_template(), request(context={}), client="shop")
    assert (list(answer.candidates), list(answer.ranking), answer.missing) == ([], [], 3)
    for name in ("tip_id", "score", "policy", "decision_id", "propensity", "exploring"):
        assert getattr(answer, name) is None
    assert answer.generation_id


async def test_an_unknown_version_picks_nothing(service: Service) -> None:
    with pytest.raises(InvalidRequestError):
        await recommend(service.deployment, by_model()[0], request(prompt_version="v9"), client="shop")
    assert await service.deployment.store.count_users() == 0
