"""The population prior: a mode that EM climbs to, recovered from a bandit's data where moments of fits are not."""

import numpy as np
import pytest

from bandstand.bandit.prior import (
    Hyperprior,
    UserSums,
    compute_next_user_prior,
    compute_predictive_prior,
    fit_prior,
    log_posterior,
)
from bandstand.bandit.ridge import Prior, RidgeState, compute_posterior
from tests.bandit.given import FloatArray, learn_rows, random_prior

D = 3
BASE = Prior.build_standard(D)


def draw_population(seed: int, users: int, rewards: int, truth: Prior) -> list[RidgeState]:
    """Users whose x are random, the last of them without a reward."""
    rng = np.random.default_rng(seed)
    states = []
    for theta in rng.multivariate_normal(truth.mean, truth.covariance, users):
        rows = rng.normal(size=(int(rng.integers(1, rewards + 1)), D))
        states.append(learn_rows(rows, rows @ theta + np.sqrt(truth.noise) * rng.normal(size=len(rows))))
    return [*states, RidgeState.empty(D)]


def stack_states(states: list[RidgeState]) -> UserSums:
    return UserSums.from_states(states, D)


def unknown_rr(state: RidgeState) -> RidgeState:
    return RidgeState(state.sums, None, state.weight, state.count)


def compute_difference(one: Prior, other: Prior) -> float:
    return max(
        float(np.abs(one.mean - other.mean).max()),
        float(np.abs(one.covariance - other.covariance).max()),
        abs(one.noise - other.noise),
    )


def test_without_users_it_is_the_base_prior() -> None:
    base = random_prior(D, np.random.default_rng(0))
    assert fit_prior(stack_states([]), base) is base
    assert compute_predictive_prior(base, 0, BASE) is BASE


def test_users_without_rewards_say_nothing() -> None:
    fitted = fit_prior(stack_states([RidgeState.empty(D)] * 5), BASE)
    np.testing.assert_allclose(fitted.mean, BASE.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fitted.covariance, BASE.covariance, rtol=0, atol=1e-5)
    assert fitted.noise == pytest.approx(1.0)


def test_it_does_not_matter_how_many_users_are_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    users = stack_states(draw_population(5, 30, 6, random_prior(D, np.random.default_rng(5))))
    whole = fit_prior(users, BASE)
    for count in (1, 7):
        monkeypatch.setattr("bandstand.bandit.prior._USERS_AT_ONCE", count)
        assert compute_difference(fit_prior(users, BASE), whole) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_log_posterior_is_that_of_the_rewards_themselves(seed: int) -> None:
    """Of one user: rewards are N(Xμ, XΣXᵀ + σ²I), and the hyperprior is a normal, an inverse Wishart and a gamma."""
    rng = np.random.default_rng(seed)
    prior, base, weights = random_prior(D, rng), random_prior(D, rng), Hyperprior(0.7, 0.4, 3.0)
    rows, rewards = rng.normal(size=(9, D)), rng.normal(size=9)
    covariance = rows @ prior.covariance @ rows.T + prior.noise * np.eye(9)
    residual = rewards - rows @ prior.mean
    likelihood = -0.5 * (
        9 * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + residual @ np.linalg.solve(covariance, residual)
    )
    precision, shift = np.linalg.inv(prior.covariance), prior.mean - base.mean
    hyper = -0.5 * (
        0.7 * (np.linalg.slogdet(prior.covariance)[1] + np.trace(base.covariance @ precision))
        + 0.4 * shift @ precision @ shift
        + 3.0 * (np.log(prior.noise) + base.noise / prior.noise)
    )
    sums = stack_states([learn_rows(rows, rewards)])
    assert log_posterior(sums, prior, base, weights) == pytest.approx(likelihood + hyper, rel=1e-10)


