"""Fitting softmax regression on sparse features: one objective, full batches, fixed steps, the same result always.

    minimise  Σ_i c_i · (−log Σ_{l ∈ S_i} p_l(x_i))  +  λ/2 · ‖W − W₀‖²

S_i is the set of labels an example may have: one where the label is known, all of one polarity where only that is. W₀
is where learning starts and what it is drawn back to: zero, or weights learned elsewhere.

Solved by Nesterov's accelerated gradient method with restarts (O'Donoghue and Candès 2015). Sums run in a fixed order
without BLAS, so results on two machines differ by rounding of exp and log alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.local.classifier import Floats
from bandstand.judge.local.ngrams import BUCKETS, SCALES, Features

_POWER_STEPS: Final = 20
_SAFETY: Final = 1.05


@dataclass(frozen=True, eq=False, slots=True)
class DesignMatrix:
    """The features of many turns as one sparse matrix, by rows.

    Attributes:
        columns: shape (entries,): the bucket of each entry.
        values: shape (entries,).
        starts: shape (rows,): where each row begins.
        rows: shape (entries,): the row of each entry.
    """

    columns: NDArray[np.intp]
    values: Floats
    starts: NDArray[np.intp]
    rows: NDArray[np.intp]

    @classmethod
    def from_features(cls, features: Sequence[Features]) -> "DesignMatrix":
        """Join the features of turns, each family at its scale; every turn has at least one."""
        columns = [np.concatenate(turn) for turn in features]
        values = [
            np.concatenate(
                [np.full(len(ids), scale / max(len(ids), 1) ** 0.5) for ids, scale in zip(turn, SCALES, strict=True)]
            )
            for turn in features
        ]
        lengths = np.array([len(row) for row in columns], dtype=np.intp)
        starts = np.concatenate([np.zeros(1, dtype=np.intp), np.cumsum(lengths)[:-1]])
        return cls(np.concatenate(columns), np.concatenate(values), starts, np.repeat(np.arange(len(lengths)), lengths))

    def compute_product(self, weights: Floats) -> Floats:
        """Return X W, shape (rows, labels), for weights of shape (labels, BUCKETS)."""
        return np.stack(
            [np.add.reduceat(column[self.columns] * self.values, self.starts) for column in weights], axis=1
        )

    def compute_transposed_product(self, slopes: Floats) -> Floats:
        """Return (Xᵀ G)ᵀ, shape (labels, BUCKETS), for slopes of shape (rows, labels)."""
        return np.stack(
            [
                np.bincount(self.columns, weights=self.values * column[self.rows], minlength=BUCKETS)
                for column in slopes.T
            ]
        )


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
) -> tuple[Floats, Floats]:
    """Fit weights and bias.

    Args:
        design: the examples' features.
        allowed: shape (examples, labels): which labels each example may have; at least one.
        counts: shape (examples,): how much each example weighs.
        decay: λ.
        iterations: how many gradient steps.
        start: W₀ of shape (BUCKETS, labels) and its bias; zeros where there is none. The bias is not drawn back.
        learns_bias: whether the bias moves at all.

    Returns:
        Weights of shape (BUCKETS, labels) and bias of shape (labels,).
    """
    labels = allowed.shape[1]
    origin = np.zeros((labels, BUCKETS)) if start is None else np.ascontiguousarray(start[0].T)
    offset = np.zeros(labels) if start is None else start[1].copy()
    step = 1.0 / (_compute_max_curvature(design, counts) + decay)
    weights, bias = origin.copy(), offset.copy()
    ahead, ahead_bias, momentum = weights, bias, 1.0
    for _ in range(iterations):
        p = compute_softmax(design.compute_product(ahead) + ahead_bias)
        target = np.where(allowed, p, 0.0)
        slopes = (p - target / target.sum(axis=1, keepdims=True)) * counts[:, None]
        slope = design.compute_transposed_product(slopes) + decay * (ahead - origin)
        slope_bias = slopes.sum(axis=0) if learns_bias else np.zeros(labels)
        next_weights, next_bias = ahead - step * slope, ahead_bias - step * slope_bias
        moved, moved_bias = next_weights - weights, next_bias - bias
        uphill = (slope * moved).sum() + (slope_bias * moved_bias).sum() > 0
        next_momentum = 1.0 if uphill else (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        pull = 0.0 if uphill else (momentum - 1) / next_momentum
        ahead, ahead_bias = next_weights + pull * moved, next_bias + pull * moved_bias
        weights, bias, momentum = next_weights, next_bias, next_momentum
    return weights.T, bias


def _compute_max_curvature(design: DesignMatrix, counts: Floats) -> float:
    """Bound the curvature: the softmax's Hessian is at most ½, times the largest eigenvalue of Xᵀ diag(c) X."""
    direction, bias, size = np.ones((1, BUCKETS)) / BUCKETS**0.5, 1.0, 1.0
    for _ in range(_POWER_STEPS):
        image = (design.compute_product(direction)[:, 0] + bias) * counts
        direction, bias = design.compute_transposed_product(image[:, None]), float(image.sum())
        size = float((direction**2).sum() + bias**2) ** 0.5
        direction, bias = direction / size, bias / size
    return 0.5 * _SAFETY * size
