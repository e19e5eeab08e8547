"""What a decision log is read as, whichever engine keeps it."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from bandstand.bandit.profile import Profile
from bandstand.store.records import Array

PAGE = 1000
"""Most events of one kind in a page."""


class LoggedDecision(NamedTuple):
    """A decision, and the reward that it got in the end.

    Attributes:
        uid: the store's key of the user.
        policy: name of the policy that made it.
        seed: its draw, in [0, 1).
        pick: index of the picked candidate.
        propensity: probability with which it was picked.
        probabilities: of all candidates, shape (K,).
        body: the score request as it came.
        reward: the value; None if no reward came.
        means: what its policy expected of each candidate, shape (K,); empty if that is not known.
    """

    seq: int
    uid: int
    policy: str
    ts: float
    seed: float
    pick: int
    propensity: float
    probabilities: Array
    body: bytes
    reward: float | None
    means: Array = np.zeros(0)


class LoggedReward(NamedTuple):
    """A reward that taught, and where its features are: in a decision's pick, or with the reward itself.

    Attributes:
        decision_seq: the decision it names; None in the legacy form.
        pick: index of the candidate that was rewarded; 0 in the legacy form.
        body: the decision's request; in the legacy form a request with the rewarded candidate alone.
    """

    seq: int
    uid: int
    ts: float
    value: float
    weight: float
    decision_seq: int | None
    pick: int
    body: bytes


class LoggedReset(NamedTuple):
    """A user was forgotten by every policy."""

    seq: int
    uid: int
    ts: float


class LoggedState(NamedTuple):
    """A user's state replaced what was learned: by an import, or by retention for the events that it deleted.

    Attributes:
        seq: number of the import; 0 of what retention took.
        ts: when it was imported; 0.0 of what retention took.
    """

    seq: int
    uid: int
    ts: float
    profile: Profile


LoggedEvent = LoggedDecision | LoggedReward | LoggedReset | LoggedState


class EventLog(Protocol):
    """A log of decisions that is opened for reading."""

    def read_events(
        self, *, since: float | None = None, until: float | None = None, page: int = PAGE
    ) -> Iterator[list[LoggedEvent]]:
        """Every event as of now, in order, in lists of bounded length."""

    def count_events(self) -> int:
        """About how many events there are."""
