"""What every policy has learned of a user: the posterior that it scores with, and its interval."""

import numpy as np
import pytest

from bandstand.service.coefficients import list_coefficients
from bandstand.service.context import ServiceContext
from bandstand.service.reward import reward
from bandstand.service.score import score
from bandstand.service.stats import load_user_stats
from bandstand.testing.memory_store import MemoryStore
from tests.store.populated import catalogue_of


@pytest.fixture
def deployment() -> ServiceContext:
    catalogue = catalogue_of()
    return ServiceContext(catalogue, MemoryStore(catalogue))


async def teach_user(deployment: ServiceContext, policy: str, rewards: list[float]) -> None:
    features = {"priority": 4, "is_overdue": True}
    for value in rewards:
        request = {"user_id": "ada", "candidates": [{"id": "t", "content": "", "source": "task", "features": features}]}
        made = await score(deployment, request, body=b"{}", client="test", policy=policy)
        await reward(deployment, {"decision_id": made.decision_id, "reward": value}, client="test", policy=None)


async def test_nobody_has_learned_of_a_stranger(deployment: ServiceContext) -> None:
    assert await list_coefficients(deployment, "ada") == []


async def test_the_means_are_those_of_the_stats_and_the_active_policy_comes_first(deployment: ServiceContext) -> None:
    for policy in ("egreedy-v1", "linucb-v2", "linucb-v1"):
        await teach_user(deployment, policy, [1.0, 0.5])
    found = await list_coefficients(deployment, "ada")
    assert found[0].policy == "linucb-v2"
    assert {each.policy for each in found} == {"egreedy-v1", "linucb-v2", "linucb-v1"}
    for each in found:
        stats = await load_user_stats(deployment, "ada", each.policy)
        assert [feature.mean for feature in each.features] == stats.theta
        assert [feature.label for feature in each.features] == stats.feature_labels
        assert (each.pulls, each.reward_count, each.mean_reward) == (2, 2, 0.75)


async def test_an_interval_is_where_95_percent_of_the_belief_lies(deployment: ServiceContext) -> None:
    await teach_user(deployment, "linucb-v1", [1.0] * 5)
    (found,) = await list_coefficients(deployment, "ada")
    policy = deployment.get_policy("linucb-v1")
    profile = await deployment.store.load_profile("ada")
    belief = profile.policies[policy.name, policy.schema.name].get_posterior(deployment.get_prior(policy, "ada"))
    drawn = np.random.default_rng(3).multivariate_normal(belief.mean, belief.covariance, 40_000)
    for column, feature in zip(drawn.T, found.features, strict=True):
        inside = np.mean((column >= feature.low) & (column <= feature.high))
        assert abs(inside - 0.95) < 0.005  # four and a half standard errors


async def test_what_is_learned_narrows_the_interval(deployment: ServiceContext) -> None:
    await teach_user(deployment, "linucb-v1", [0.5])
    (before,) = await list_coefficients(deployment, "ada")
    await teach_user(deployment, "linucb-v1", [0.5] * 20)
    (after,) = await list_coefficients(deployment, "ada")
    widths = [
        [feature.high - feature.low for feature in each.features if feature.label == "priority"]
        for each in (before, after)
    ]
    assert widths[1] < widths[0]
