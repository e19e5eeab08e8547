"""Every policy in the shipped catalogue obeys every law, and each kind its own formula."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from bandstand.bandit.distribution import extract_second_uniform, hash_to_uniform
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import KINDS, EpsilonGreedy, First, LinUCB, Policy, SquareCB, Thompson, Uniform
from bandstand.bandit.ridge import Posterior, compute_posterior
from tests.bandit.checks import check_policy, list_laws
from tests.bandit.given import CATALOGUE, FloatArray, learn_rows, random_request, random_rows, schema, schema_of

NUMBERS = tuple({"name": name, "source": f"candidate.{name}", "encoding": "number"} for name in ("a", "b"))
THIRD = {"name": "c", "source": "candidate.c", "encoding": "number"}


@pytest.mark.parametrize(
    ("policy", "law"),
    [
        pytest.param(policy, law, id=f"{policy.name}-{law.__name__}")
        for policy in CATALOGUE.policies.values()
        for law in list_laws(policy)
    ],
)
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
    belief = compute_posterior(
        learn_rows(random_rows(tips, rng, 30), rng.uniform(-1, 1, 30)), LinUCB("any", tips, {}).prior
    )
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
    distribution = policy.distribution(compute_posterior(learn_rows(x[:0], np.zeros(0)), policy.prior), x)
    np.testing.assert_allclose(distribution.probability, [0.05, 0.05, 0.05, 0.85], rtol=1e-12)


def _build_pair(gap: float, deviation: float) -> tuple[Posterior, FloatArray]:
    """A belief under which the first of two candidates leads by ``gap``, whose deviation is ``deviation``."""
    return Posterior(np.array([gap, 0.0]), np.diag([deviation**2 / 2, deviation**2 / 2])), np.eye(2)


@pytest.mark.parametrize(
    ("gap", "deviation", "scale"), [(0.0, 1.0, 1.0), (0.3, 0.5, 1.0), (0.3, 0.5, 2.0), (1.0, 0.4, 1.0)]
)
def test_thompsons_frequencies_are_the_probability_of_being_best(gap: float, deviation: float, scale: float) -> None:
    """Of two candidates Φ(gap/deviation), within four standard errors over 200 decisions of 128 draws each."""
    belief, x = _build_pair(gap, deviation)
    policy = Thompson("any", schema_of(*NUMBERS), {"scale": scale})
    mean = np.mean(
        [
            policy.distribution(belief, x, extract_second_uniform(hash_to_uniform(b"s", str(n)))).greedy[0]
            for n in range(200)
        ]
    )
    truth = NormalDist().cdf(gap / (scale * deviation))
    # Windows of the same 4,096 draws overlap: there are at most 32 independent ones.
    assert abs(mean - truth) < 4.0 * np.sqrt(truth * (1.0 - truth) / 4096)


def test_thompson_draws_what_its_seed_stands_for() -> None:
    belief, x = _build_pair(0.1, 1.0)
    policy = Thompson("any", schema_of(*NUMBERS), {"floor": 0.1})
    shares = [policy.distribution(belief, x, seed).greedy[0] for seed in (0.0, 0.0, 0.5, 0.999999)]
    assert shares[0] == shares[1]
    assert len(set(shares)) == 3
    assert all(float(share * 128).is_integer() for share in shares)


def test_thompson_is_greedy_where_nothing_is_uncertain() -> None:
    belief = Posterior(np.array([0.2, 0.1]), np.zeros((2, 2)))
    policy = Thompson("any", schema_of(*NUMBERS), {})
    assert policy.distribution(belief, np.eye(2)).probability.tolist() == [1.0, 0.0]


def test_squarecb_weighs_by_the_inverse_gap() -> None:
    belief = Posterior(np.array([0.5, 0.3, 0.0]), np.eye(3))
    policy = SquareCB("any", schema_of(*NUMBERS, THIRD), {"gamma": 10.0})
    expected = [1.0 - 1.0 / 5.0 - 1.0 / 8.0, 1.0 / (3.0 + 10.0 * 0.2), 1.0 / (3.0 + 10.0 * 0.5)]
    np.testing.assert_allclose(policy.distribution(belief, np.eye(3)).probability, expected, rtol=1e-12)
    floored = SquareCB("any", schema_of(*NUMBERS, THIRD), {"gamma": 10.0, "floor": 0.3})
    mixed = 0.7 * np.array(expected) + 0.1
    np.testing.assert_allclose(floored.distribution(belief, np.eye(3)).probability, mixed, rtol=1e-12)


def test_squarecb_with_gamma_nought_is_uniform_and_with_a_large_one_greedy() -> None:
    belief = Posterior(np.array([0.5, 0.3]), np.eye(2))
    for gamma, expected in ((0.0, [0.5, 0.5]), (1e9, [1.0, 0.0])):
        policy = SquareCB("any", schema_of(*NUMBERS), {"gamma": gamma})
        np.testing.assert_allclose(policy.distribution(belief, np.eye(2)).probability, expected, rtol=0, atol=1e-8)


def test_the_controls_do_not_ask_what_was_learned() -> None:
    tips = schema("tips-5")
    rng = np.random.default_rng(1)
    x = tips.encode(*random_request(tips, rng, 4))
    for _ in range(3):
        belief = Posterior(rng.normal(size=5), np.eye(5))
        uniform = Uniform("any", tips, {}).distribution(belief, x)
        assert uniform.probability.tolist() == [0.25] * 4
        assert all(uniform.draw(u).exploring for u in (0.0, 0.5, 0.999))
        assert First("any", tips, {}).distribution(belief, x).probability.tolist() == [1.0, 0.0, 0.0, 0.0]
        floored = First("any", tips, {"floor": 0.2}).distribution(belief, x)
        np.testing.assert_allclose(floored.probability, [0.85, 0.05, 0.05, 0.05], rtol=1e-12)
        assert uniform.score.tolist() == floored.score.tolist() == [0.0] * 4


def test_what_a_pick_feels_says_nothing_about_the_spare() -> None:
    """Over u = k/2⁵³ the spare takes every value of its 20 bits equally often, whatever interval u is in."""
    for start in (0, 12_345 << 20, (2**33 - 1) << 20):
        spares = [extract_second_uniform((start + k) / 2.0**53) for k in range(0, 1 << 20, 1 << 12)]
        assert spares == [k / 2.0**20 for k in range(0, 1 << 20, 1 << 12)]
    assert 0.0 <= extract_second_uniform(1.0 - 2.0**-53) < 1.0


def test_the_hash_follows_kind_parameters_and_schema_but_not_the_name() -> None:
    five, seven = schema("tips-5"), schema("tips-7")
    policies = [
        LinUCB("a", five, {"alpha": 1.0}),
        LinUCB("a", five, {"alpha": 2.0}),
        LinUCB("a", five, {"alpha": 1.0, "floor": 0.1}),
        LinUCB("a", seven, {"alpha": 1.0}),
        EpsilonGreedy("a", five, {}),
    ]
    policies += [LinUCB("a", five, {"prior": "population"}), LinUCB("a", five, {"half_life": 30})]
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
    assert repr(EpsilonGreedy("mine", schema("tips-7"), {"noise": 0.5})) == (
        "EpsilonGreedy('mine', 'tips-7', epsilon=0.1, half_life=0, variance=1, noise=0.5)"
    )
