"""Sums over equal windows of time: what an estimate was hour by hour, in memory that grows with the windows alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bandstand.evaluate.estimators.logged_rows import FloatArray, LoggedRows

_SUMS = 7


class WindowSums(NamedTuple):
    """Sums over the decisions of one window, with r the reward of each and w its importance weight.

    Attributes:
        begins: the window's beginning, seconds since the epoch.
        n: how many decisions count.
        r: Σ r.
        rr: Σ r².
        w: Σ w.
        wr: Σ w r.
        wwrr: Σ (w r)².
        reached: how many have w > 0.
    """

    begins: float
    n: int
    r: float
    rr: float
    w: float
    wr: float
    wwrr: float
    reached: int


class TimeWindows:
    """Windows of one length, which begin at its multiples since the epoch; those without a decision are left out.

    Args:
        seconds: their length.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sums: dict[int, FloatArray] = {}

    def add(self, ts: FloatArray, rows: LoggedRows) -> None:
        """Take in rows, made at ``ts``, (n,)."""
        r, w = rows.reward, rows.weight
        wr = w * r
        columns = np.stack([np.ones(len(rows)), r, r * r, w, wr, wr * wr, (w > 0).astype(np.float64)])
        found, places = np.unique(np.floor(ts / self._seconds).astype(np.int64), return_inverse=True)
        sums = np.zeros((len(found), _SUMS))
        np.add.at(sums, places, columns.T)
        self._add_sums(dict(zip(found.tolist(), sums, strict=True)))

    def merge(self, later: "TimeWindows") -> None:
        """Take in another part of the log, in windows of the same length."""
        self._add_sums(later._sums)

    def _add_sums(self, sums: dict[int, FloatArray]) -> None:
        for window, added in sums.items():
            known = self._sums.get(window)
            self._sums[window] = added if known is None else known + added

    def to_json(self) -> list[list[Any]]:
        """Return the sums as JSON values, to the last bit."""
        return [[window, sums.tolist()] for window, sums in self._sums.items()]

    def restore(self, document: Sequence[Sequence[Any]]) -> None:
        """Put what :meth:`to_json` returned, of windows of the same length, in the place of the sums."""
        self._sums = {int(window): np.array(sums, np.float64) for window, sums in document}

    def to_sums(self) -> list[WindowSums]:
        """Return the windows so far, in the order of time."""
        made = []
        for window, sums in sorted(self._sums.items()):
            n, r, rr, w, wr, wwrr, reached = sums.tolist()
            made.append(WindowSums(window * self._seconds, int(n), r, rr, w, wr, wwrr, int(reached)))
        return made
