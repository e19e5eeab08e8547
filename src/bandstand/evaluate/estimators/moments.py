"""Means and co-moments of columns that arrive in chunks."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from bandstand.evaluate.estimators.logged_rows import FloatArray


class Moments:
    """Count, means and centred co-moments of m variables, merged chunk by chunk.

    Centred sums, since plain sums of squares lose every digit where the mean is large beside the spread. The merge is
    exact but for rounding: Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance".
    """

    def __init__(self, variables: int) -> None:
        self.n = 0
        self.mean: FloatArray = np.zeros(variables)
        self._comoment: FloatArray = np.zeros((variables, variables))

    def add(self, columns: FloatArray) -> None:
        """Take in a chunk, (m, n)."""
        n = columns.shape[1]
        if n == 0:
            return
        mean = columns.mean(axis=1)
        centred = columns - mean[:, np.newaxis]
        self._merge(n, mean, np.vecdot(centred[:, np.newaxis], centred))

    def merge(self, later: "Moments") -> None:
        """Take in what others were summed to."""
        if later.n:
            self._merge(later.n, later.mean, later._comoment)

    def _merge(self, n: int, mean: FloatArray, comoment: FloatArray) -> None:
        gap = mean - self.mean
        total = self.n + n
        self._comoment += comoment + np.outer(gap, gap) * (self.n * n / total)
        self.mean = mean if self.n == 0 else self.mean + gap * (n / total)
        self.n = total

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values, to the last bit."""
        return {"n": self.n, "mean": self.mean.tolist(), "comoment": self._comoment.tolist()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        moments = cls(len(document["mean"]))
        moments.n, moments.mean = int(document["n"]), np.array(document["mean"], np.float64)
        moments._comoment = np.array(document["comoment"], np.float64).reshape(moments._comoment.shape)
        return moments

    @property
    def covariance(self) -> FloatArray:
        """The sample covariance, (m, m), with divisor n − 1; NaN below two rows."""
        if self.n <= 1:
            return np.full_like(self._comoment, np.nan)
        return self._comoment / (self.n - 1)

    @property
    def mean_square(self) -> FloatArray:
        """The mean of each variable's square, (m,)."""
        square: FloatArray = np.diag(self._comoment) / self.n + self.mean**2
        return square
