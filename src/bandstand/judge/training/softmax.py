"""Fitting softmax regression on sparse features: one objective, full batches, fixed steps, the same result always.

    minimise  Σ_i c_i · (−log Σ_{l ∈ S_i} p_l(x_i))  +  λ/2 · ‖W − W₀‖²

S_i is the set of labels an example may have: one where the label is known, all of one polarity where only that is. W₀
is where learning starts and what it is drawn back to: zero, or weights learned elsewhere.

Solved by Nesterov's accelerated gradient method with restarts (O'Donoghue and Candès 2015). Sums run in a fixed order
without BLAS, so results on two machines differ by rounding of exp and log alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.local.classifier import Floats
from bandstand.judge.local.ngrams import BUCKETS, SCALES, Ids

_POWER_STEPS: Final = 20
_SAFETY: Final = 1.05
_BLOCK: Final = 1 << 15
"""How many entries are summed at once, so that what one sum needs stays in a cache near the processor."""


@dataclass(frozen=True, eq=False, slots=True)
class _SegmentSums:
    """Sums over segments of entries: Σ_{e ∈ segment} vector[indices[e]] · values[e].

    Attributes:
        indices: shape (entries,).
        values: shape (entries,).
        starts: shape (segments,): where each segment begins; none is empty.
    """

    indices: NDArray[np.intp]
    values: Floats
    starts: NDArray[np.intp]

    def compute(self, vectors: Floats) -> Floats:
        """Return the sums of many vectors, shape (vectors, segments), for vectors of shape (vectors, length)."""
        total, segments = len(self.indices), len(self.starts)
        firsts = np.unique(np.searchsorted(self.starts, np.arange(0, total, _BLOCK)))
        firsts = firsts[firsts < segments]
        begins = self.starts[firsts]
        products = np.empty(np.diff(begins, append=total).max())
        sums = np.empty((len(vectors), segments))
        for (first, after), (begin, end) in zip(
            pairwise([*firsts.tolist(), segments]), pairwise([*begins.tolist(), total]), strict=True
        ):
            indices, values, starts = self.indices[begin:end], self.values[begin:end], self.starts[first:after] - begin
            part = products[: end - begin]
            for vector, row in zip(vectors, sums, strict=True):
                vector.take(indices, out=part, mode="clip")  # all are in range, and any other mode copies
                np.multiply(part, values, out=part)
                np.add.reduceat(part, starts, out=row[first:after])
        return sums


@dataclass(frozen=True, eq=False, slots=True)
class DesignMatrix:
    """The features of many turns as one sparse matrix X, twice: by rows, and by those buckets that occur at all.

    Attributes:
        buckets: shape (occurring,): which they are, in order.
        by_row: what is summed for X W, with indices into ``buckets``.
        by_bucket: what is summed for Xᵀ G, with rows as indices.
    """

    buckets: NDArray[np.intp]
    by_row: _SegmentSums
    by_bucket: _SegmentSums

    @classmethod
    def from_features(cls, features: Sequence[Sequence[Ids]], scales: Sequence[float] = SCALES) -> "DesignMatrix":
        """Join the features of turns, each family at its scale; every turn has at least one."""
        columns = [np.concatenate(turn) for turn in features]
        values = np.concatenate(
            [
                np.full(len(ids), scale / max(len(ids), 1) ** 0.5)
                for turn in features
                for ids, scale in zip(turn, scales, strict=True)
            ]
        )
        lengths = np.array([len(row) for row in columns], dtype=np.intp)
        starts = np.concatenate([np.zeros(1, dtype=np.intp), np.cumsum(lengths)[:-1]])
        buckets, places = np.unique(np.concatenate(columns), return_inverse=True)
        order = np.argsort(places, kind="stable")
        rows = np.repeat(np.arange(len(lengths)), lengths)[order]
        firsts = np.searchsorted(places[order], np.arange(len(buckets)))
        return cls(buckets, _SegmentSums(places, values, starts), _SegmentSums(rows, values[order], firsts))

    def compute_product(self, weights: Floats) -> Floats:
        """Return X W, shape (rows, labels), for weights of shape (labels, BUCKETS)."""
        return self.by_row.compute(weights.take(self.buckets, axis=1)).T


def compute_softmax(logits: Floats) -> Floats:
    """Return the softmax of each row."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def fit(
    design: DesignMatrix,
    allowed: NDArray[np.bool_],
    counts: Floats,
    *,
    decay: float,
    iterations: int,
    start: tuple[Floats, Floats] | None = None,
    learns_bias: bool = True,
    rows: int = BUCKETS,
) -> tuple[Floats, Floats]:
    """Fit weights and bias.

    Args:
        design: the examples' features.
        allowed: shape (examples, labels): which labels each example may have; at least one.
        counts: shape (examples,): how much each example weighs.
        decay: λ.
        iterations: how many gradient steps.
        start: W₀ of shape (rows, labels) and its bias; zeros if there is none. The bias is not drawn back.
        learns_bias: whether the bias is trained.
        rows: how many buckets there are.

    Returns:
        Weights of shape (rows, labels) and bias of shape (labels,).
    """
    labels = allowed.shape[1]
    everywhere = np.zeros((labels, rows)) if start is None else np.array(start[0].T, order="C")
    origin = everywhere.take(design.buckets, axis=1)  # nothing moves the others
    offset = np.zeros(labels) if start is None else start[1].copy()
    step = 1.0 / (_compute_max_curvature(design, counts) + decay)
    weights, bias = origin.copy(), offset.copy()
    ahead, ahead_bias, momentum = weights, bias, 1.0
    for _ in range(iterations):
        p = compute_softmax(design.by_row.compute(ahead).T + ahead_bias)
        target = np.where(allowed, p, 0.0)
        slopes = (p - target / target.sum(axis=1, keepdims=True)) * counts[:, None]
        slope = design.by_bucket.compute(np.ascontiguousarray(slopes.T)) + decay * (ahead - origin)
        slope_bias = slopes.sum(axis=0) if learns_bias else np.zeros(labels)
        next_weights, next_bias = ahead - step * slope, ahead_bias - step * slope_bias
        moved, moved_bias = next_weights - weights, next_bias - bias
        uphill = (slope * moved).sum() + (slope_bias * moved_bias).sum() > 0
        next_momentum = 1.0 if uphill else (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        pull = 0.0 if uphill else (momentum - 1) / next_momentum
        ahead, ahead_bias = next_weights + pull * moved, next_bias + pull * moved_bias
        weights, bias, momentum = next_weights, next_bias, next_momentum
    everywhere[:, design.buckets] = weights
    return everywhere.T, bias


def _compute_max_curvature(design: DesignMatrix, counts: Floats) -> float:
    """Bound the curvature: the softmax's Hessian is at most ½, times the largest eigenvalue of Xᵀ diag(c) X."""
    direction, bias, size = np.ones((1, len(design.buckets))) / BUCKETS**0.5, 1.0, 1.0
    for _ in range(_POWER_STEPS):
        image = (design.by_row.compute(direction) + bias) * counts
        direction, bias = design.by_bucket.compute(image), float(image.sum())
        size = float((direction**2).sum() + bias**2) ** 0.5
        direction, bias = direction / size, bias / size
    return 0.5 * _SAFETY * size