@pytest.mark.parametrize("unknown", [0, 7])
@pytest.mark.parametrize("seed", range(3))
def test_no_step_lowers_the_log_posterior(seed: int, unknown: int) -> None:
    """Where rr is unknown for some, both searches: that for σ² among the others, and with it held, among all."""
    rng = np.random.default_rng(seed)
    states = draw_population(seed, 25, 12, random_prior(D, rng))
    users = stack_states([unknown_rr(state) if place < unknown else state for place, state in enumerate(states)])
    known = users.select_users(~np.isnan(users.rr))
    held = fit_prior(known, BASE).noise if unknown else None
    for sums, noise in ((known, None), (users, held)):
        start = random_prior(D, rng)
        now = start if noise is None else Prior(start.mean, start.covariance, noise)
        level = log_posterior(sums, now, BASE)
        for _ in range(60):
            now = fit_prior(sums, BASE, start=now, noise=noise, iterations=1)
            before, level = level, log_posterior(sums, now, BASE)
            assert level >= before - 1e-9 * abs(before)


def test_a_step_is_the_formula_user_by_user() -> None:
    rng = np.random.default_rng(11)
    states, base, now = draw_population(11, 6, 8, random_prior(D, rng)), random_prior(D, rng), random_prior(D, rng)
    weights = Hyperprior(0.7, 0.4, 3.0)
    count = len(states)
    beliefs = [compute_posterior(state, now) for state in states]

    mean = (sum((each.mean for each in beliefs), np.zeros(D)) + 0.4 * base.mean) / (count + 0.4)
    scatter = 0.4 * np.outer(mean - base.mean, mean - base.mean) + 0.7 * base.covariance
    residual = 3.0 * base.noise
    for state, belief in zip(states, beliefs, strict=True):
        assert state.rr is not None
        m = belief.mean
        scatter += belief.covariance + np.outer(m - mean, m - mean)
        residual += float(state.rr - 2.0 * m @ state.b + m @ state.gram @ m + np.trace(state.gram @ belief.covariance))
    noise = residual / (sum(state.weight for state in states) + 3.0)

    step = fit_prior(stack_states(states), base, start=now, hyperprior=weights, iterations=1)
    np.testing.assert_allclose(step.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(step.covariance, scatter / (count + 0.7), rtol=1e-10)
    assert step.noise == pytest.approx(noise, rel=1e-10)


def test_where_it_arrives_is_a_mode() -> None:
    users = stack_states(draw_population(3, 40, 20, random_prior(D, np.random.default_rng(3))))
    fitted = fit_prior(users, BASE, tolerance=1e-12, iterations=20_000)
    best = log_posterior(users, fitted, BASE)
    rng = np.random.default_rng(4)
    for _ in range(50):
        root = np.linalg.cholesky(fitted.covariance) @ (np.eye(D) + 0.02 * rng.normal(size=(D, D)))
        moved = Prior(
            fitted.mean + 0.02 * rng.normal(size=D), root @ root.T, float(fitted.noise * np.exp(0.02 * rng.normal()))
        )
        assert log_posterior(users, moved, BASE) < best


def test_the_start_does_not_matter_nor_does_the_order_of_users() -> None:
    states = draw_population(5, 30, 15, random_prior(D, np.random.default_rng(5)))
    cold = fit_prior(stack_states(states), BASE)
    for seed in range(3):
        start = random_prior(D, np.random.default_rng(seed))
        assert compute_difference(fit_prior(stack_states(states), BASE, start=start), cold) < 1e-6
    assert compute_difference(fit_prior(stack_states(states[::-1]), BASE), cold) < 1e-9
    assert compute_difference(fit_prior(stack_states(states), BASE), cold) == 0.0


def test_a_weight_is_that_many_rewards() -> None:
    rng = np.random.default_rng(6)
    rows, rewards = rng.normal(size=(12, D)), rng.normal(size=12)
    once = RidgeState.empty(D)
    for x, reward in zip(rows, rewards, strict=True):
        once = once.with_reward(x, float(reward), 3.0)
    thrice = learn_rows(np.repeat(rows, 3, axis=0), np.repeat(rewards, 3))
    others = draw_population(7, 8, 10, BASE)
    assert (
        compute_difference(
            fit_prior(stack_states([once, *others]), BASE), fit_prior(stack_states([thrice, *others]), BASE)
        )
        < 1e-9
    )


def test_noise_leaves_out_users_whose_rr_is_unknown_and_the_rest_does_not() -> None:
    truth = Prior(np.array([0.5, 0.0, -0.5]), 0.1 * np.eye(D), 0.3)
    known, imported = (
        draw_population(8, 30, 20, truth),
        [unknown_rr(state) for state in draw_population(9, 30, 20, truth)],
    )
    alone, both = fit_prior(stack_states(known), BASE), fit_prior(stack_states([*known, *imported]), BASE)
    assert both.noise == alone.noise
    assert compute_difference(both, alone) > 0.01
    nobody = fit_prior(stack_states(imported), BASE)
    assert nobody.noise == BASE.noise
    assert np.abs(nobody.mean - truth.mean).max() < 0.3


def collected_by_a_bandit(seed: int, users: int, rewards: int, truth: Prior) -> tuple[list[RidgeState], FloatArray]:
    """Sums of users with three arms each, who try each once and then mostly the best so far; and each arm's mean."""
    rng = np.random.default_rng(seed)
    states = []
    for theta in rng.multivariate_normal(truth.mean, truth.covariance, users):
        state = RidgeState.empty(D)
        for step in range(rewards):
            pulls = np.maximum(state.gram.diagonal(), 1.0)
            arm = step if step < D else int(np.argmax(state.b / pulls + 0.2 / np.sqrt(pulls)))
            state = state.with_reward(np.eye(D)[arm], float(theta[arm] + np.sqrt(truth.noise) * rng.normal()))
        states.append(state)
    return states, np.array([state.b / state.gram.diagonal() for state in states])


def test_it_recovers_the_truth_from_a_bandits_data_where_moments_of_fits_are_biased() -> None:
    """1,000 users of 15 rewards: μ to 0.05, Σ to 0.04, σ² to 2 %. The means of their own fits are all more than 0.15
    too low, by over eight standard errors; their variances, corrected for noise, are as far as 0.09 off.
    """
    covariance = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, -0.05], [0.0, -0.05, 0.15]])
    truth = Prior(np.array([0.3, 0.0, -0.2]), covariance, 0.5)
    states, fits = collected_by_a_bandit(1, 1000, 15, truth)
    fitted = fit_prior(stack_states(states), BASE)
    assert np.abs(fitted.mean - truth.mean).max() < 0.05
    assert np.abs(fitted.covariance - truth.covariance).max() < 0.04
    assert fitted.noise == pytest.approx(truth.noise, rel=0.02)

    bias = fits.mean(axis=0) - truth.mean
    assert (bias < -0.15).all()
    assert (bias < -8.0 * fits.std(axis=0) / np.sqrt(len(fits))).all()
    noise = np.mean([truth.noise / state.gram.diagonal() for state in states], axis=0)
    variance = fits.var(axis=0) - noise
    assert np.abs(variance - truth.covariance.diagonal()).max() > 0.08


