"""The laws every policy obeys: ``check_policy`` runs them all, and a new kind of policy is held to them unchanged."""

from collections.abc import Callable, Mapping

import numpy as np

from bandstand.bandit.distribution import Distribution, extract_second_uniform, hash_to_uniform
from bandstand.bandit.policies import Policy
from bandstand.bandit.ridge import Posterior, Prior, RidgeState, compute_posterior
from tests.bandit.given import FloatArray, learn_rows, posterior_of_prior, random_prior, random_request, random_rows

SECRET = b"a secret that only tests use"

# χ² with 5 degrees of freedom exceeds this once in 10⁴ seeds; the ids below are fixed.
CHI_SQUARE_5 = 25.7


def _request(policy: Policy, rng: np.random.Generator, count: int) -> FloatArray:
    return policy.schema.encode(*random_request(policy.schema, rng, count))


def _history(policy: Policy, rng: np.random.Generator, rounds: int) -> RidgeState:
    return learn_rows(random_rows(policy.schema, rng, rounds), rng.uniform(-1.0, 1.0, rounds))


def _decide(policy: Policy, rng: np.random.Generator, count: int = 6) -> tuple[Posterior, FloatArray, Distribution]:
    belief = _history(policy, rng, 40).compute_posterior(policy.prior)
    x = _request(policy, rng, count)
    return belief, x, policy.distribution(belief, x)


def sums_to_one(policy: Policy) -> None:
    rng = np.random.default_rng(1)
    for count in (1, 2, 7, 200):
        _, _, distribution = _decide(policy, rng, count)
        probability = distribution.probability
        for each in (probability, distribution.mean, distribution.width, distribution.score, distribution.greedy):
            assert each.shape == (count,)
            assert np.isfinite(each).all()
        assert abs(probability.sum() - 1.0) < 1e-12
        assert probability.min() >= distribution.floor / count
        assert [distribution.propensity(index) for index in range(count)] == probability.tolist()


def splits_ties(policy: Policy) -> None:
    rng = np.random.default_rng(2)
    belief, x, distribution = _decide(policy, rng)
    best = int(distribution.probability.argmax())
    doubled = policy.distribution(belief, np.vstack([x, x[best]])).probability
    assert doubled[best] == doubled[-1] > 0.0
    same = policy.distribution(belief, np.repeat(x[:1], 5, axis=0)).probability
    assert same.tolist() == [same[0]] * 5


def is_pure(policy: Policy) -> None:
    rng = np.random.default_rng(3)
    belief, x, first = _decide(policy, rng)
    before = (belief.mean.tobytes(), belief.covariance.tobytes(), x.tobytes())
    second = policy.distribution(belief, x, 0.0)
    for one, other in zip(_to_arrays(first), _to_arrays(second), strict=True):
        assert one.tobytes() == other.tobytes()
    assert before == (belief.mean.tobytes(), belief.covariance.tobytes(), x.tobytes())


def keeps_no_alias(policy: Policy) -> None:
    rng = np.random.default_rng(4)
    belief, x, distribution = _decide(policy, rng)
    for given in (belief.mean, belief.covariance, x):
        assert not any(np.shares_memory(given, answer) for answer in _to_arrays(distribution))


