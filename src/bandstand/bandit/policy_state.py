"""What one policy has learned of one user: ridge sums, counters, and the posterior that follows from the sums.

Of a policy that forgets, the sums decay by half in every half-life: a reward of age a counts 2^(−a/half-life). The age
is that of the event, to the newest one folded in, so the sums do not depend on when they are read or replayed. Only the
sums decay; the prior does not, so a user who stays away for long returns to it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.disjoint import create_empty_state, state_from_json
from bandstand.bandit.memory import SECONDS_PER_DAY, Memory, TaughtReward
from bandstand.bandit.ridge import Posterior, Prior, RidgeState, update_posterior
from bandstand.times import CLOCK_SLACK_S

_MIN_WEIGHT = 1e-300  # of a reward so late that its weight is no number any more

_EXACTNESS_RATIO = 1e4
"""How much larger sums may have been than what is left of them, if that is to be exact to 1e-9 of its largest entry."""

_TICKS_PER_HALF_LIFE = 128
"""How often in a half-life a posterior of decaying sums is made again; its weights are at most 0.6 % too large."""


class PolicyState:
    """One policy's learning about one user: ridge sums, counters, and the posterior derived from the sums.

    Attributes:
        ridge: the sums; ``None`` until the first reward, when they are all zero.
        half_life: days in which the sums decay by half; 0 for never.
        as_of: the time to which they have decayed, seconds since the epoch; 0 for sums that do not.
        since: rewards from before this time are not in the sums, seconds since the epoch; 0 where all are.
        pulls: decisions this policy made.
        explores: how many of them came from its exploration branch.
        reward_count: rewards taught.
        cumulative_reward: their sum.
        last_updated: seconds since the epoch of the newest decision or reward.
    """

    __slots__ = (
        "_peak",
        "_posterior",
        "_prior",
        "_tick",
        "as_of",
        "cumulative_reward",
        "explores",
        "half_life",
        "last_updated",
        "pulls",
        "reward_count",
        "ridge",
        "since",
    )

    def __init__(self) -> None:
        self.ridge: RidgeState | None = None
        self.half_life = 0.0
        self.as_of = 0.0
        self.since = 0.0
        self.pulls = 0
        self.explores = 0
        self.reward_count = 0
        self.cumulative_reward = 0.0
        self.last_updated: float | None = None
        self._peak = 0.0  # the largest entry of sums from which something was taken back
        self._posterior: Posterior | None = None
        self._prior: Prior | None = None  # the one under which the cached posterior holds
        self._tick = 0.0  # and the time at which it does, where the sums decay

    def copy(self) -> "PolicyState":
        """The same state under another name: sums are shared, for they never change."""
        other = PolicyState()
        for slot in PolicyState.__slots__:
            setattr(other, slot, getattr(self, slot))
        return other

    def get_posterior(self, prior: Prior, now: float | None = None) -> Posterior:
        """The posterior under ``prior``, computed from the sums when the cached one is gone or was another prior's.

        Args:
            prior: what was believed before the first reward.
            now: seconds since the epoch, to which decaying sums have decayed further (in 128 ticks a half-life); if it
                is not given, they stand as they were at the newest reward.
        """
        posterior = self.find_posterior(prior, now)
        if posterior is None:
            posterior = self.keep_posterior(self.compute_sums().compute_posterior(prior))
        return posterior

    def find_posterior(self, prior: Prior, now: float | None) -> Posterior | None:
        """The posterior, unless it has to be computed from the sums; arguments as :meth:`get_posterior` has them."""
        if self.ridge is None:
            return prior.to_posterior()
        tick = self._floor_to_tick(now) if self.half_life else 0.0
        if self._prior is not prior or self._tick != tick:
            self._posterior, self._prior, self._tick = None, prior, tick
        return self._posterior

    def compute_sums(self) -> RidgeState:
        """The sums, decayed to the time that :meth:`find_posterior` was asked for."""
        assert self.ridge is not None  # noqa: S101 (without sums the prior's posterior was found)
        return self.ridge.with_decay(self._compute_decay_at(self._tick)) if self._tick > self.as_of else self.ridge

    def keep_posterior(self, posterior: Posterior) -> Posterior:
        """Keep what was computed from :meth:`compute_sums`; returns it."""
        self._posterior = posterior
        return posterior

    def learn(
        self,
        x: NDArray[np.float64],
        reward: float,
        weight: float,
        ts: float = 0.0,
        half_life: float = 0.0,
        since: float = 0.0,
    ) -> None:
        """Fold one reward into the sums; the posterior follows now (large d) or at the next decision.

        Args:
            x: features, shape (d,).
            reward: the reward.
            weight: its weight when it came.
            ts: when it came, seconds since the epoch.
            half_life: the policy's now. Where it was another before, the sums decay by that one until ``ts``.
            since: the time from which on the policy's rewards count now; an earlier one is counted and not learned.
        """
        if ts < since:
            self.skip_reward(ts, half_life, since)
            self.reward_count += 1
            self.cumulative_reward += reward
            return
        before, as_of = self.ridge or create_empty_state(x), self.as_of
        if self.half_life and ts > as_of:
            before = before.with_decay(self._compute_decay_at(ts))
        if half_life:
            as_of = max(as_of, ts)
            weight = max(weight * _compute_decay(as_of - ts, half_life), _MIN_WEIGHT)
        after = before.with_reward(x, reward, weight)
        if self._posterior is not None:
            if self._prior is None or half_life or self.half_life:
                self._posterior = None
            else:
                self._posterior = update_posterior(self._posterior, after, self._prior, x, reward, weight)
        self.ridge, self.half_life, self.as_of = after, half_life, as_of if half_life else 0.0
        self.since = since
        self.reward_count += 1
        self.cumulative_reward += reward

    def set_clock_back(self, ts: float) -> bool:
        """Let sums that have decayed to a time after ``ts`` count as of ``ts``, which a later event is dated.

        Returns:
            Whether there was no need to, and the sums are what they would be under a clock that was never wrong. Others
            are better made again from the rewards.
        """
        if not self.half_life or ts >= self.as_of - CLOCK_SLACK_S:
            return True
        self.as_of = ts
        self._posterior = None
        return False

    def unlearn(self, x: NDArray[np.float64], reward: float, weight: float, ts: float = 0.0) -> bool:
        """Take back one reward that ``learn`` folded in: out of the sums, with the weight it still has, and the counts.

        Returns:
            Whether the sums are still exact to 1e-9 of their largest entry. A difference lacks the digits that what was
            taken back had more than what is left; such sums are better made again from the rewards that are left.

        Raises:
            ValueError: the sums cannot have held it; nothing has changed.
        """
        if ts < self.since and self.reward_count:
            self._discount(reward)  # it was counted and not learned
            return True
        if self.ridge is None:
            raise ValueError("this reward is not in the sums")
        left = _compute_decay(self.as_of - ts, self.half_life) if self.half_life else 1.0
        after = self.ridge.without_reward(x, reward, max(weight * left, _MIN_WEIGHT))
        peak = max(self._peak, float(self.ridge.gram.max()))
        self.ridge = after if _has_rewards(after) else None
        self._peak = 0.0 if self.ridge is None else peak
        self._posterior = None
        self._discount(reward)
        return self._peak <= _EXACTNESS_RATIO * float(after.gram.max())

    def relearn(self, rewards: Iterable[TaughtReward], memory: Memory) -> None:
        """Sum up all rewards again, oldest first, under another memory; counts stay."""
        fresh = PolicyState()
        for taught in rewards:
            fresh.learn(taught.x, taught.reward, taught.weight, taught.ts, *memory)
        self.ridge, self.half_life, self.as_of, self.since = fresh.ridge, fresh.half_life, fresh.as_of, fresh.since
        self._peak, self._posterior = 0.0, None

    def _discount(self, reward: float) -> None:
        self.reward_count -= 1
        self.cumulative_reward = self.cumulative_reward - reward if self.reward_count else 0.0

    def skip_reward(self, ts: float, half_life: float = 0.0, since: float = 0.0) -> None:
        """Leave the state as ``learn`` and then ``unlearn`` of one reward leave it: the time that it came counts."""
        if self.ridge is not None and self.half_life and ts > self.as_of:
            self.ridge = self.ridge.with_decay(self._compute_decay_at(ts))
        if self.ridge is not None and not _has_rewards(self.ridge):
            self.ridge = None
        self.half_life, self.as_of = half_life, max(self.as_of, ts) if half_life else 0.0
        self.since = since
        self._posterior = None

    def _compute_decay_at(self, ts: float) -> float:
        return _compute_decay(ts - self.as_of, self.half_life)

    def _floor_to_tick(self, now: float | None) -> float:
        """The last tick that is not after ``now``, and not before the newest reward."""
        if now is None:
            return self.as_of
        length = self.half_life * SECONDS_PER_DAY / _TICKS_PER_HALF_LIFE
        return max(self.as_of, now // length * length)

    def restart(self, since: float) -> None:
        """Release sums that hold nothing from after ``since``, seconds since the epoch."""
        if since > max(self.since, self.last_updated or 0.0):
            self.ridge, self.since = None, since
            self._posterior = None

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values; floats keep every bit."""
        return {
            "ridge": None if self.ridge is None else self.ridge.to_json(),
            "pulls": self.pulls,
            "explores": self.explores,
            "reward_count": self.reward_count,
            "cumulative_reward": self.cumulative_reward,
            "last_updated": self.last_updated,
            **({"half_life": self.half_life, "as_of": self.as_of} if self.half_life else {}),
            **({"since": self.since} if self.since else {}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        state = cls()
        state.half_life = float(document.get("half_life", 0.0))
        state.as_of = float(document.get("as_of", 0.0))
        state.since = float(document.get("since", 0.0))
        ridge = document["ridge"]
        state.ridge = None if ridge is None else state_from_json(ridge)
        state.pulls = int(document["pulls"])
        state.explores = int(document["explores"])
        state.reward_count = int(document["reward_count"])
        state.cumulative_reward = float(document["cumulative_reward"])
        last_updated = document["last_updated"]
        state.last_updated = None if last_updated is None else float(last_updated)
        return state


def _has_rewards(sums: RidgeState) -> bool:
    """Whether any reward is in the sums; imported ones may not say how many are."""
    return sums.count > 0 or sums.rr is None


def _compute_decay(age: float, half_life: float) -> float:
    """What is left of a weight after ``age`` seconds; all of it where the clock went back."""
    return 1.0 if age <= 0.0 else float(2.0 ** (-age / (half_life * SECONDS_PER_DAY)))
