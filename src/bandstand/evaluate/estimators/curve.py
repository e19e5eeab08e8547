"""How an estimate moved while its log went on, in memory that does not grow with the log."""

import math
from typing import NamedTuple

import numpy as np

from bandstand.evaluate.estimators.logged_rows import FloatArray, LoggedRows

MAX_SLICES = 32
"""Most points of a curve; a log of that many rows or more has at least half as many."""

_SUMS = 7


class CurvePoint(NamedTuple):
    """One slice of the log.

    Attributes:
        until: rows from the log's start to the slice's end.
        value: SNIPS over the slice, Σ w r / Σ w; NaN where there is no weight.
        stderr: its standard error, √Σ w²(r − value)² / Σ w; NaN likewise.
        logged: mean reward of what was logged in the slice.
    """

    until: int
    value: float
    stderr: float
    logged: float


class Curve:
    """Sums over equal slices of a log of unknown length: where slices run out, neighbours are joined."""

    def __init__(self) -> None:
        self._rows = 0
        self._width = 1
        self._sums: FloatArray = np.zeros((_SUMS, MAX_SLICES))  # of 1, r, w, w r, w², w² r, w² r²

    def add(self, rows: LoggedRows) -> None:
        """Take in a chunk."""
        after = self._rows + len(rows)
        self._widen(after)
        slices = np.arange(self._rows, after) // self._width
        r, w = rows.reward, rows.weight
        squared = w * w
        columns = (None, r, w, w * r, squared, squared * r, squared * r * r)
        self._sums += [np.bincount(slices, column, MAX_SLICES) for column in columns]
        self._rows = after

    def merge(self, later: "Curve") -> None:
        """Take in the part of the log that follows; its slices stay whole, so that these may be of unequal length."""
        after = self._rows + later._rows
        self._widen(after)
        while self._width < later._width:
            self._join_neighbours()
        starts = self._rows + np.arange(MAX_SLICES) * later._width
        middles = (starts + np.minimum(starts + later._width, after)) // 2
        slices = np.clip(middles // self._width, 0, MAX_SLICES - 1)
        self._sums += [np.bincount(slices, column, MAX_SLICES) for column in later._sums]
        self._rows = after

    def _widen(self, rows: int) -> None:
        while rows > MAX_SLICES * self._width:
            self._join_neighbours()

    def _join_neighbours(self) -> None:
        joined = self._sums.reshape(_SUMS, MAX_SLICES // 2, 2).sum(axis=2)
        self._sums = np.hstack((joined, np.zeros_like(joined)))
        self._width *= 2

    def to_points(self) -> list[CurvePoint]:
        """Return the slices so far; the last may be a short one."""
        ends = np.cumsum(self._sums[0]).astype(int).tolist()
        return [self._build_point(end, *sums) for end, sums in zip(ends, self._sums.T.tolist(), strict=True) if sums[0]]

    @staticmethod
    def _build_point(
        until: int, n: float, r: float, w: float, wr: float, ww: float, wwr: float, wwrr: float
    ) -> CurvePoint:
        if w == 0:
            return CurvePoint(until, math.nan, math.nan, r / n)
        value = wr / w
        square = wwrr - 2 * value * wwr + value * value * ww
        return CurvePoint(until, value, math.sqrt(max(square, 0.0)) / w, r / n)
