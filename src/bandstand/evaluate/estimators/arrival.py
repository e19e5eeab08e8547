"""Which decisions got a reward, and whether that looks like chance."""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.estimators.accumulator import MEAN_WEIGHT_ERRORS
from bandstand.evaluate.estimators.logged_rows import FloatArray
from bandstand.evaluate.estimators.moments import Moments

_ROUNDING = 1e-9


class RewardArrival:
    """Counts decisions with and without a reward, and compares their importance weights.

    Where the arrival of a reward does not depend on the action taken, E[w | arrived] = E[w | not arrived] = 1. A gap of
    over three standard errors says that it does, and then the rewarded decisions are no sample of all. No gap proves
    nothing. Where only the happy answer, it shows as far as the target does more often than the logger what makes them
    so; in the weights of the logger itself, all 1, it never shows.
    """

    def __init__(self) -> None:
        self._came, self._missing = Moments(1), Moments(1)

    def add(self, weight: FloatArray, missing: NDArray[np.bool_]) -> None:
        """Take in the weights of a chunk, (n,), and which of its rewards never came, (n,)."""
        if missing.any():
            self._missing.add(weight[np.newaxis, missing])
            self._came.add(weight[np.newaxis, ~missing])
        else:
            self._came.add(weight[np.newaxis])

    def merge(self, later: "RewardArrival") -> None:
        """Take in the counts of another part of the log."""
        self._came.merge(later._came)
        self._missing.merge(later._missing)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values, to the last bit."""
        return {"came": self._came.to_json(), "missing": self._missing.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        arrival = cls()
        arrival._came = Moments.from_json(document["came"])
        arrival._missing = Moments.from_json(document["missing"])
        return arrival

    @property
    def rewarded_count(self) -> int:
        """Decisions with a reward."""
        return self._came.n

    @property
    def decision_count(self) -> int:
        """All decisions."""
        return self._came.n + self._missing.n

    def describe_selection_bias(self) -> str | None:
        """Return what speaks against chance, if anything does."""
        arrived, missing = self._came, self._missing
        if min(arrived.n, missing.n) <= 1:
            return None
        gap = float(arrived.mean[0] - missing.mean[0])
        error = math.sqrt(float(arrived.covariance[0, 0]) / arrived.n + float(missing.covariance[0, 0]) / missing.n)
        if abs(gap) <= MEAN_WEIGHT_ERRORS * error + _ROUNDING:
            return None
        return (
            f"rewards arrive selectively: the mean weight is {arrived.mean[0]:.4g} where one came and "
            f"{missing.mean[0]:.4g} where none did, over {MEAN_WEIGHT_ERRORS:g} standard errors apart, so whether one "
            "comes depends on what was done, and an estimate over the rewarded decisions alone is biased"
        )
