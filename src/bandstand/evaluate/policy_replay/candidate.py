"""A configured policy that learns from the log of other policies."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.disjoint import compute_block_prior
from bandstand.bandit.distribution import Distribution, extract_second_uniform
from bandstand.bandit.memory import MemoryTracker, TaughtReward
from bandstand.bandit.policies import Policy
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.population import PopulationPrior, count_new_rewards
from bandstand.bandit.profile import Profile
from bandstand.bandit.reservoir import Reservoir, compute_capacity

_SAMPLE = b"evaluate"
_REFRESH_SHARE = 0.1
"""Of all rewards so far: a long log is refitted in a number of refreshes that grows with its logarithm."""


class CandidatePolicy:
    """A policy, and what every user of a log has taught it; memory grows with users, not with decisions.

    For a policy with ``half_life = "auto"`` all rewards are kept: once a day it finds out which of them count, and sums
    them again if that has changed, as serving does.

    A policy that learns its prior learns it from the same users, as serving does; where ``refresh_rewards`` is given,
    after so many of their rewards, or a tenth more than before if that is more.

    Args:
        policy: what decides.
        refresh_rewards: new rewards after which its prior is fitted again; if it is not given, as they grow.
    """

    def __init__(self, policy: Policy, refresh_rewards: int | None = None) -> None:
        self.policy = policy
        self.rewards = 0
        self._states: dict[int, PolicyState] = {}
        self._population = PopulationPrior.from_base(policy.prior)
        self._reservoir = Reservoir(compute_capacity(policy.schema.dimension), _SAMPLE) if policy.learns_prior else None
        self._refresh_rewards = refresh_rewards or policy.refresh_rewards
        self._fitted = 0
        has_blocks = bool(policy.schema.block_count)
        self._tracker = MemoryTracker(has_blocks=has_blocks) if policy.adapts_memory else None

    @property
    def read_schema(self) -> str | None:
        """The name of the schema that the policy reads; None of one that believes nothing, and looks at no feature."""
        return None if self.policy.prior_kind is None else self.policy.schema.name

    def distribution(self, user: int, x: FloatArray, seed: float, now: float) -> Distribution:
        """Return what the policy would do with the candidates x, (K, d), of this user."""
        self._follow_drift(now)
        state = self._states.get(user)
        prior = self._population.get_prior(str(user))
        posterior = prior.to_posterior() if state is None else state.get_posterior(prior, now)
        return self.policy.distribution(posterior, x, extract_second_uniform(seed))

    def get_mean(self, user: int, now: float) -> FloatArray:
        """Return θ as the policy believes it to be for a user, of the shape of its schema's weights."""
        state = self._states.get(user)
        prior = self._population.get_prior(str(user))
        posterior = prior.to_posterior() if state is None else state.get_posterior(prior, now)
        return np.broadcast_to(posterior.mean, self.policy.schema.shape)

    def learn(self, user: int, x: FloatArray, reward: float, weight: float, ts: float) -> None:
        """Take in a reward of the features x, (d,)."""
        state = self._states.get(user)
        if state is None:
            state = self._states[user] = PolicyState()
        memory = self.policy.memory
        if self._tracker is not None:
            self._follow_drift(ts)
            memory = self._tracker.memory
            self._tracker.record_reward(str(user), TaughtReward(ts, x.copy(), reward, weight))
        state.set_clock_back(ts)  # events come in the order of their numbers
        state.learn(x, reward, weight, ts, *memory)
        self.rewards += 1
        self._add_to_reservoir(user, state)
        if self.rewards - self._fitted >= self._count_needed():
            self.refresh()

    def _count_needed(self) -> int:
        if self._refresh_rewards is None:
            return count_new_rewards(self._fitted)
        return max(self._refresh_rewards, math.ceil(_REFRESH_SHARE * self._fitted))

    def remove_user(self, user: int) -> None:
        """Forget a user; their share in the population prior goes with its next refit."""
        self._states.pop(user, None)
        if self._tracker is not None:
            self._tracker.remove_user(str(user))
        if self._reservoir is not None:
            self._reservoir.remove(str(user))

    def import_profile(self, user: int, profile: Profile) -> None:
        """Replace the user's state by an imported one, if that has one of this policy."""
        self.remove_user(user)
        state = profile.policies.get((self.policy.name, self.policy.schema.name))
        if state is not None:
            self._states[user] = state.copy()
            self._add_to_reservoir(user, state)

    def refresh(self) -> None:
        """Fit the population prior to what the users have taught so far."""
        self._fitted = self.rewards
        if self._reservoir is not None:
            self._population = self.policy.fit_prior(self._reservoir.members(), self._population)

    def to_json(self) -> dict[str, Any]:
        """Return everything that the log has taught so far as JSON values, to the last bit."""
        return {
            "rewards": self.rewards,
            "fitted": self._fitted,
            "states": {str(user): state.to_json() for user, state in self._states.items()},
            "population": self._population.to_json(),
            "reservoir": [] if self._reservoir is None else list(self._reservoir),
            "tracker": None if self._tracker is None else self._tracker.to_json(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Restore the candidate's state from what :meth:`to_json` returned."""
        self.rewards, self._fitted = int(document["rewards"]), int(document["fitted"])
        self._states = {int(user): PolicyState.from_json(state) for user, state in document["states"].items()}
        self._population = PopulationPrior.from_json(document["population"])
        for user in document["reservoir"]:
            self._add_to_reservoir(int(user), self._states[int(user)])
        if self._tracker is not None:
            self._tracker.restore(document["tracker"])

    def follow_clock(self, now: float) -> None:
        """Take note that a decision was made, as :meth:`distribution` does."""
        self._follow_drift(now)

    def _follow_drift(self, now: float) -> None:
        """Check once a day which rewards count; an imported state is not made of rewards, and stays as it is."""
        tracker = self._tracker
        if tracker is None or not tracker.check_day(compute_block_prior(self._population.shared), now):
            return
        for user, history in tracker.iter_histories():
            state = self._states[int(user)]
            if state.reward_count == len(history):
                state.relearn(history, tracker.memory)
                self._add_to_reservoir(int(user), state)

    def _add_to_reservoir(self, user: int, state: PolicyState) -> None:
        if self._reservoir is not None and state.ridge is not None:
            self._reservoir.add(str(user), state.ridge)
