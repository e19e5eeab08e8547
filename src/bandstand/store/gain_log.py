"""What a store promises about gains: holdouts, launches, and what decisions earned compared with the alternatives."""

from collections.abc import Sequence
from typing import Protocol

from bandstand.store.tables.arms import ArmHistory
from bandstand.store.tables.gains import GainSums
from bandstand.store.tables.launches import LaunchEvent
from bandstand.store.tables.splits import HoldoutStart


class GainLog(Protocol):
    """What decisions earned compared with the alternatives, summed a little behind the commits."""

    async def set_holdout(self, definition: str | None) -> HoldoutStart | None:
        """Say who is held out from now on, if anybody; a holdout of the same definition as the last continues.

        Returns:
            Its beginning, which an earlier start may have been; ``None`` for no holdout.
        """

    async def log_launch(self, event: LaunchEvent, *, after: int) -> LaunchEvent:
        """Log an event of a launch, synced; returns it with its number, which one that begins a step begins it with.

        Args:
            event: what happened.
            after: number of the newest event of any launch that it rests on; 0 for none.

        Raises:
            MovedError: another process has logged one since.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def list_launches(self) -> Sequence[LaunchEvent]:
        """Every event of every launch, the oldest first."""

    async def follow_gains(self) -> None:
        """Take in what is committed by now, which is else done within seconds."""

    async def load_gain_sums(self) -> GainSums:
        """The sums by day and policy, as far as they have come."""

    async def load_arms(self, split: int) -> ArmHistory:
        """The result of the users of each arm of a split, by the number of the event that began it, as far as that."""
