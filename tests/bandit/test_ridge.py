"""The sums and what is derived from them: exact updates and revocations, any prior, any scale, bounded drift."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bandstand.bandit import ridge
from bandstand.bandit.ridge import Posterior, Prior, RidgeState, compute_posterior, update_posterior
from tests.bandit.given import LAW, FloatArray, learn_rows, posterior_of_prior, random_prior

ROWS = arrays(np.float64, (4, 3), elements=st.floats(-10.0, 10.0))
REWARDS = st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4)
WEIGHTS = st.lists(st.floats(0.01, 2.0), min_size=4, max_size=4)


def _to_bits(state: RidgeState) -> tuple[object, ...]:
    return state.gram.tobytes(), state.b.tobytes(), state.rr, state.weight, state.count


def _build_weighted(rows: FloatArray, rewards: list[float], weights: list[float]) -> RidgeState:
    state = RidgeState.empty(rows.shape[1])
    for x, reward, weight in zip(rows, rewards, weights, strict=True):
        state = state.with_reward(x, reward, weight)
    return state


def test_sums_checked_by_hand() -> None:
    state = RidgeState.empty(2).with_reward(np.array([1.0, 2.0]), 0.5).with_reward(np.array([0.0, -1.0]), -1.0, 0.5)
    assert state.gram.tolist() == [[1.0, 2.0], [2.0, 4.5]]
    assert state.b.tolist() == [0.5, 1.5]
    assert (state.rr, state.weight, state.count) == (0.75, 1.5, 2)


@LAW
@given(ROWS, REWARDS, WEIGHTS)
def test_the_sums_are_the_weighted_sums(rows: FloatArray, rewards: list[float], weights: list[float]) -> None:
    state = _build_weighted(rows, rewards, weights)
    w, r = np.array(weights), np.array(rewards)
    np.testing.assert_allclose(state.gram, (rows.T * w) @ rows, rtol=0, atol=1e-11)
    np.testing.assert_allclose(state.b, rows.T @ (w * r), rtol=0, atol=1e-11)
    assert state.rr == pytest.approx(float(w @ r**2), abs=1e-12)
    assert state.weight == pytest.approx(float(w.sum()), abs=1e-12)
    assert state.count == 4
    assert state.gram.tolist() == state.gram.T.tolist()


@LAW
@given(ROWS, REWARDS, WEIGHTS, st.integers(0, 3))
def test_revoking_leaves_what_would_be_without_it(
    rows: FloatArray, rewards: list[float], weights: list[float], place: int
) -> None:
    everything = _build_weighted(rows, rewards, weights)
    revoked = everything.without_reward(rows[place], rewards[place], weights[place])
    rest = [index for index in range(4) if index != place]
    without = _build_weighted(rows[rest], [rewards[index] for index in rest], [weights[index] for index in rest])
    scale = 1e-12 * max(1.0, float(everything.gram.max()))
    np.testing.assert_allclose(revoked.gram, without.gram, rtol=0, atol=scale)
    np.testing.assert_allclose(revoked.b, without.b, rtol=0, atol=scale)
    assert revoked.rr == pytest.approx(without.rr, abs=1e-12)
    assert revoked.weight == pytest.approx(without.weight, abs=1e-12)
    assert revoked.count == without.count


@LAW
@given(ROWS, REWARDS, WEIGHTS, st.permutations(range(4)))
def test_revoking_everything_in_any_order_is_the_zero_state(
    rows: FloatArray, rewards: list[float], weights: list[float], order: list[int]
) -> None:
    state = _build_weighted(rows, rewards, weights)
    for place in order:
        state = state.without_reward(rows[place], rewards[place], weights[place])
    assert _to_bits(state) == _to_bits(RidgeState.empty(3))


@LAW
@given(ROWS, REWARDS, WEIGHTS)
def test_json_keeps_every_bit(rows: FloatArray, rewards: list[float], weights: list[float]) -> None:
    state = _build_weighted(rows, rewards, weights)
    assert _to_bits(RidgeState.from_json(json.loads(json.dumps(state.to_json())))) == _to_bits(state)


def test_json_holds_the_upper_triangle() -> None:
    document = RidgeState.empty(2).with_reward(np.array([1.0, 2.0]), 1.0).to_json()
    assert document == {"gram": [1.0, 2.0, 4.0], "b": [1.0, 2.0], "rr": 1.0, "weight": 1.0, "count": 1}


def test_unknown_rr_stays_unknown() -> None:
    state = RidgeState.from_sums(np.eye(2), np.ones(2), None, 1.0, 1)
    x = np.array([1.0, 0.5])
    assert state.with_reward(x, 1.0).rr is None
    assert state.with_reward(x, 1.0).without_reward(x, 1.0).rr is None
    assert RidgeState.from_json(state.to_json()).rr is None


def test_an_imported_state_keeps_its_sums_when_its_count_reaches_nought() -> None:
    """An import may know the sums and not the number behind them; only known sums can be known to be empty."""
    imported = RidgeState.from_sums(np.eye(2) * 5.0, np.ones(2), None, 1.0, 1)
    assert imported.without_reward(np.array([1.0, 0.0]), 0.5).gram.tolist() == [[4.0, 0.0], [0.0, 5.0]]


def test_states_are_immutable_and_share_nothing_with_the_caller() -> None:
    x = np.array([1.0, 2.0])
    empty = RidgeState.empty(2)
    state = empty.with_reward(x, 1.0)
    before = _to_bits(state)
    x[:] = 9.0
    assert _to_bits(state) == before
    assert empty.gram.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    for array in (state.gram, state.b, empty.gram, state.without_reward(np.array([1.0, 2.0]), 1.0).b):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    gram = np.eye(2)
    copied = RidgeState.from_sums(gram, np.ones(2), 1.0, 1.0, 1)
    gram[0, 0] = 7.0
    assert copied.gram[0, 0] == 1.0


def test_from_sums_makes_symmetry_exact() -> None:
    gram = np.array([[2.0, 1.0 + 1e-15], [1.0, 2.0]])
    state = RidgeState.from_sums(gram, np.zeros(2), 0.0, 1.0, 1)
    assert state.gram.tolist() == state.gram.T.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_the_posterior_is_the_formula_for_any_prior(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, rewards = rng.normal(size=(30, 6)), rng.uniform(-1, 1, 30)
    state = learn_rows(rows, rewards)
    for prior in (Prior.build_standard(6), random_prior(6, rng), Prior(np.ones(6), np.eye(6), 1.0)):
        inverse = np.linalg.inv(prior.covariance)
        covariance = np.linalg.inv(inverse + rows.T @ rows / prior.noise)
        mean = covariance @ (inverse @ prior.mean + rows.T @ rewards / prior.noise)
        belief = compute_posterior(state, prior)
        np.testing.assert_allclose(belief.covariance, covariance, rtol=0, atol=1e-12)
        np.testing.assert_allclose(belief.mean, mean, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            belief.compute_widths(rows), np.sqrt(np.diag(rows @ covariance @ rows.T)), rtol=0, atol=1e-12
        )


def test_a_weight_is_that_many_rewards() -> None:
    rng = np.random.default_rng(5)
    x, prior = rng.normal(size=4), random_prior(4, rng)
    thrice = RidgeState.empty(4).with_reward(x, 0.5).with_reward(x, 0.5).with_reward(x, 0.5)
    weighted = RidgeState.empty(4).with_reward(x, 0.5, 3.0)
    np.testing.assert_allclose(
        compute_posterior(thrice, prior).mean, compute_posterior(weighted, prior).mean, rtol=1e-12
    )
    stepped = posterior_of_prior(prior).with_reward(x, 0.5, 3.0, prior.noise)
    np.testing.assert_allclose(stepped.covariance, compute_posterior(weighted, prior).covariance, rtol=0, atol=1e-12)
    np.testing.assert_allclose(stepped.mean, compute_posterior(weighted, prior).mean, rtol=0, atol=1e-12)


def test_a_prior_may_be_certain_about_a_direction() -> None:
    prior = Prior(np.array([0.5, 0.0]), np.diag([0.0, 4.0]), 1.0)
    belief = compute_posterior(RidgeState.empty(2).with_reward(np.array([1.0, 1.0]), 1.0), prior)
    np.testing.assert_allclose(belief.mean, [0.5, 0.4], rtol=0, atol=1e-15)
    np.testing.assert_allclose(belief.covariance, [[0.0, 0.0], [0.0, 0.8]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6])
def test_features_that_swallow_the_ridge_leave_a_posterior_that_can_decide(scale: float) -> None:
    """Two huge collinear columns: I + G is singular to the last bit, yet no width is NaN or beyond the prior's."""
    rng = np.random.default_rng(6)
    price = rng.uniform(0.5, 1.0, 500) * scale
    rows = np.column_stack([price, price, np.ones(500), rng.normal(size=500)])
    rewards = np.tanh(rows[:, 3])
    history = 10_000.0
    state = RidgeState.from_sums(history * rows.T @ rows, history * rows.T @ rewards, None, 500 * history, 0)
    belief = compute_posterior(state, Prior.build_standard(4))
    assert np.linalg.eigvalsh(belief.covariance).min() >= 0.0
    assert np.linalg.eigvalsh(belief.covariance).max() <= 1.0 + 1e-9
    if scale == 1e2:
        assert belief.compute_widths(np.array([[1.0, -1.0, 0.0, 0.0]]))[0] == pytest.approx(math.sqrt(2.0), rel=1e-3)
    assert np.corrcoef(rows @ belief.mean, rewards)[0, 1] > 0.9