def starts_cold(policy: Policy) -> None:
    """Before any reward the sums give the prior back, and a pick is possible, among one candidate too."""
    rng = np.random.default_rng(5)
    cold = compute_posterior(RidgeState.empty(policy.schema.dimension), policy.prior)
    np.testing.assert_allclose(cold.mean, policy.prior.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(cold.covariance, policy.prior.covariance, rtol=0, atol=1e-12)
    for count in (1, 6):
        x = _request(policy, rng, count)
        distribution = policy.distribution(cold, x)
        np.testing.assert_allclose(distribution.mean, x @ policy.prior.mean, rtol=0, atol=1e-12)
        assert abs(distribution.probability.sum() - 1.0) < 1e-12


def inverts(policy: Policy) -> None:
    """A·A⁻¹ = I for any ridge λ, and (Σ⁻¹ + G/σ²)·V = I for any prior."""
    rng = np.random.default_rng(6)
    state, d = _history(policy, rng, 60), policy.schema.dimension
    for ridge in (1e-3, 0.5, 1.0, 7.0, 1e3):
        belief = compute_posterior(state, Prior(np.zeros(d), np.eye(d) / ridge, 1.0))
        precision = state.gram + ridge * np.eye(d)
        np.testing.assert_allclose(precision @ belief.covariance, np.eye(d), rtol=0, atol=1e-9)
        np.testing.assert_allclose(precision @ belief.mean, state.b, rtol=0, atol=1e-9)
    for _ in range(5):
        prior = random_prior(d, rng)
        belief = compute_posterior(state, prior)
        prior_precision = np.linalg.inv(prior.covariance)
        precision = prior_precision + state.gram / prior.noise
        np.testing.assert_allclose(precision @ belief.covariance, np.eye(d), rtol=0, atol=1e-9)
        target = prior_precision @ prior.mean + state.b / prior.noise
        np.testing.assert_allclose(precision @ belief.mean, target, rtol=0, atol=1e-9)


def incremental_equals_batch(policy: Policy) -> None:
    rng = np.random.default_rng(7)
    rows, rewards = random_rows(policy.schema, rng, 300), rng.uniform(-1.0, 1.0, 300)
    state = learn_rows(rows, rewards)
    np.testing.assert_allclose(state.gram, rows.T @ rows, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(state.b, rows.T @ rewards, rtol=1e-12, atol=1e-12)
    stepped = posterior_of_prior(policy.prior)
    for x, reward in zip(rows, rewards, strict=True):
        stepped = stepped.with_reward(x, float(reward), 1.0, policy.prior.noise)
    batch = compute_posterior(state, policy.prior)
    np.testing.assert_allclose(stepped.mean, batch.mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(stepped.covariance, batch.covariance, rtol=0, atol=1e-10)


def survives_json(policy: Policy) -> None:
    rng = np.random.default_rng(8)
    state, x = _history(policy, rng, 80), _request(policy, rng, 6)
    read_back = RidgeState.from_json(state.to_json())
    live = policy.distribution(compute_posterior(state, policy.prior), x)
    again = policy.distribution(compute_posterior(read_back, policy.prior), x)
    for one, other in zip(_to_arrays(live), _to_arrays(again), strict=True):
        assert one.tobytes() == other.tobytes()


def draws_deterministically(policy: Policy) -> None:
    _, _, distribution = _decide(policy, np.random.default_rng(9))
    ids = [f"decision-{number}" for number in range(200)]
    picks = [distribution.draw(hash_to_uniform(SECRET, each)) for each in ids]
    assert picks == [distribution.draw(hash_to_uniform(SECRET, each)) for each in ids]


def draws_what_it_logs(policy: Policy) -> None:
    """Over 20,000 ids, picks follow ``probability`` (χ²) and exploration ``floor`` (four standard deviations)."""
    rng = np.random.default_rng(10)
    belief, x, _ = _decide(policy, rng, 4)
    best = int(policy.distribution(belief, x).score.argmax())
    distribution = policy.distribution(belief, np.vstack([x, x[best], x[best]]))
    rounds = 20_000
    picks = [distribution.draw(hash_to_uniform(SECRET, f"decision-{number}")) for number in range(rounds)]
    counts = np.bincount([pick.index for pick in picks], minlength=6)
    expected = rounds * distribution.probability
    possible = expected > 0.0
    assert counts[~possible].sum() == 0
    chi_square = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
    assert chi_square < CHI_SQUARE_5
    explored, floor = sum(pick.exploring for pick in picks), distribution.floor
    assert abs(explored - rounds * floor) <= 4.0 * np.sqrt(rounds * floor * (1.0 - floor))


def beats_random(policy: Policy) -> None:
    """In worlds whose rewards are linear in x, it earns at least half of what lies between random and the best pick."""
    worlds, rounds = 6, 150
    earned = random = best = 0.0
    for seed in range(worlds):
        rng = np.random.default_rng(100 + seed)
        theta = rng.normal(size=policy.schema.dimension)
        state = RidgeState.empty(policy.schema.dimension)
        for number in range(rounds):
            x = _request(policy, rng, 5)
            means = np.clip(x @ theta / 3.0, -1.0, 1.0)
            u = hash_to_uniform(SECRET, f"{seed}-{number}")
            distribution = policy.distribution(compute_posterior(state, policy.prior), x, extract_second_uniform(u))
            index = distribution.draw(u).index
            reward = float(np.clip(means[index] + rng.normal(0.0, 0.2), -1.0, 1.0))
            state = state.with_reward(x[index], reward)
            earned, random, best = earned + means[index], random + means.mean(), best + means.max()
    assert earned - random > 0.5 * (best - random)


LAWS: tuple[Callable[[Policy], None], ...] = (
    sums_to_one,
    splits_ties,
    is_pure,
    keeps_no_alias,
    starts_cold,
    inverts,
    incremental_equals_batch,
    survives_json,
    draws_deterministically,
    draws_what_it_logs,
    beats_random,
)


EXEMPT: Mapping[str, tuple[Callable[[Policy], None], ...]] = {
    "uniform": (beats_random,),
    "first": (beats_random, splits_ties),  # the caller's order is all it knows
}
"""By kind, the laws that it is not meant to obey."""


def list_laws(policy: Policy) -> list[Callable[[Policy], None]]:
    """The laws for a policy of this kind."""
    return [law for law in LAWS if law not in EXEMPT.get(policy.kind, ())]


def check_policy(policy: Policy) -> None:
    """Hold a policy to every law of its kind."""
    for law in list_laws(policy):
        law(policy)


def _to_arrays(distribution: Distribution) -> tuple[FloatArray, ...]:
    return distribution.mean, distribution.width, distribution.score, distribution.greedy
