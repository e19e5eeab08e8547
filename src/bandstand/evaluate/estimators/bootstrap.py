"""The Poisson bootstrap: resampled sums of rows that are seen once."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.estimators.formulas import BASELINE, DENOMINATOR, NUMERATOR
from bandstand.evaluate.estimators.logged_rows import FloatArray

_LEVELS = 65_536
_CELLS_PER_BLOCK = 65_536


def _build_poisson_table() -> NDArray[np.uint8]:
    # The Poisson(1) distribution function inverted at every 16-bit number, ten times faster than a Poisson generator:
    # its mean is 1 to the last digit, its variance 0.99997.
    cumulative = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(16)])
    return np.searchsorted(np.round(cumulative * _LEVELS), np.arange(_LEVELS), side="right").astype(np.uint8)


class PoissonBootstrap:
    """Resampled estimates over a stream, in memory that does not grow with it.

    Each row enters each resample Poisson(1) times, which is what drawing n of n rows with replacement tends to, and
    needs no n: Hanley & MacGibbon (2006), "Creating non-parametric bootstrap samples using Poisson frequencies";
    Chamandy, Muralidharan, Najmi & Naidu (2012), "Estimating uncertainty for massive data streams". The draws follow
    the rows by their numbers, so the answer does not depend on how a log is cut into chunks, or into parts.

    Args:
        resamples: how many.
        seed: of the draws; None for a fresh one.
        first_row: rows of the log before those that are added here.
    """

    def __init__(self, resamples: int, seed: int | None, first_row: int = 0) -> None:
        self.resamples = resamples
        self._words = -(-resamples // 4)  # whole 64-bit words a row, four counts each
        self._bits = np.random.PCG64(seed).advance(first_row * self._words)
        self._table = _build_poisson_table()
        self._sums: FloatArray = np.zeros((4, resamples))

    def add(self, terms: FloatArray) -> None:
        """Take in a chunk of ``Formula.terms``, (4, n)."""
        rows = np.vstack((terms[[NUMERATOR, DENOMINATOR, BASELINE]], np.ones(terms.shape[1])))
        step = max(1, _CELLS_PER_BLOCK // self.resamples)
        for start in range(0, rows.shape[1], step):
            block = rows[:, start : start + step]
            self._sums += block @ self._draw_counts(block.shape[1])

    def merge(self, later: "PoissonBootstrap") -> None:
        """Take in the resamples of another part of the log, with the same seed and the number of its first row."""
        self._sums = self._sums + later._sums

    def to_json(self) -> list[list[float]]:
        """Return the sums as JSON values, to the last bit."""
        sums: list[list[float]] = self._sums.tolist()
        return sums

    def restore(self, document: Sequence[Sequence[float]]) -> None:
        """Put what :meth:`to_json` returned in the place of the sums."""
        self._sums = np.array(document, np.float64).reshape(self._sums.shape)

    def values(self) -> FloatArray:
        """Return the estimate of each resample, (resamples,), without those that hold no weight at all."""
        numerator, denominator, baseline, n = self._sums
        usable = (denominator != 0) & (n != 0)
        values: FloatArray = (numerator[usable] / denominator[usable]) + baseline[usable] / n[usable]
        return values

    def _draw_counts(self, rows: int) -> FloatArray:
        # Whole words a row keep the stream of draws independent of the block's size.
        words = self._bits.random_raw((rows, self._words))
        return self._table[words.view(np.uint16)[:, : self.resamples]].astype(np.float64)
