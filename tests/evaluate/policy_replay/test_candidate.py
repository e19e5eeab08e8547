import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.memory import SECONDS_PER_DAY
from bandstand.bandit.population import PopulationPrior
from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import RidgeState
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from tests.bandit.given import CATALOGUE, SHIPPED, random_rows
from tests.evaluate.world import FloatArray

POLICY = CATALOGUE.policies["thompson-v1"]
RNG = np.random.default_rng(3)
X = random_rows(POLICY.schema, RNG, 40)
USERS = range(25)


def teach_users(candidate: CandidatePolicy, users: range = USERS, rounds: int = 40) -> dict[int, RidgeState]:
    """Teach every user's own taste; returns the sums that makes."""
    sums = {user: RidgeState.empty(X.shape[1]) for user in users}
    for turn in range(rounds):
        for user in users:
            x = X[(turn + user) % len(X)]
            reward = float(x[user % 3] / 2)
            candidate.learn(user, x, reward, 1.0, float(turn))
            sums[user] = sums[user].with_reward(x, reward)
    return sums


def answer(candidate: CandidatePolicy, user: int) -> FloatArray:
    return candidate.distribution(user, X[:5], 0.3, 100.0).probability


def test_a_population_prior_is_that_of_the_users_who_taught() -> None:
    candidate = CandidatePolicy(POLICY, refresh_rewards=10**9)
    sums = teach_users(candidate)
    cold = answer(CandidatePolicy(POLICY), 99)
    np.testing.assert_array_equal(answer(candidate, 99), cold)
    candidate.refresh()
    members = dict(sorted((str(user), state) for user, state in sums.items()))
    population = POLICY.fit_prior(members)
    expected = CandidatePolicy(POLICY)
    expected._population = population  # noqa: SLF001 (nobody sets it but itself)
    np.testing.assert_allclose(answer(candidate, 99), answer(expected, 99), rtol=1e-9)
    assert np.abs(answer(candidate, 99) - cold).max() > 0.05


def test_it_is_fitted_after_so_many_rewards_and_later_after_a_tenth_more(monkeypatch: pytest.MonkeyPatch) -> None:
    at: list[int] = []
    fit = PopulationPrior.fit

    def fit_counted(members: dict[str, RidgeState], *args: Any, **kwargs: Any) -> PopulationPrior:
        at.append(sum(state.count for state in members.values()))
        return fit(members, *args, **kwargs)

    monkeypatch.setattr(PopulationPrior, "fit", fit_counted)
    teach_users(CandidatePolicy(POLICY, refresh_rewards=50), rounds=40)
    assert at[:10] == list(range(50, 501, 50))
    assert all(later - earlier == max(50, math.ceil(earlier / 10)) for earlier, later in pairwise(at))
    assert at[-1] > 900


def test_a_policy_without_one_fits_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(PopulationPrior, "fit")
    candidate = CandidatePolicy(CATALOGUE.policies["linucb-v1"], refresh_rewards=1)
    teach_users(candidate, rounds=3)
    candidate.refresh()


def test_a_forgotten_user_is_as_one_never_met() -> None:
    candidate, other = CandidatePolicy(POLICY, 10**9), CandidatePolicy(POLICY, 10**9)
    teach_users(candidate)
    teach_users(other, users=range(1, 25))
    candidate.remove_user(0)
    candidate.remove_user(77)
    candidate.refresh()
    other.refresh()
    for user in (0, 5, 77):
        np.testing.assert_allclose(answer(candidate, user), answer(other, user), rtol=1e-9)


def test_a_state_from_elsewhere_replaces_what_was_learned() -> None:
    profile = Profile("anna")
    for turn in range(30):
        profile.apply_reward(turn, (POLICY.name, POLICY.schema.name), float(turn), X[turn], 0.5, 1.0)
    adopting, taught = CandidatePolicy(POLICY, 10**9), CandidatePolicy(POLICY, 10**9)
    teach_users(adopting, users=range(1))
    adopting.import_profile(0, profile)
    for turn in range(30):
        taught.learn(0, X[turn], 0.5, 1.0, float(turn))
    np.testing.assert_allclose(answer(adopting, 0), answer(taught, 0), rtol=1e-9)
    adopting.refresh()
    taught.refresh()
    np.testing.assert_allclose(answer(adopting, 9), answer(taught, 9), rtol=1e-9)
    adopting.learn(0, X[0], 1.0, 1.0, 99.0)
    assert profile.policies[POLICY.name, POLICY.schema.name].reward_count == 30
    adopting.import_profile(0, Profile("anna"))
    adopting.refresh()
    np.testing.assert_array_equal(answer(adopting, 0), answer(CandidatePolicy(POLICY), 0))


def test_a_policy_that_adapts_its_memory_forgets_what_a_day_turned_round() -> None:
    """As serving does: once a day, over what its users taught, and whoever is erased is forgotten there too."""
    definition = {"kind": "linucb", "schema": "tips-v2", "half_life": "auto", "variance": 1.0}
    policy = Catalogue.parse(SHIPPED, {"policies": {"adaptive": definition}}).policies["adaptive"]
    candidate = CandidatePolicy(policy)
    rng, tastes = np.random.default_rng(5), np.random.default_rng(6).normal(size=(12, X.shape[1]))
    candidate.learn(99, X[0], 0.0, 1.0, 0.0)
    candidate.remove_user(99)
    for number in range(4 * 33):
        ts, sign = number / 4 * SECONDS_PER_DAY, -1.0 if number >= 4 * 30 else 1.0
        for user, taste in enumerate(tastes):
            x = X[rng.integers(len(X))]
            candidate.learn(user, x, float(sign * (x @ taste) + 0.3 * rng.normal()), 1.0, ts)
    for user, taste in enumerate(tastes):
        believed = candidate.distribution(user, X, 0.3, 33 * SECONDS_PER_DAY).mean
        assert np.corrcoef(believed, -X @ taste)[0, 1] > 0.5
