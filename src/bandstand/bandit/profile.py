"""What one user has taught every policy: the fold of that user's committed events.

A :class:`Profile` is a value folded from events in ledger order. Each fold method moves state at its last assignments
or raises before any of them, so a refused event leaves the profile as it was. The ridge sums are immutable, which is
what makes :meth:`Profile.copy` a snapshot at the price of a few references.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.ridge import Posterior, Prior, RidgeState, advance, posterior

DOCUMENT_VERSION = 1

StateKey = tuple[str, str]
"""Policy name and schema name: the same policy under a renamed schema starts cold beside the old one."""


class PolicyState:
    """One policy's learning about one user: ridge sums, counters, and the posterior derived from the sums.

    Attributes:
        ridge: the sums; ``None`` until the first reward, when they are all zero.
        pulls: decisions this policy made.
        explores: how many of them came from its exploration branch.
        reward_count: rewards taught.
        cumulative_reward: their sum.
        last_updated: seconds since the epoch of the newest decision or reward.
    """

    __slots__ = ("_posterior", "cumulative_reward", "explores", "last_updated", "pulls", "reward_count", "ridge")

    def __init__(self) -> None:
        self.ridge: RidgeState | None = None
        self.pulls = 0
        self.explores = 0
        self.reward_count = 0
        self.cumulative_reward = 0.0
        self.last_updated: float | None = None
        self._posterior: Posterior | None = None

    def copy(self) -> "PolicyState":
        """The same state under another name: sums are shared, for they never change."""
        other = PolicyState()
        for slot in PolicyState.__slots__:
            setattr(other, slot, getattr(self, slot))
        return other

    def posterior(self, prior: Prior) -> Posterior:
        """The posterior under ``prior``, computed from the sums when the cached one is gone."""
        if self._posterior is None:
            if self.ridge is None:
                return Posterior(prior.mean, prior.covariance)
            self._posterior = posterior(self.ridge, prior)
        return self._posterior

    def learn(self, x: NDArray[np.float64], reward: float, weight: float, prior: Prior | None) -> None:
        """Fold one reward into the sums; the posterior follows now (large d) or at the next decision."""
        before = self.ridge or RidgeState.zero(len(x))
        after = before.updated(x, reward, weight)
        self._posterior = None if prior is None else advance(self._posterior, after, prior, x, reward, weight)
        self.ridge = after
        self.reward_count += 1
        self.cumulative_reward += reward

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values; floats keep every bit."""
        return {
            "ridge": None if self.ridge is None else self.ridge.to_json(),
            "pulls": self.pulls,
            "explores": self.explores,
            "reward_count": self.reward_count,
            "cumulative_reward": self.cumulative_reward,
            "last_updated": self.last_updated,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        state = cls()
        ridge = document["ridge"]
        state.ridge = None if ridge is None else RidgeState.from_json(ridge)
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

    def state(self, key: StateKey) -> PolicyState:
        """The policy's state, made empty at its first event."""
        state = self.policies.get(key)
        if state is None:
            state = self.policies[key] = PolicyState()
        return state

    def decided(self, seq: int, key: StateKey, ts: float, *, exploring: bool) -> None:
        """Fold a decision: it counts as a pull and teaches nothing yet."""
        state = self.state(key)
        state.pulls += 1
        state.explores += exploring
        state.last_updated = ts
        self.seq = seq

    def rewarded(
        self,
        seq: int,
        key: StateKey,
        ts: float,
        x: NDArray[np.float64],
        reward: float,
        weight: float,
        prior: Prior | None = None,
    ) -> None:
        """Fold a reward for features ``x`` of shape (d,); with ``prior`` a cached posterior moves along."""
        state = self.state(key)
        state.learn(x, reward, weight, prior)
        state.last_updated = ts
        self.seq = seq

    def reset(self, seq: int) -> None:
        """Fold a reset: all policies forget this user."""
        self.policies = {}
        self.reset_seq = seq
        self.seq = seq

    def adopt(self, seq: int, imported: "Profile") -> None:
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