def test_a_width_of_nought_is_nought_and_not_nan() -> None:
    assert posterior_of_prior(Prior.build_standard(3)).compute_widths(np.zeros((2, 3))).tolist() == [0.0, 0.0]
    tiny = Posterior(np.zeros(1), np.array([[-1e-20]]))
    assert np.isfinite(tiny.compute_widths(np.ones((1, 1)))).all()


def test_small_models_are_recomputed_lazily() -> None:
    d = ridge.RECOMPUTED_DIMENSION
    x, prior = np.ones(d), Prior.build_standard(d)
    state = RidgeState.empty(d).with_reward(x, 1.0)
    assert update_posterior(posterior_of_prior(prior), state, prior, x, 1.0) is None


def test_large_models_step_and_are_refreshed_so_that_drift_stays_bounded() -> None:
    d, rounds = ridge.RECOMPUTED_DIMENSION + 8, 3 * ridge.REFRESH_AFTER
    rng = np.random.default_rng(7)
    prior = random_prior(d, rng)
    state, belief = RidgeState.empty(d), posterior_of_prior(prior)
    assert update_posterior(None, state, prior, np.ones(d), 1.0) is None
    most_steps = refreshed = 0
    for _ in range(rounds):
        x, reward, weight = rng.normal(size=d), float(rng.uniform(-1, 1)), float(rng.uniform(0.5, 2.0))
        state = state.with_reward(x, reward, weight)
        following = update_posterior(belief, state, prior, x, reward, weight)
        assert following is not None
        refreshed += following.steps == 0
        belief, most_steps = following, max(most_steps, following.steps)
        exact = compute_posterior(state, prior)
        np.testing.assert_allclose(belief.covariance, exact.covariance, rtol=0, atol=1e-9)
        np.testing.assert_allclose(belief.mean, exact.mean, rtol=0, atol=1e-9)
    assert (most_steps, refreshed) == (ridge.REFRESH_AFTER, 2)


def test_a_posterior_shares_nothing_writable() -> None:
    prior = Prior.build_standard(2)
    x = np.array([1.0, 2.0])
    for belief in (
        compute_posterior(RidgeState.empty(2), prior),
        compute_posterior(RidgeState.empty(2), Prior(np.ones(2), np.eye(2), 2.0)),
        posterior_of_prior(prior).with_reward(x, 1.0, 1.0, 1.0),
        posterior_of_prior(prior),
    ):
        for array in (belief.mean, belief.covariance):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1.0


def test_a_prior_copies_what_it_is_given() -> None:
    mean = np.zeros(2)
    prior = Prior(mean, np.eye(2), 0.5)
    mean[0] = 3.0
    assert prior.mean.tolist() == [0.0, 0.0]
