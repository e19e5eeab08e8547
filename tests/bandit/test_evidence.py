"""Scale-free priors: the best of the evidence's own grid, and the law of affine maps for whatever is built on them."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandstand.bandit.choice import choose
from bandstand.bandit.evidence import PooledSums, fit_scale_free_prior
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import KINDS, Policy
from bandstand.bandit.population import PopulationPrior
from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import RidgeState, compute_posterior
from bandstand.simulate.run.population import SimulatedPopulation
from tests.bandit.given import LAW, FloatArray, learn_rows, schema_of

D = 4
NUMBERS = tuple({"name": name, "source": f"candidate.{name}", "encoding": "number"} for name in "abc")
BLOCK = {"source": "candidate.arm", "values": ["0", "1"]}
ONE_MODEL = schema_of(*NUMBERS, intercept=True)
PER_ARM = schema_of(*NUMBERS, intercept=True, block=BLOCK)


class Units(NamedTuple):
    """How a caller writes down the same world: features x → scale · x + shift, rewards r → origin + unit · r."""

    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    unit: float = 1.0
    origin: float = 0.0

    def map_features(self, x: FloatArray) -> FloatArray:
        return np.asarray(x * self.scale + self.shift)

    def map_reward(self, reward: float) -> float:
        return self.origin + self.unit * reward


HERE = Units()
_STEPS = 20
"""Of EM; the law holds of every step."""
ANY_UNITS = st.builds(
    lambda exponents, shifts, unit, origin: Units(
        scale=tuple(10.0**each for each in exponents),
        # 10³ is added, to a small column a thousand times itself: that is what sums in 53 bits can still tell apart.
        shift=tuple(shift * min(1.0, 10.0**each) for shift, each in zip(shifts, exponents, strict=True)),
        unit=10.0**unit,
        origin=origin * 10.0**unit,
    ),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(-1e3, 1e3)] * 3),
    st.floats(-3, 2),
    st.floats(-10, 10),
)


def build_rows(policy: Policy, features: FloatArray) -> FloatArray:
    """The candidates as the schema encodes them; of blocks, the arms in turn."""
    candidates = [
        {**dict(zip("abc", row.tolist(), strict=True)), "arm": str(arm % 3)} for arm, row in enumerate(features)
    ]
    return policy.schema.encode({}, candidates)


def play_history(policy: Policy, units: Units, users: int, rounds: int = 12) -> tuple[list[int], list[float]]:
    """What users of a new policy are given, and what is expected of it, in the world's own unit.

    The first six rewards of everybody are for given picks; from then on the policy picks, under a prior that is fitted
    after every round.
    """
    rng = np.random.default_rng(7)
    taste = rng.normal(size=(3, 3))
    profiles = [Profile(f"user-{user}") for user in range(users)]
    key, population = (policy.name, policy.schema.name), PopulationPrior.from_base(policy.prior)
    picks, expected = [], []
    for step in range(rounds):
        for profile in profiles:
            features = rng.normal(size=(3, 3))
            noise, draw = rng.normal(), float(rng.random())
            x = build_rows(policy, units.map_features(features))
            pick = step % 3
            if step >= 6:
                prior = population.get_prior(profile.user_id)
                distribution, pick, _ = choose(policy, profile, x, draw, prior=prior)
                picks.append(pick)
                expected.append((float(distribution.mean[pick]) - units.origin) / units.unit)
            reward = units.map_reward(float(features[pick] @ taste[pick if policy.schema.block_count else 0]) + noise)
            profile.apply_reward(step + 1, key, 0.0, x[pick], reward, 1.0)
        sums = {profile.user_id: profile.policies[key].ridge for profile in profiles}
        members = {user_id: state for user_id, state in sums.items() if state is not None}
        population = PopulationPrior.fit(members, policy.prior, population, steps=_STEPS, form=policy.prior_form)
    return picks, expected


@pytest.mark.parametrize(
    ("kind", "schema", "users"),
    [("linucb", PER_ARM, 3), ("egreedy", ONE_MODEL, 1), ("thompson", ONE_MODEL, 3), ("squarecb", PER_ARM, 1)],
    ids=["linucb", "egreedy", "thompson", "squarecb"],
)
def test_no_unit_and_no_origin_changes_a_pick(kind: str, schema: object, users: int) -> None:
    """The law of affine maps, from the first fit on: the same picks, and the same rewards expected of them."""
    policy = KINDS[kind]("mine", schema, {})  # type: ignore[arg-type]  # pytest's parameters are objects
    here = play_history(policy, HERE, users)

    @given(units=ANY_UNITS)
    @settings(LAW, max_examples=6)
    def is_the_same_in(units: Units) -> None:
        picks, expected = play_history(policy, units, users)
        assert picks == here[0]
        np.testing.assert_allclose(expected, here[1], rtol=0, atol=1e-4)

    is_the_same_in()


def made_up(count: int, rounds: int, seed: int = 0, noise: float = 0.5) -> list[RidgeState]:
    rng = np.random.default_rng(seed)
    states = []
    for _ in range(count):
        rows = np.hstack([np.ones((rounds, 1)), rng.normal(size=(rounds, D - 1))])
        states.append(learn_rows(rows, 2.0 + rows @ rng.normal(size=D) + noise * rng.normal(size=rounds)))
    return states


def test_many_rewards_tell_their_noise_and_the_size_of_weights() -> None:
    sums = PooledSums.from_states(made_up(200, 40), D)
    prior = fit_scale_free_prior(sums, has_intercept=True)
    assert prior is not None
    variance = sums.rr / sums.weight - (sums.b.sum(axis=0)[0] / sums.weight) ** 2
    assert (prior.noise - 0.3 * variance) / 0.7 == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(prior.covariance.diagonal()[1:], prior.covariance[1, 1], rtol=0.2)
    assert prior.mean[0] == pytest.approx(2.0, abs=0.2)
    np.testing.assert_array_equal(prior.mean[1:], 0.0)


def test_the_prior_is_of_the_pooled_sums_alone() -> None:
    """The order of the models, and models that were taught nothing, change nothing."""
    states = made_up(12, 9)
    one = fit_scale_free_prior(PooledSums.from_states(states, D), has_intercept=True)
    other = fit_scale_free_prior(PooledSums.from_states([*states[::-1], RidgeState.empty(D)], D), has_intercept=True)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-9)
    assert one.noise == pytest.approx(other.noise, rel=1e-9)


@pytest.mark.parametrize("rewards", [[1.0], [-1.0], [0.01], [1.0] * 5, [-100.0] * 3, [0.0], [0.0] * 5])
def test_rewards_that_are_all_the_same_speak_for_or_against_what_is_like_their_rows(rewards: list[float]) -> None:
    """0 is their origin and their size the unit, whatever the columns' units are; 0 says nothing."""
    row = np.array([1.0, 0.5, -300.0, 0.0])
    state = learn_rows(np.tile(row, (len(rewards), 1)), np.array(rewards))
    prior = fit_scale_free_prior(PooledSums.from_states([state], D), has_intercept=True)
    assert prior is not None
    posterior = compute_posterior(state, prior)
    alike, unlike = posterior.compute_means(np.array([row, [1.0, -0.5, 300.0, 1.0]])) / (abs(rewards[0]) or 1.0)
    assert np.sign([alike, alike - unlike]).tolist() == [np.sign(rewards[0])] * 2
    assert 0.75 * abs(np.sign(rewards[0])) <= abs(alike) <= 1.0


