"""Stats: contract A1's fields, zeros for a stranger, and the deployment's sums."""

import numpy as np
import pytest

from bandstand.errors import UnknownPolicyError
from bandstand.service.stats import UserPolicyStats, load_deployment_stats, load_user_stats
from tests.service.given import Service
from tests.store.given import CATALOGUE, NOON


async def test_a_stranger_has_zeros_and_leaves_no_trace(service: Service) -> None:
    for name, policy in CATALOGUE.policies.items():
        d = policy.schema.dimension
        assert await load_user_stats(service.deployment, "nobody", name) == UserPolicyStats(
            user_id="nobody",
            pulls=0,
            reward_count=0,
            cumulative_reward=0.0,
            estimated_mean_reward=0.0,
            theta=[0.0] * d,
            last_updated=None,
            policy=name,
            exploration_rate=0.0,
            feature_labels=list(policy.schema.labels),
        )
    assert (await load_deployment_stats(service.deployment)).users == 0


async def test_labels_of_the_contracts_policies(service: Service) -> None:
    stats = await load_user_stats(service.deployment, "nobody", "egreedy")
    assert (stats.policy, stats.feature_labels) == (
        "egreedy-v1",
        ["hour_sin", "hour_cos", "is_overdue", "task_age", "priority", "dow_sin", "dow_cos"],
    )


async def test_theta_is_the_ridge_estimate(service: Service) -> None:
    for _ in range(25):
        scored = await service.score(policy="linucb")
        await service.reward({"decision_id": scored.decision_id, "reward": service.random.uniform(-1, 1)})
    ridge = (await service.deployment.store.load_profile("anna")).policies["linucb-v1", "tips-5"].ridge
    assert ridge is not None
    for _ in range(2):
        stats = await load_user_stats(service.deployment, "anna", "linucb")
        np.testing.assert_allclose(stats.theta, np.linalg.solve(np.eye(5) + ridge.gram, ridge.b), rtol=0, atol=1e-9)
        assert (stats.pulls, stats.reward_count) == (25, 25)
        assert stats.estimated_mean_reward == pytest.approx(stats.cumulative_reward / 25)
        await service.reopen()


async def test_the_exploration_rate_is_what_was_drawn(service: Service) -> None:
    scored = [await service.score(policy="egreedy") for _ in range(100)]
    stats = await load_user_stats(service.deployment, "anna", "egreedy")
    assert stats.exploration_rate == sum(each.exploring for each in scored) / 100
    assert 0 < stats.exploration_rate < 0.3


async def test_it_moves_on_score_and_on_reward(service: Service) -> None:
    scored = await service.score()
    assert (await load_user_stats(service.deployment, "anna")).last_updated == "2025-06-15T15:06:40Z"
    service.clock.now = NOON + 1.5
    await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
    stats = await load_user_stats(service.deployment, "anna")
    assert stats.last_updated == "2025-06-15T15:06:41Z"
    assert (stats.pulls, stats.reward_count, stats.estimated_mean_reward) == (1, 1, 0.5)


async def test_un_named_means_the_active_policy(service: Service) -> None:
    await service.score(policy="linucb")
    assert (await load_user_stats(service.deployment, "anna")).pulls == 0
    assert (await load_user_stats(service.deployment, "anna")).policy == "linucb-v2"
    assert (await load_user_stats(service.deployment, "anna", "linucb")).pulls == 1
    with pytest.raises(UnknownPolicyError):
        await load_user_stats(service.deployment, "anna", "nobody's")


async def test_a_reset_brings_back_zeros_and_leaves_the_deployments_sums(service: Service) -> None:
    await service.reward(service.legacy())
    await service.deployment.store.reset("anna", "tests")
    stats = await load_user_stats(service.deployment, "anna")
    assert (stats.pulls, stats.reward_count, stats.last_updated) == (0, 0, None)
    assert (await load_deployment_stats(service.deployment)).rewards == 1


async def test_the_deployments_sums(service: Service) -> None:
    empty = await load_deployment_stats(service.deployment)
    assert (empty.users, empty.decisions, empty.rewards, empty.policies) == (0, 0, 0, {})
    scored = [await service.score(policy="egreedy", user_id=f"user-{n % 3}") for n in range(30)]
    for each in scored[:4]:
        await service.reward({"decision_id": each.decision_id, "reward": 0.5})
    await service.reward(service.legacy(reward=-1.0), policy="linucb")
    stats = await load_deployment_stats(service.deployment)
    assert (stats.users, stats.decisions, stats.rewards) == (4, 30, 5)
    assert list(stats.policies) == ["egreedy-v1", "linucb-v1"]
    egreedy, linucb = stats.policies.values()
    assert (egreedy.decisions, egreedy.rewards, egreedy.mean_reward) == (30, 4, 0.5)
    assert egreedy.exploration_rate == sum(each.exploring for each in scored) / 30
    assert (linucb.decisions, linucb.exploration_rate, linucb.mean_reward) == (0, 0.0, -1.0)
