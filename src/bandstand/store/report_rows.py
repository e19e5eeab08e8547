"""What a report is made of, whichever engine keeps it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bandstand.store.tables.arms import ArmHistory
from bandstand.store.tables.gains import GainSums
from bandstand.store.tables.picks import LoggedPick


class ReportRows(NamedTuple):
    """Sums of a ledger.

    Attributes:
        gains: by day and policy.
        splits: what the users of each running split earned, and since when; by its kind.
        picks: the newest; ``None`` if not requested.
    """

    gains: GainSums
    splits: Mapping[str, tuple[ArmHistory, float]]
    picks: Sequence[LoggedPick] | None
