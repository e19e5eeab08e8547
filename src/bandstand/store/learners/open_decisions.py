"""A user's decisions of the last day without a reward: what a reward in the legacy form is linked to.

Such a reward names no decision. It is linked, for lineage and evaluation only, to the user's newest decision of its
policy and tip that has none. Those made since the user came into memory are noted here as they go; those from before
are read once, when the first such reward comes.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from bandstand.store.records import LAST_SEQ, first_seq_at

MAX_OPEN = 100
"""Decisions of a user that are looked among, the newest: a bound on memory and on the work of a reward."""

_SELECT_OPEN = """SELECT d.seq, p.name, d.tip_id, d.ts FROM (
        SELECT seq, policy, tip_id, ts FROM decisions
        WHERE uid = ? AND seq > ? AND seq < ? AND ts > ? ORDER BY seq DESC LIMIT ?
    ) AS d JOIN policies AS p ON p.id = d.policy
    WHERE NOT EXISTS (SELECT 1 FROM rewards WHERE decision_seq = d.seq)
      AND NOT EXISTS (SELECT 1 FROM rewards WHERE linked_seq = d.seq) ORDER BY d.seq"""


class OpenDecision(NamedTuple):
    """A decision that has no reward."""

    seq: int
    policy: str
    tip_id: str
    ts: float


class OpenDecisions:
    """Those of one user.

    Attributes:
        is_loaded: what the ledger had before the user came into memory is here too.
        first_seq: the first decision that was added; everything before it is the ledger's to say.
    """

    __slots__ = ("_answered", "_open", "first_seq", "is_loaded")

    def __init__(self, *, is_loaded: bool) -> None:
        self.is_loaded = is_loaded
        self.first_seq = LAST_SEQ
        self._open: list[OpenDecision] = []  # in the order of their numbers
        self._answered: set[int] = set()  # rewarded since the user came into memory, of those not loaded yet

    def add(self, decision: OpenDecision) -> None:
        """Note a decision that was made."""
        self.first_seq = min(self.first_seq, decision.seq)
        self._open.append(decision)
        if len(self._open) > MAX_OPEN:
            del self._open[0]

    def load(self, before: Iterable[OpenDecision]) -> None:
        """Take in what the ledger has from before the first that was added."""
        missing = [each for each in before if each.seq < self.first_seq and each.seq not in self._answered]
        self._open = [*missing, *self._open][-MAX_OPEN:]
        self.is_loaded = True
        self._answered.clear()

    def answer(self, seq: int) -> None:
        """Take out a decision that is being rewarded."""
        for position, each in enumerate(self._open):
            if each.seq == seq:
                del self._open[position]
                return
        if not self.is_loaded:
            self._answered.add(seq)

    def take(self, policy: str, tip_id: str, after: float) -> OpenDecision | None:
        """Take out the newest decision of a policy and tip that was made after ``after``; ``None`` for none."""
        for position in range(len(self._open) - 1, -1, -1):
            each = self._open[position]
            if each.ts <= after:
                del self._open[: position + 1]  # and all before it: they are too old for any reward to come
                return None
            if each.tip_id == tip_id and each.policy == policy:
                del self._open[position]
                return each
        return None

    def give_back(self, decision: OpenDecision) -> None:
        """Put back what was taken for a reward that was refused."""
        self._open.append(decision)
        self._open.sort()


def read_open_decisions(connection: sqlite3.Connection, uid: int, after: float, before: int) -> list[OpenDecision]:
    """A user's decisions without a reward from after a time and before an event number, the oldest first."""
    values = (uid, first_seq_at(after), before, after, MAX_OPEN)
    return [OpenDecision(*row) for row in connection.execute(_SELECT_OPEN, values)]
