"""Several estimates from the same users at once are what each of them is alone."""

from itertools import pairwise

import numpy as np
import pytest

from bandstand.bandit.prior import Hyperprior, UserSums, fit_prior, log_posterior
from bandstand.bandit.prior_stack import fit_priors
from bandstand.bandit.ridge import Prior, RidgeState
from tests.bandit.given import learn_rows

D, USERS = 4, 7
BASE = Prior(np.array([0.3, 0.0, -0.2, 0.0]), np.diag([2.0, 1.0, 0.5, 1.0]) + 0.2, 0.7)
LEFT_OUT = np.vstack([np.ones((1, USERS), np.bool_), ~np.eye(USERS, dtype=np.bool_)])
STARTS = [None] * len(LEFT_OUT)


def draw_users(scale: float = 1.0, *, unknown: int = 0) -> UserSums:
    rng = np.random.default_rng(3)
    states: list[RidgeState] = []
    for user in range(USERS):
        rows = scale * rng.normal(size=(3 + 5 * user, D))
        theta = np.array([0.5, -0.2, 0.0, 0.1]) + 0.3 * rng.normal(size=D)
        states.append(learn_rows(rows, rows @ theta / scale + 0.4 * rng.normal(size=len(rows))))
    imported = [RidgeState(state.sums, None, state.weight, state.count) for state in states[:unknown]]
    return UserSums.from_states([*imported, *states[unknown:]], D)


def compute_difference(one: Prior, other: Prior) -> float:
    """The largest difference, in units of the standard deviations that ``other`` states."""
    scale = np.sqrt(other.covariance.diagonal())
    mean = np.abs((one.mean - other.mean) / scale).max()
    covariance = np.abs((one.covariance - other.covariance) / np.multiply.outer(scale, scale)).max()
    return float(max(mean, covariance, abs(one.noise / other.noise - 1.0)))


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("unknown", [0, 2, USERS])
def test_each_is_where_em_arrives_from_its_users_alone(noise: float | None, unknown: int) -> None:
    users = draw_users(unknown=unknown)
    found = fit_priors(users, LEFT_OUT, BASE, starts=STARTS, noise=noise, tolerance=1e-11)
    for included, prior in zip(LEFT_OUT, found, strict=True):
        alone = fit_prior(users.select_users(included), BASE, noise=noise, tolerance=1e-11, iterations=20_000)
        assert compute_difference(prior, alone) < 1e-7


@pytest.mark.parametrize("steps", [1, 2])
def test_before_the_first_leap_a_step_is_one_of_em(steps: int) -> None:
    users = draw_users()
    start = Prior(np.ones(D), np.eye(D) + 0.1, 2.0)
    found = fit_priors(users, LEFT_OUT, BASE, starts=[start] * len(LEFT_OUT), iterations=steps)
    for included, prior in zip(LEFT_OUT, found, strict=True):
        alone = fit_prior(users.select_users(included), BASE, start=start, iterations=steps)
        assert compute_difference(prior, alone) < 1e-12


def test_an_estimate_has_the_same_bits_whatever_the_others_are() -> None:
    """And whatever the user whom it leaves out was taught."""
    users = draw_users()
    together = fit_priors(users, LEFT_OUT, BASE, starts=STARTS)
    taught = UserSums(users.gram.copy(), users.b.copy(), users.rr.copy(), users.weight.copy())
    taught.gram[2] *= 1e12
    taught.b[2] += 1e6
    for place in (0, 3, len(LEFT_OUT) - 1):
        (alone,) = fit_priors(users, LEFT_OUT[[place]], BASE, starts=[None])
        assert alone.to_json() == together[place].to_json()
    without = fit_priors(taught, LEFT_OUT, BASE, starts=STARTS)
    assert without[3].to_json() == together[3].to_json()
    assert without[4].to_json() != together[4].to_json()


def test_an_estimate_from_nobody_is_the_base() -> None:
    nobody = np.zeros((1, USERS), np.bool_)
    assert fit_priors(draw_users(), nobody, BASE, starts=[None]) == [BASE]


def test_more_steps_are_never_worse_and_no_worse_than_those_of_em() -> None:
    users = draw_users()
    hyperprior = Hyperprior(users=1.0, mean=1.0)
    reached = []
    for steps in (3, 6, 12, 24, 48, 96):
        (found,) = fit_priors(users, LEFT_OUT[:1], BASE, starts=[None], hyperprior=hyperprior, iterations=steps)
        plain = fit_prior(users, BASE, hyperprior=hyperprior, iterations=steps)
        reached.append(log_posterior(users, found, BASE, hyperprior))
        assert reached[-1] >= log_posterior(users, plain, BASE, hyperprior) - 1e-9
    assert all(after >= before - 1e-9 for before, after in pairwise(reached))


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_sums_that_swallow_the_prior_or_vanish_in_it_leave_estimates(scale: float) -> None:
    users = draw_users(scale)
    found = fit_priors(users, LEFT_OUT, BASE, starts=STARTS, iterations=30)
    for prior in found:
        assert np.linalg.eigvalsh(prior.covariance).min() > 0.0
        assert prior.noise > 0.0
    plain = fit_prior(users, BASE, iterations=1)
    assert compute_difference(fit_priors(users, LEFT_OUT[:1], BASE, starts=[None], iterations=1)[0], plain) < 1e-5