@pytest.mark.parametrize("rewards", [[0.0], [0.25] * 5, [100.0]])
def test_in_blocks_rewards_that_are_all_the_same_are_expected_of_every_row(rewards: list[float]) -> None:
    """Widths alone then decide: where nothing was seen there is most to learn."""
    rng = np.random.default_rng(0)
    rows = np.hstack([np.ones((len(rewards), 1)), rng.normal(size=(len(rewards), D - 1))])
    state = learn_rows(rows, np.array(rewards))
    prior = fit_scale_free_prior(PooledSums.from_states([state], D), has_intercept=True, zero_is_origin=False)
    assert prior is not None
    posterior = compute_posterior(state, prior)
    unseen = np.hstack([np.ones((6, 1)), rng.normal(size=(6, D - 1))])
    np.testing.assert_allclose(posterior.compute_means(unseen), rewards[0], rtol=1e-9, atol=1e-12)
    assert (posterior.compute_widths(unseen) / (rewards[0] or 1.0)).min() > 0.1


def test_the_unit_of_rewards_that_are_all_the_same_is_that_of_the_belief() -> None:
    rows = np.hstack([np.ones((5, 1)), np.random.default_rng(0).normal(size=(5, D - 1))])
    one, other = (
        fit_scale_free_prior(PooledSums.from_states([learn_rows(rows, np.full(5, unit))], D), has_intercept=True)
        for unit in (1.0, 0.01)
    )
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other.covariance, one.covariance * 0.01**2, rtol=1e-9)
    assert other.noise == pytest.approx(one.noise * 0.01**2)
    np.testing.assert_array_equal(one.mean, 0.0)


