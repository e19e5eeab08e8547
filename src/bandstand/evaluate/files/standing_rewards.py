"""Which rewards stand at the end of an exported log, of which decisions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.estimators.logged_rows import FloatArray

Numbers = NDArray[np.int64]
"""(n,) numbers of events."""


class RewardColumns(NamedTuple):
    """The rewards of a file, and what it takes back.

    Attributes:
        seq: their numbers, (n,).
        decision: the decisions that they are for, (n,); -1 for none.
        named: whether they name it, (n,).
        value: (n,).
        revoked: rewards that were taken back, of whatever file, (m,).
    """

    seq: Numbers
    decision: Numbers
    named: NDArray[np.bool_]
    value: FloatArray
    revoked: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class StandingRewards:
    """The reward of each decision at the end of a log.

    One that names its decision is surer than a link; of several, the last. One that was taken back never stood.

    Attributes:
        decisions: that have one, ascending, (n,).
        values: their rewards, (n,).
        revoked: rewards that were taken back.
    """

    decisions: Numbers
    values: FloatArray
    revoked: frozenset[int]

    @classmethod
    def find(cls, files: Iterable[RewardColumns]) -> Self:
        """Find what stands, of the rewards of all files."""
        none = np.zeros(0, np.int64)
        parts = [*files, RewardColumns(none, none, none.astype(np.bool_), none.astype(np.float64), none)]
        seq = np.concatenate([each.seq for each in parts])
        decision = np.concatenate([each.decision for each in parts])
        named = np.concatenate([each.named for each in parts])
        revoked = np.concatenate([each.revoked for each in parts])
        stands = ~np.isin(seq, revoked)
        order = np.lexsort((seq[stands], named[stands], decision[stands]))
        decision = decision[stands][order]
        value = np.concatenate([each.value for each in parts])[stands][order]
        is_last = np.ones(len(decision), np.bool_)
        is_last[:-1] = decision[1:] != decision[:-1]
        return cls(decision[is_last], value[is_last], frozenset(revoked.tolist()))

    def get_rewards(self, decisions: Numbers) -> FloatArray:
        """The reward of each of these decisions, (n,); NaN where none stands."""
        if not len(self.decisions):
            return np.full(len(decisions), np.nan)
        places = np.minimum(np.searchsorted(self.decisions, decisions), len(self.decisions) - 1)
        found: FloatArray = np.where(self.decisions[places] == decisions, self.values[places], np.nan)
        return found

    def select(self, events: Numbers) -> Self:
        """Return what is known of these events alone, (n,)."""
        kept = np.isin(self.decisions, events)
        return type(self)(self.decisions[kept], self.values[kept], self.revoked.intersection(events.tolist()))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, to the last bit."""
        return {
            "decisions": self.decisions.tolist(),
            "values": self.values.tolist(),
            "revoked": sorted(self.revoked),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        return cls(
            np.array(document["decisions"], np.int64),
            np.array(document["values"], np.float64),
            frozenset(document["revoked"]),
        )
