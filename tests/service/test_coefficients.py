"""What every policy has learned of a user: the posterior that it scores with, and its interval."""

import numpy as np
import pytest

from bandstand.service.coefficients import coefficients
from bandstand.service.context import Deployment
from bandstand.service.reward import reward
from bandstand.service.score import score
from bandstand.service.stats import user_stats
from bandstand.testing.memory_store import MemoryStore
from tests.store.populated import catalogue_of


@pytest.fixture
def deployment() -> Deployment:
    catalogue = catalogue_of()
    return Deployment(catalogue, MemoryStore(catalogue))


async def taught(deployment: Deployment, policy: str, rewards: list[float]) -> None:
    features = {"priority": 4, "is_overdue": True}
    for value in rewards:
        request = {"user_id": "ada", "candidates": [{"id": "t", "content": "", "source": "task", "features": features}]}
        made = await score(deployment, request, body=b"{}", client="test", policy=policy)
        await reward(deployment, {"decision_id": made.decision_id, "reward": value}, client="test", policy=None)


async def test_nobody_has_learned_of_a_stranger(deployment: Deployment) -> None:
    assert await coefficients(deployment, "ada") == []


async def test_the_means_are_those_of_the_stats_and_the_active_policy_comes_first(deployment: Deployment) -> None:
    for policy in ("egreedy-v1", "linucb-v2", "linucb-v1"):
        await taught(deployment, policy, [1.0, 0.5])
    found = await coefficients(deployment, "ada")
    assert found[0]["policy"] == "linucb-v2"
    assert {each["policy"] for each in found} == {"egreedy-v1", "linucb-v2", "linucb-v1"}
    for each in found:
        stats = await user_stats(deployment, "ada", each["policy"])
        assert [feature["mean"] for feature in each["features"]] == stats["theta"]
        assert [feature["label"] for feature in each["features"]] == stats["feature_labels"]
        assert (each["pulls"], each["reward_count"], each["mean_reward"]) == (2, 2, 0.75)


async def test_an_interval_is_where_95_percent_of_the_belief_lies(deployment: Deployment) -> None:
    await taught(deployment, "linucb-v1", [1.0] * 5)
    (found,) = await coefficients(deployment, "ada")
    policy = deployment.policy("linucb-v1")
    profile = await deployment.store.profile("ada")
    belief = profile.policies[policy.name, policy.schema.name].posterior(deployment.prior(policy, "ada"))
    drawn = np.random.default_rng(3).multivariate_normal(belief.mean, belief.covariance, 40_000)
    for column, feature in zip(drawn.T, found["features"], strict=True):
        inside = np.mean((column >= feature["low"]) & (column <= feature["high"]))
        assert abs(inside - 0.95) < 0.005  # four and a half standard errors


async def test_what_is_learned_narrows_the_interval(deployment: Deployment) -> None:
    await taught(deployment, "linucb-v1", [0.5])
    (before,) = await coefficients(deployment, "ada")
    await taught(deployment, "linucb-v1", [0.5] * 20)
    (after,) = await coefficients(deployment, "ada")
    widths = [
        [feature["high"] - feature["low"] for feature in each["features"] if feature["label"] == "priority"]
        for each in (before, after)
    ]
    assert widths[1] < widths[0]