def test_a_prior_that_was_learned_beats_the_standard_one_for_the_next_user() -> None:
    truth = Prior(np.array([0.6, -0.3, 0.0]), np.diag([0.05, 0.1, 0.02]), 0.4)
    fitted = fit_prior(stack_states(draw_population(11, 60, 20, truth)), BASE)
    rng = np.random.default_rng(12)
    errors = []
    for theta in rng.multivariate_normal(truth.mean, truth.covariance, 200):
        rows = rng.normal(size=(4, D))
        state = learn_rows(rows, rows @ theta + np.sqrt(truth.noise) * rng.normal(size=4))
        errors.append([((compute_posterior(state, prior).mean - theta) ** 2).sum() for prior in (fitted, BASE, truth)])
    ours, standard, ideal = np.mean(errors, axis=0)
    assert ours < 1.1 * ideal
    assert ours < 0.5 * standard


def test_two_opposite_groups_are_a_wide_direction_and_not_a_mean() -> None:
    rng = np.random.default_rng(13)
    states = []
    for user in range(40):
        theta = np.array([1.0 if user % 2 else -1.0, 0.0, 0.2])
        rows = rng.normal(size=(30, D))
        states.append(learn_rows(rows, rows @ theta + 0.3 * rng.normal(size=30)))
    fitted = fit_prior(stack_states(states), BASE)
    assert abs(fitted.mean[0]) < 0.05
    assert fitted.covariance[0, 0] == pytest.approx(1.0, abs=0.1)
    assert max(fitted.covariance[1, 1], fitted.covariance[2, 2]) < 0.02


