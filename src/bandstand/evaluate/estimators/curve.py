"""How an estimate moved while its log went on, in memory that does not grow with the log."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from bandstand.evaluate.estimators.logged_rows import FloatArray, LoggedRows

MAX_SLICES = 32
"""Most points of a curve; a log of that many rows or more has at least half as many."""

_SUMS = 7


class CurvePoint(NamedTuple):
    """One slice of the log.

    Attributes:
        until: rows from the log's start to the slice's end.
        value: SNIPS over the slice, Σ w r / Σ w; NaN if there is no weight.
        stderr: its standard error, √Σ w²(r − value)² / Σ w; NaN likewise.
        logged: mean reward of what was logged in the slice.
    """

    until: int
    value: float
    stderr: float
    logged: float


class Curve:
    """Sums over equal slices of a log of unknown length: where slices run out, neighbours are joined.

    A slice of width w holds rows kw to (k+1)w of the *log*, so that parts of it have the same slices, or wider ones.

    Args:
        first_row: rows of the log before those that are added here.
    """

    def __init__(self, first_row: int = 0) -> None:
        self._first = self._next = first_row
        self._width = 1
        self._sums: FloatArray = np.zeros((_SUMS, MAX_SLICES))  # of 1, r, w, w r, w², w² r, w² r²

    @property
    def _base(self) -> int:
        """The number of the first slice that is kept."""
        return self._first // self._width

    def add(self, rows: LoggedRows) -> None:
        """Take in a chunk."""
        after = self._next + len(rows)
        self._widen(self._first, after)
        slices = np.arange(self._next, after) // self._width - self._base
        r, w = rows.reward, rows.weight
        squared = w * w
        columns = (None, r, w, w * r, squared, squared * r, squared * r * r)
        self._sums += [np.bincount(slices, column, MAX_SLICES) for column in columns]
        self._next = after

    def merge(self, other: "Curve") -> None:
        """Take in another part of the log."""
        if other._next == other._first:
            return
        if self._next == self._first:
            self._first, self._next, self._width, self._sums = (
                other._first,
                other._next,
                other._width,
                other._sums.copy(),
            )
            return
        first, after = min(self._first, other._first), max(self._next, other._next)
        while self._width < other._width:
            self._join_neighbours(self._first)
        self._widen(first, after)
        places = (np.arange(MAX_SLICES) + other._base) * other._width // self._width - self._base
        used = other._sums[0] > 0  # the others may lie beyond the last slice
        self._sums += [np.bincount(places[used], column[used], MAX_SLICES) for column in other._sums]
        self._next = after

    def move_to(self, first_row: int) -> None:
        """Let what was counted from row 0 be from ``first_row`` on; slices stay whole, and some get longer."""
        rows = self._next - self._first
        while first_row + rows > (first_row // self._width + MAX_SLICES) * self._width:
            self._join_neighbours(self._first)
        starts = first_row + np.arange(MAX_SLICES) * self._width
        middles = (starts + np.minimum(starts + self._width, first_row + rows)) // 2
        places = np.clip(middles // self._width - first_row // self._width, 0, MAX_SLICES - 1)
        self._sums = np.array([np.bincount(places, column, MAX_SLICES) for column in self._sums])
        self._first, self._next = first_row, first_row + rows

    def _widen(self, first: int, after: int) -> None:
        """Join slices until those from row ``first`` to ``after`` are few enough, and count them from the first."""
        while after > (first // self._width + MAX_SLICES) * self._width:
            self._join_neighbours(self._first)
        if first < self._first:
            moved = self._base - first // self._width
            self._sums = np.hstack((np.zeros((_SUMS, moved)), self._sums[:, : MAX_SLICES - moved]))
            self._first = first

    def _join_neighbours(self, first: int) -> None:
        base = first // self._width
        places = (np.arange(MAX_SLICES) + base) // 2 - base // 2
        self._sums = np.array([np.bincount(places, column, MAX_SLICES) for column in self._sums])
        self._width *= 2

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values, to the last bit."""
        return {"first": self._first, "next": self._next, "width": self._width, "sums": self._sums.tolist()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        curve = cls(int(document["first"]))
        curve._next, curve._width = int(document["next"]), int(document["width"])
        curve._sums = np.array(document["sums"], np.float64).reshape(curve._sums.shape)
        return curve

    def to_points(self) -> list[CurvePoint]:
        """Return the slices so far; the last may be a short one."""
        ends = (self._first + np.cumsum(self._sums[0])).astype(int).tolist()
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
