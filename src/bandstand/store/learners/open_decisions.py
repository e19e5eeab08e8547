"""A user's decisions of the last day without a reward: what a reward in the legacy form is linked to.

Such a reward names no decision. It is linked, for lineage and evaluation only, to the user's newest decision of its
policy and tip that has none. Those made since the user came into memory are noted here as they go; those from before
are read once, when the first such reward comes.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bandstand.store.records import LAST_SEQ, first_seq_at

MAX_OPEN = 100
"""Decisions of a user that are looked among, the newest: a bound on memory and on the work of a reward."""

_FEW = 8
"""So many are looked through, the newest first, for less than it costs to note each by its tip."""

_SELECT_OPEN = """SELECT d.seq, p.name, d.tip_id, d.ts FROM (
        SELECT seq, policy, tip_id, ts FROM decisions WHERE ts > ?1 AND seq IN (
            SELECT seq FROM user_decisions WHERE uid = ?2 AND seq > ?3 AND seq < ?4 ORDER BY seq DESC LIMIT ?5)
    ) AS d JOIN policies AS p ON p.id = d.policy
    WHERE NOT EXISTS (SELECT 1 FROM rewards WHERE decision_seq = d.seq)
      AND NOT EXISTS (SELECT 1 FROM rewards WHERE linked_seq = d.seq) ORDER BY d.seq"""


_Tip = tuple[str, str]  # a policy and a candidate's id


class OpenDecision(NamedTuple):
    """A decision that has no reward."""

    seq: int
    policy: str
    tip_id: str
    ts: float


class OpenDecisions:
    """Those of one user.

    No call takes longer for a user who has many of them: they are found by their number, and the newest by its policy
    and tip.

    Attributes:
        is_loaded: what the ledger had before the user came into memory is here too.
        first_seq: the first decision that was added; everything before it is the ledger's to say.
    """

    __slots__ = ("_answered", "_by_tip", "_open", "first_seq", "is_loaded")

    def __init__(self, *, is_loaded: bool) -> None:
        self.is_loaded = is_loaded
        self.first_seq = LAST_SEQ
        # Policy, tip and when, by number, the oldest first: one object of each, for the cycle collector visits them.
        self._open: dict[int, tuple[str, str, float]] = {}
        # The same by policy and tip, the newest last; made when a legacy reward finds many, for most users have few.
        self._by_tip: dict[_Tip, list[int]] | None = None
        self._answered: set[int] = set()  # rewarded since the user came into memory, of those not loaded yet

    def add(self, seq: int, policy: str, tip_id: str, ts: float) -> None:
        """Note a decision that was made; its arguments are what an :class:`OpenDecision` has."""
        self.first_seq = min(self.first_seq, seq)
        self._insert(seq, policy, tip_id, ts)
        if len(self._open) > MAX_OPEN:
            self._remove(next(iter(self._open)))

    def load(self, before: Iterable[OpenDecision]) -> None:
        """Take in what the ledger has from before the first that was added."""
        missing = [each for each in before if each.seq < self.first_seq and each.seq not in self._answered]
        self._replace([*missing, *self._list()])
        self.is_loaded = True
        self._answered.clear()

    def answer(self, seq: int) -> None:
        """Take out a decision that is being rewarded."""
        if seq in self._open:
            self._remove(seq)
        elif not self.is_loaded:
            self._answered.add(seq)

    def take(self, policy: str, tip_id: str, after: float) -> OpenDecision | None:
        """Take out the newest decision of a policy and tip, if it was made after ``after``; ``None`` for none."""
        newest = self._find_newest(policy, tip_id)
        if newest is None:
            return None
        ts = self._open[newest][2]
        if ts <= after:
            return None
        self._remove(newest)
        return OpenDecision(newest, policy, tip_id, ts)

    def give_back(self, decision: OpenDecision) -> None:
        """Put back what was taken for a reward that was refused."""
        self._replace(sorted([*self._list(), decision]))

    def _find_newest(self, policy: str, tip_id: str) -> int | None:
        if self._by_tip is None:
            if len(self._open) <= _FEW:
                for seq, (of, tip, _) in reversed(self._open.items()):
                    if tip == tip_id and of == policy:
                        return seq
                return None
            self._by_tip = {}
            for seq, (of, tip, _) in self._open.items():
                self._by_tip.setdefault((of, tip), []).append(seq)
        seqs = self._by_tip.get((policy, tip_id))
        return None if seqs is None else seqs[-1]

    def _list(self) -> list[OpenDecision]:
        return [OpenDecision(seq, *rest) for seq, rest in self._open.items()]

    def _replace(self, decisions: Sequence[OpenDecision]) -> None:
        self._open = {seq: (policy, tip_id, ts) for seq, policy, tip_id, ts in decisions[-MAX_OPEN:]}
        self._by_tip = None

    def _insert(self, seq: int, policy: str, tip_id: str, ts: float) -> None:
        self._open[seq] = policy, tip_id, ts
        if self._by_tip is not None:
            self._by_tip.setdefault((policy, tip_id), []).append(seq)

    def _remove(self, seq: int) -> None:
        policy, tip_id, _ = self._open.pop(seq)
        if self._by_tip is not None:
            tip = policy, tip_id
            seqs = self._by_tip[tip]
            seqs.remove(seq)
            if not seqs:
                del self._by_tip[tip]


def read_open_decisions(connection: sqlite3.Connection, uid: int, after: float, before: int) -> list[OpenDecision]:
    """A user's decisions without a reward from after a time and before an event number, the oldest first."""
    values = (after, uid, first_seq_at(after), before, MAX_OPEN)
    return [OpenDecision(*row) for row in connection.execute(_SELECT_OPEN, values)]
