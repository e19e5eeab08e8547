"""What is computed for many users at once is what is computed for each."""

import numpy as np
import pytest

from bandstand.bandit.disjoint import create_empty_state
from bandstand.bandit.ridge import Prior, RidgeState
from bandstand.bandit.stacks import compute_stacked_posteriors

RNG = np.random.default_rng(4)


def _teach(state: RidgeState, rows: int, scale: float = 1.0) -> RidgeState:
    d = state.b.shape[-1]
    for x in RNG.standard_normal((rows, d)):
        state = state.with_reward(scale * x, float(np.tanh(x[0])), 0.7)
    return state


def _build_prior(d: int, *, smallest: float = 0.1) -> Prior:
    root = RNG.standard_normal((d, d))
    spread = np.diag(np.linspace(smallest, 1.0, d))
    turned = np.linalg.qr(root)[0]
    return Prior(RNG.standard_normal(d), turned @ spread @ turned.T, 0.3)


@pytest.mark.parametrize("d", [1, 8, 40])
@pytest.mark.parametrize("kind", ["sound", "singular prior", "swallowed prior", "standard"])
def test_posteriors_of_a_stack_are_those_of_its_states(d: int, kind: str) -> None:
    states = [_teach(RidgeState.empty(d), 1 + number) for number in range(5)]
    priors = [_build_prior(d) for _ in states]
    if kind == "singular prior":
        priors[2] = Prior(np.ones(d), np.zeros((d, d)), 1.0)
    elif kind == "swallowed prior":
        states[3] = _teach(states[3], 1, scale=1e6)
    elif kind == "standard":
        priors = [Prior.build_standard(d)] * len(states)
    stacked = compute_stacked_posteriors(states, priors)
    for posterior, state, prior in zip(stacked, states, priors, strict=True):
        alone = state.compute_posterior(prior)
        scale = max(1.0, float(np.abs(alone.mean).max()))
        np.testing.assert_allclose(posterior.mean, alone.mean, rtol=0, atol=1e-12 * scale)
        np.testing.assert_allclose(posterior.covariance, alone.covariance, rtol=0, atol=1e-12)
        assert posterior.noise == prior.noise
        for array in (posterior.mean, posterior.covariance):
            assert not array.flags.writeable
            assert array.base is None  # a view would keep its neighbours in memory


def test_posteriors_of_models_with_blocks_are_those_of_each() -> None:
    row = np.array([1.0, 0.5, 2 * 10_000_000 + 1])
    states = [create_empty_state(row).with_reward(row, reward) for reward in (0.3, -0.4)]
    prior = Prior.build_standard(2)
    for posterior, state in zip(compute_stacked_posteriors(states, [prior, prior]), states, strict=True):
        np.testing.assert_array_equal(posterior.mean, state.compute_posterior(prior).mean)
