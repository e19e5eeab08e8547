"""A profile is a fold: what it holds follows from its events, and a refused event leaves no trace."""

import json

import numpy as np
import pytest

from bandstand.bandit.profile import PolicyState, Profile
from bandstand.bandit.ridge import Prior, RidgeState, posterior

KEY = ("linucb-v1", "tips-5")
OTHER = ("egreedy-v1", "tips-7")
D = 5


def taught(seed: int = 3, rewards: int = 12) -> Profile:
    """A profile with a history."""
    rng = np.random.default_rng(seed)
    profile = Profile("ada")
    for seq in range(1, rewards + 1):
        profile.decided(2 * seq, KEY, float(seq), exploring=seq % 3 == 0)
        profile.rewarded(2 * seq + 1, KEY, float(seq), rng.normal(size=D), float(rng.uniform(-1, 1)), 1.0)
    return profile


def test_a_decision_counts_and_teaches_nothing() -> None:
    profile = Profile("ada")
    profile.decided(7, KEY, 10.0, exploring=True)
    profile.decided(9, KEY, 12.0, exploring=False)
    state = profile.policies[KEY]
    assert (state.pulls, state.explores, state.reward_count) == (2, 1, 0)
    assert (state.ridge, state.last_updated, profile.seq) == (None, 12.0, 9)


def test_a_reward_teaches_its_policy_alone() -> None:
    profile = Profile("ada")
    x = np.arange(1.0, D + 1)
    profile.rewarded(4, KEY, 1.0, x, 0.5, 2.0)
    assert set(profile.policies) == {KEY}
    ridge = profile.policies[KEY].ridge
    assert ridge is not None
    np.testing.assert_array_equal(ridge.gram, 2.0 * np.outer(x, x))
    np.testing.assert_array_equal(ridge.b, x)
    assert profile.policies[KEY].cumulative_reward == 0.5


def test_a_refused_reward_leaves_everything_as_it_was() -> None:
    profile = taught()
    before = profile.to_json()
    with pytest.raises(ValueError, match="finite"):
        profile.rewarded(99, KEY, 5.0, np.full(D, np.nan), 0.5, 1.0)
    assert profile.to_json() == before


@pytest.mark.parametrize("d", [5, 40])
def test_the_posterior_is_that_of_the_sums_cached_or_not(d: int) -> None:
    rng = np.random.default_rng(5)
    prior = Prior.standard(d)
    state = PolicyState()
    np.testing.assert_array_equal(state.posterior(prior).covariance, np.eye(d))
    for _ in range(300):
        state.learn(rng.normal(size=d), float(rng.uniform(-1, 1)), 1.0)
        if rng.random() < 0.5:
            state.posterior(prior)
    assert state.ridge is not None
    expected = posterior(state.ridge, prior)
    np.testing.assert_allclose(state.posterior(prior).mean, expected.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(state.posterior(prior).covariance, expected.covariance, rtol=0, atol=1e-9)


def test_a_reset_forgets_every_policy_and_is_remembered() -> None:
    profile = taught()
    profile.decided(90, OTHER, 1.0, exploring=False)
    profile.reset(91)
    assert (profile.policies, profile.reset_seq, profile.seq) == ({}, 91, 91)


def test_a_copy_is_a_snapshot() -> None:
    profile = taught()
    snapshot = profile.copy()
    before = json.dumps(snapshot.to_json())
    profile.rewarded(98, KEY, 9.0, np.ones(D), 1.0, 1.0)
    profile.decided(99, OTHER, 9.0, exploring=False)
    assert json.dumps(snapshot.to_json()) == before


def test_json_keeps_every_bit() -> None:
    profile = taught()
    profile.decided(91, OTHER, 2.0, exploring=True)
    document = json.loads(json.dumps(profile.to_json()))
    again = Profile.from_json(document)
    assert again.to_json() == profile.to_json()
    ridge, copied = profile.policies[KEY].ridge, again.policies[KEY].ridge
    assert ridge is not None
    assert copied is not None
    assert ridge.gram.tobytes() == copied.gram.tobytes()


def test_a_policy_under_a_renamed_schema_starts_cold_beside_the_old() -> None:
    profile = taught()
    renamed = (KEY[0], "tips-6")
    profile.decided(90, renamed, 1.0, exploring=False)
    assert profile.policies[renamed].ridge is None
    assert isinstance(profile.policies[KEY].ridge, RidgeState)
    assert set(profile.to_json()["policies"]) == {"linucb-v1", "linucb-v1@tips-5"}
    assert Profile.from_json(profile.to_json()).policies.keys() == profile.policies.keys()


def test_an_import_replaces_what_was_known() -> None:
    profile, other = Profile("ada"), taught()
    profile.decided(1, OTHER, 1.0, exploring=False)
    profile.adopt(50, other)
    assert profile.seq == 50
    assert profile.to_json()["policies"] == other.to_json()["policies"]


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_an_unknown_version_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match="version"):
        Profile.from_json({**taught().to_json(), "version": version})
