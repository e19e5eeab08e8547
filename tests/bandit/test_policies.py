"""Every policy in the shipped catalogue obeys every law, and each kind its own formula."""

from collections.abc import Callable

import numpy as np
import pytest

from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import KINDS, EpsilonGreedy, LinUCB, Policy
from bandstand.bandit.ridge import posterior
from tests.bandit.checks import LAWS, check_policy
from tests.bandit.given import CATALOGUE, learned, random_request, random_rows, schema, schema_of


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("policy", CATALOGUE.policies.values(), ids=lambda policy: policy.name)
def test_every_shipped_policy_obeys(policy: Policy, law: Callable[[Policy], None]) -> None:
    law(policy)


def test_every_kind_ships() -> None:
    assert {policy.kind for policy in CATALOGUE.policies.values()} == set(KINDS)


def test_a_policy_over_a_wide_schema_obeys_too() -> None:
    wide = schema_of(
        {"name": "shop", "source": "context.shop", "encoding": "hash", "buckets": 12},
        {"name": "colour", "source": "candidate.colour", "encoding": "onehot", "values": ["red", "green", "blue"]},
        {"name": "price", "source": "candidate.price", "encoding": "scale", "divisor": 100.0},
        {"name": "both", "encoding": "interaction", "of": ["colour", "price"]},
        intercept=True,
    )
    check_policy(LinUCB("wide", wide, {"alpha": 0.3, "floor": 0.05}))


def test_linucb_adds_alpha_widths_to_the_mean_and_greedy_none() -> None:
    rng = np.random.default_rng(0)
    tips = schema("tips-7")
    belief = posterior(learned(random_rows(tips, rng, 30), rng.uniform(-1, 1, 30)), LinUCB("any", tips, {}).prior)
    x = tips.encode(*random_request(tips, rng, 8))
    optimist = LinUCB("optimist", tips, {"alpha": 2.5}).distribution(belief, x)
    greedy = EpsilonGreedy("greedy", tips, {}).distribution(belief, x)
    np.testing.assert_allclose(optimist.score - optimist.mean, 2.5 * optimist.width, rtol=1e-12)
    assert optimist.mean.tolist() == greedy.mean.tolist() == greedy.score.tolist()
    assert optimist.width.tolist() == greedy.width.tolist()


def test_the_floor_is_a_uniform_share_for_every_candidate() -> None:
    tips = schema("tips-5")
    policy = LinUCB("floored", tips, {"floor": 0.2})
    x = tips.encode({}, [{"priority": priority} for priority in (1, 2, 3, 4)])
    distribution = policy.distribution(posterior(learned(x[:0], np.zeros(0)), policy.prior), x)
    np.testing.assert_allclose(distribution.probability, [0.05, 0.05, 0.05, 0.85], rtol=1e-12)


def test_the_hash_follows_kind_parameters_and_schema_but_not_the_name() -> None:
    five, seven = schema("tips-5"), schema("tips-7")
    policies = [
        LinUCB("a", five, {"alpha": 1.0}),
        LinUCB("a", five, {"alpha": 2.0}),
        LinUCB("a", five, {"alpha": 1.0, "floor": 0.1}),
        LinUCB("a", seven, {"alpha": 1.0}),
        EpsilonGreedy("a", five, {}),
    ]
    assert len({policy.hash for policy in policies}) == len(policies)
    assert policies[0].hash == LinUCB("b", five, {}).hash
    changed = FeatureSchema.parse("tips-5", {**five.definition, "version": 2})
    assert policies[0].hash != LinUCB("a", changed, {}).hash
    assert len(policies[0].hash) == 16


def test_parameters_cannot_be_changed_after_the_hash_was_made() -> None:
    policy = LinUCB("a", schema("tips-5"), {})
    with pytest.raises(TypeError):
        policy.parameters["alpha"] = 2.0  # type: ignore[index]  # the point of the test


def test_it_names_itself() -> None:
    assert repr(CATALOGUE.policy("linucb-v2")) == "LinUCB('linucb-v2', 'tips-v2', alpha=0.5, floor=0.02, half_life=0)"