def test_the_predictive_covariance_is_that_of_students_t_for_many_users_and_never_wider_than_nothing_known() -> None:
    estimate = Prior(np.zeros(D), 0.01 * np.eye(D), 1.0)
    for users in (100, 1000):
        factor = compute_predictive_prior(estimate, users, BASE).covariance[0, 0] / 0.01
        assert factor == pytest.approx((users + 1) / (users - D), rel=2 * (D + 1) ** 2 / users**2)
    assert np.trace(
        compute_predictive_prior(Prior(np.zeros(D), 0.5 * np.eye(D), 1.0), 1, BASE).covariance
    ) == pytest.approx(D)
    wide = Prior(np.zeros(D), 4.0 * np.eye(D), 1.0)
    assert compute_predictive_prior(wide, 2, BASE).covariance.tolist() == wide.covariance.tolist()


@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e6])
def test_features_of_any_scale_leave_a_prior(scale: float) -> None:
    rng = np.random.default_rng(14)
    rows = rng.normal(size=(10, 20, D)) * np.array([1.0, scale, 1.0])
    states = [learn_rows(each, each @ np.array([0.2, 0.1 / scale, 0.0]) + 0.1 * rng.normal(size=20)) for each in rows]
    fitted = fit_prior(stack_states(states), BASE)
    assert np.linalg.eigvalsh(fitted.covariance).min() > 0.0
    assert fitted.noise == pytest.approx(0.02, rel=0.2)  # the hyperprior is worth two rewards of noise 1 beside 200


def test_the_next_user_is_believed_as_the_joint_posterior_of_everybodys_weights_says() -> None:
    """μ and all θ_u as one Gaussian, conditioned on the rewards one by one; Σ and σ² as estimated."""
    states = draw_population(11, 6, 4, random_prior(D, np.random.default_rng(11)))[:-1]
    hyperprior = Hyperprior(users=3.0, mean=0.25)
    users = stack_states(states)
    estimate = fit_prior(users, BASE, hyperprior=hyperprior)
    found = compute_next_user_prior(users, estimate, hyperprior)

    places = len(states) + 2  # μ, the users, and the next one
    spread = estimate.covariance / hyperprior.mean
    covariance = np.kron(np.ones((places, places)), spread)
    covariance[D:, D:] += np.kron(np.eye(places - 1), estimate.covariance)
    mean = np.tile(BASE.mean, places)
    gram, b = np.zeros_like(covariance), np.zeros_like(mean)
    for number, state in enumerate(states, start=1):
        theirs = slice(number * D, (number + 1) * D)
        gram[theirs, theirs], b[theirs] = state.gram, state.b
    precision = np.linalg.inv(covariance) + gram / estimate.noise
    joint = np.linalg.solve(precision, np.linalg.solve(covariance, mean) + b / estimate.noise)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(precision)[-D:, -D:], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.mean, joint[-D:], rtol=0, atol=1e-5)