@pytest.mark.parametrize("rewards", [[1.0] * 4, [1.0, 0.0, 0.5, 1.0]], ids=["the same", "different"])
def test_what_rounding_leaves_of_a_zero_is_no_unit(rewards: list[float]) -> None:
    """The sine of 12 of 24 hours is 1e-16, and the next hour is not 1e16 times as much."""
    rows = np.column_stack([np.ones(4), np.full(4, np.sin(np.pi)), np.arange(4.0), np.zeros(4)])
    prior = fit_scale_free_prior(PooledSums.from_states([learn_rows(rows, np.array(rewards))], D), has_intercept=True)
    assert prior is not None
    assert prior.covariance[1, 1] == pytest.approx(prior.covariance[3, 3], rel=1e-6)


def test_without_rewards_nothing_is_known() -> None:
    assert fit_scale_free_prior(PooledSums.from_states([], D), has_intercept=True) is None


@pytest.mark.parametrize("schema", [ONE_MODEL, PER_ARM], ids=["one model", "blocks"])
def test_the_unit_of_the_first_rewards_changes_no_pick(schema: FeatureSchema) -> None:
    """From the second decision on: a first reward of 100, or of 0.01, is no reason to stay with its candidate."""

    def pick_all(unit: float) -> list[int]:
        policy, profile, rng = KINDS["linucb"]("mine", schema, {}), Profile("ada"), np.random.default_rng(11)
        key, population = (policy.name, schema.name), SimulatedPopulation(policy)
        picks = []
        for step in range(12):
            x = build_rows(policy, rng.normal(size=(3, 3)))
            pick = (
                choose(policy, profile, x, float(rng.random()), prior=population.get_prior("ada")).pick if step else 0
            )
            profile.apply_reward(step + 1, key, 0.0, x[pick], unit * float(rng.integers(2)), 1.0)
            population.update("ada", profile.policies[key].ridge)
            population.refresh()
            picks.append(pick)
        return picks

    assert pick_all(100.0) == pick_all(1.0) == pick_all(0.01)


def test_imported_sums_that_do_not_know_their_squares_are_left_out() -> None:
    known = made_up(3, 9)
    unknown = RidgeState.from_sums(known[0].gram * 100.0, known[0].b, None, 9.0, 9)
    with_unknown = fit_scale_free_prior(PooledSums.from_states([*known, unknown], D), has_intercept=True)
    without = fit_scale_free_prior(PooledSums.from_states(known, D), has_intercept=True)
    assert with_unknown is not None
    assert without is not None
    np.testing.assert_array_equal(with_unknown.covariance, without.covariance)


def test_a_column_that_never_varied_has_a_prior_of_its_own_size() -> None:
    """0 and 250 in every row so far: the one is measured by 1, the other by 250."""
    rng = np.random.default_rng(3)
    rows = np.column_stack([np.ones(30), np.zeros(30), np.full(30, 250.0), rng.normal(size=30)])
    sums = PooledSums.from_states([learn_rows(rows, rng.normal(size=30))], D)
    prior = fit_scale_free_prior(sums, has_intercept=True)
    assert prior is not None
    zero, constant = (float(np.sqrt(prior.covariance[place, place])) for place in (1, 2))
    assert zero / constant == pytest.approx(250.0, rel=1e-6)


def test_without_an_intercept_columns_are_measured_by_their_size() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(40, D)) + 3.0
    rewards = rows @ np.ones(D) + rng.normal(size=40)
    one = fit_scale_free_prior(PooledSums.from_states([learn_rows(rows, rewards)], D), has_intercept=False)
    other = fit_scale_free_prior(
        PooledSums.from_states([learn_rows(rows * 1e3, rewards * 0.01)], D), has_intercept=False
    )
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other.covariance, one.covariance * (0.01 / 1e3) ** 2, rtol=1e-9)
    np.testing.assert_array_equal(one.mean, 0.0)


def test_wide_models_are_looked_at_as_far_as_there_is_time() -> None:
    """Of forty models of 64 features, sixteen tell λ; the coordinates and the mean are of all."""
    rng = np.random.default_rng(5)
    states = []
    for _ in range(40):
        rows = np.hstack([np.ones((20, 1)), rng.normal(size=(20, 63))])
        states.append(learn_rows(rows, rng.normal(size=20)))
    prior = fit_scale_free_prior(PooledSums.from_states(states, 64), has_intercept=True)
    assert prior is not None
    assert prior.mean[0] == pytest.approx(sum(state.b[0] for state in states) / 800)
    assert 0.2 < prior.noise < 1.5
