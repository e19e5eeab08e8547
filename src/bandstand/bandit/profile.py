"""What one user has taught every policy: the fold of that user's committed events.

A :class:`Profile` is a value folded from events in ledger order. Each fold method moves state at its last assignments
or raises before any of them, so a refused event leaves the profile as it was. The ridge sums are immutable, which is
what makes :meth:`Profile.copy` a snapshot at the price of a few references.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.policy_state import PolicyState

DOCUMENT_VERSION = 1

StateKey = tuple[str, str]
"""Policy name and schema name: the same policy under a renamed schema starts cold beside the old one."""


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
        state = self.policies.get(key) or self.get_state(key)
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

    def apply_parting(self, seq: int, key: StateKey, pulls: int, explores: int, newest: float) -> bool:
        """Subtract the erased decisions of one of several users who share the model; rewards are taken back separately.

        Returns:
            Whether all is as it would be had they never been; where the newest is among them, that is not known.
        """
        state = self.get_state(key)
        state.pulls -= pulls
        state.explores -= explores
        self.seq = seq
        return state.last_updated is not None and state.last_updated > newest

    def apply_skipped_reward(
        self, seq: int, key: StateKey, ts: float, half_life: float = 0.0, since: float = 0.0
    ) -> None:
        """Fold a reward that is known to be taken back later, and the sums never meet it: exactly, and at no cost."""
        state = self.get_state(key)
        state.skip_reward(ts, half_life, since)
        state.last_updated = ts
        self.seq = seq

    def restart(self, key: StateKey, since: float) -> None:
        """Release a policy's sums that hold nothing from after ``since``, seconds since the epoch."""
        self.policies[key].restart(since)

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
