"""What one user has taught every policy: the fold of that user's committed events.

Of a policy that forgets, the sums decay by half in every half-life: a reward of age a counts 2^(−a/half-life). The age
is that of the event, to the newest one folded in, so the sums do not depend on when they are read or replayed. What
decays are the sums alone: under them lies the prior, which a user not heard of for long comes back to.

A :class:`Profile` is a value folded from events in ledger order. Each fold method moves state at its last assignments
or raises before any of them, so a refused event leaves the profile as it was. The ridge sums are immutable, which is
what makes :meth:`Profile.copy` a snapshot at the price of a few references.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.disjoint import create_empty_state, state_from_json
from bandstand.bandit.memory import SECONDS_PER_DAY, Memory, TaughtReward
from bandstand.bandit.ridge import Posterior, Prior, RidgeState, update_posterior
from bandstand.times import CLOCK_SLACK_S

DOCUMENT_VERSION = 1

_MIN_WEIGHT = 1e-300  # of a reward so late that its weight is no number any more

_EXACTNESS_RATIO = 1e4
"""How much larger sums may have been than what is left of them, if that is to be exact to 1e-9 of its largest entry."""

_TICKS_PER_HALF_LIFE = 128
"""How often in a half-life a posterior of decaying sums is made anew; its weights are at most 0.6 % too large."""

StateKey = tuple[str, str]
"""Policy name and schema name: the same policy under a renamed schema starts cold beside the old one."""


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
            now: seconds since the epoch, to which decaying sums have decayed further (in 128 ticks a half-life); where
                it is not given, they stand as they were at the newest reward.
        """
        if self.ridge is None:
            return prior.to_posterior()
        tick = self._floor_to_tick(now) if self.half_life else 0.0
        if self._posterior is None or self._prior is not prior or self._tick != tick:
            sums = self.ridge.with_decay(self._compute_decay_at(tick)) if tick > self.as_of else self.ridge
            self._posterior, self._prior, self._tick = sums.compute_posterior(prior), prior, tick
        return self._posterior

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
        """Fold all rewards again, the oldest first, under another memory; what was counted stays."""
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


class Profile:
    """Everything learned about one user, as of the event ``seq``.

    Attributes:
        user_id: whose it is.
        seq: the newest ledger event folded in; 0 for none.
        reset_seq: the newest reset; decisions at or before it teach nothing any more.
        policies: state by policy and schema name; a policy that never met this user is absent.
    """

    __slots__ = ("policies", "reset_seq", "seq", "user_id")

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.seq = 0
        self.reset_seq = 0
        self.policies: dict[StateKey, PolicyState] = {}

    def get_state(self, key: StateKey) -> PolicyState:
        """The policy's state, made empty at its first event."""
        state = self.policies.get(key)
        if state is None:
            state = self.policies[key] = PolicyState()
        return state

    def apply_decision(self, seq: int, key: StateKey, ts: float, *, exploring: bool) -> bool:
        """Fold a decision: it counts as a pull and teaches nothing yet.

        Returns:
            As :meth:`PolicyState.set_clock_back`.
        """
        state = self.get_state(key)
        state.pulls += 1
        state.explores += exploring
        state.last_updated = ts
        self.seq = seq
        return state.set_clock_back(ts)

    def apply_reward(
        self,
        seq: int,
        key: StateKey,
        ts: float,
        x: NDArray[np.float64],
        reward: float,
        weight: float,
        half_life: float = 0.0,
        since: float = 0.0,
    ) -> bool:
        """Fold a reward for features ``x`` of shape (d,); of a policy that forgets, with its :class:`Memory`.

        Returns:
            As :meth:`PolicyState.set_clock_back`.
        """
        state = self.get_state(key)
        exact = state.set_clock_back(ts)
        state.learn(x, reward, weight, ts, half_life, since)
        state.last_updated = ts
        self.seq = seq
        return exact

    def apply_revocation(
        self, seq: int, key: StateKey, ts: float, x: NDArray[np.float64], reward: float, weight: float
    ) -> bool:
        """Fold the taking back of a reward that came at ``ts``; its arguments are what ``rewarded`` had.

        Returns:
            Whether the sums are still exact; see :meth:`PolicyState.unlearn`.

        Raises:
            ValueError: the sums cannot have held it; nothing has changed.
        """
        state = self.policies.get(key)
        if state is None:
            raise ValueError("this reward is not in the sums")
        exact = state.unlearn(x, reward, weight, ts)
        self.seq = seq
        return exact

    def apply_skipped_reward(
        self, seq: int, key: StateKey, ts: float, half_life: float = 0.0, since: float = 0.0
    ) -> None:
        """Fold a reward that is known to be taken back later, and the sums never meet it: exactly, and at no cost."""
        state = self.get_state(key)
        state.skip_reward(ts, half_life, since)
        state.last_updated = ts
        self.seq = seq

    def restart(self, key: StateKey, since: float) -> None:
        """Let go of a policy's sums that hold nothing from after ``since``, seconds since the epoch."""
        state = self.policies[key]
        if since > max(state.since, state.last_updated or 0.0):
            state.ridge, state.since = None, since
            state._posterior = None  # noqa: SLF001 (the two are one value)

    def apply_reset(self, seq: int) -> None:
        """Fold a reset: all policies forget this user."""
        self.policies = {}
        self.reset_seq = seq
        self.seq = seq

    def apply_import(self, seq: int, imported: "Profile") -> None:
        """Fold an import: its state replaces this one's."""
        self.policies = {key: state.copy() for key, state in imported.policies.items()}
        self.seq = seq

    def copy(self) -> "Profile":
        """A snapshot that later folds do not move."""
        other = Profile(self.user_id)
        other.seq = self.seq
        other.reset_seq = self.reset_seq
        other.policies = {name: state.copy() for name, state in self.policies.items()}
        return other

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values (the body of a state document, of an export line and of a baseline).

        States are named by policy; where one policy has states under several schemas, the older ones by policy@schema.
        """
        newest = dict(self.policies.keys())
        return {
            "version": DOCUMENT_VERSION,
            "user_id": self.user_id,
            "ledger_seq": self.seq,
            "reset_seq": self.reset_seq,
            "policies": {
                policy if newest[policy] == schema else f"{policy}@{schema}": {
                    "policy": policy,
                    "schema": schema,
                    **state.to_json(),
                }
                for (policy, schema), state in self.policies.items()
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back.

        Raises:
            ValueError: the document's version is not one this code knows.
        """
        if document.get("version") != DOCUMENT_VERSION:
            message = f"state document version {document.get('version')!r}; this build reads {DOCUMENT_VERSION}"
            raise ValueError(message)
        profile = cls(str(document["user_id"]))
        profile.seq = int(document["ledger_seq"])
        profile.reset_seq = int(document["reset_seq"])
        profile.policies = {
            (str(state["policy"]), str(state["schema"])): PolicyState.from_json(state)
            for state in document["policies"].values()
        }
        return profile


def _has_rewards(sums: RidgeState) -> bool:
    """Whether any reward is in the sums; imported ones may not say how many are."""
    return sums.count > 0 or sums.rr is None


def _compute_decay(age: float, half_life: float) -> float:
    """What is left of a weight after ``age`` seconds; all of it where the clock went back."""
    return 1.0 if age <= 0.0 else float(2.0 ** (-age / (half_life * SECONDS_PER_DAY)))
