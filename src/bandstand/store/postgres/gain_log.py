"""Gains, which a shared ledger does not sum yet: what asks for them is refused in a sentence."""

from collections.abc import Sequence
from typing import NoReturn

from bandstand.errors import UnsupportedByEngineError
from bandstand.store.tables.arms import ArmHistory
from bandstand.store.tables.gains import GainSums
from bandstand.store.tables.launches import LaunchEvent
from bandstand.store.tables.splits import HoldoutStart


class SharedGains:
    """No gains, as :class:`bandstand.store.gain_log.GainLog` would have them."""

    async def set_holdout(self, definition: str | None) -> HoldoutStart | None:
        """Nobody is held out."""
        return None if definition is None else _refuse("the ledger of STATE_URL keeps no holdout yet")

    async def log_launch(self, event: LaunchEvent) -> LaunchEvent:
        """Nothing is launched: what decides over a launch are sums of gains."""
        del event
        return _refuse("the ledger of STATE_URL keeps no launches yet: promote the policy, or run an EXPERIMENT")

    async def list_launches(self) -> Sequence[LaunchEvent]:
        """There are none."""
        return []

    async def follow_gains(self) -> None:
        """There is nothing to take in."""

    async def load_gain_sums(self) -> GainSums:
        """They are not summed."""
        return _refuse("the ledger of STATE_URL keeps no sums of gains yet")

    async def load_arms(self, split: int) -> ArmHistory:
        """They are not summed."""
        del split
        return _refuse("the ledger of STATE_URL keeps no sums by arm yet")


def _refuse(reason: str) -> NoReturn:
    raise UnsupportedByEngineError(reason)
