"""Blocks: a ridge model of its own for each value of one field, such as each arm, inside one state.

A schema with a ``block`` ends every row with a number that tells the row's block. What one block is taught moves its
own θ alone: the *disjoint* models of Li, Chu, Langford and Schapire 2010, algorithm 1. They are what one model over
all products of block and feature would learn, in B d² numbers instead of (B d)², and O(d²) arithmetic a reward instead
of O((B d)²). The sums are stacked, so that all that decays, compares or carries sums goes on as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bandstand.bandit.arrays import FloatArray, read_only
from bandstand.bandit.ridge import Posterior, Prior, RidgeState

MARK = 10_000_000
"""Row b of B blocks ends with B · 10⁷ + b. No feature may exceed 10⁶, so a row tells by itself whether it has a block,
and nobody on its way from the request to the sums need know."""


def begun(x: FloatArray) -> RidgeState:
    """Return the state that knows nothing yet of the model which the row x, (d,) or (d + 1,), belongs to."""
    if not has_block(x):
        return RidgeState.zero(x.size)
    return BlockState.nothing(int(x[-1]) // MARK, x.size - 1)


def has_block(x: FloatArray) -> bool:
    """Tell whether a row x belongs to a block."""
    return bool(x.size and x[-1] >= MARK)


def sums_from_json(document: Mapping[str, Any]) -> RidgeState:
    """Read the sums of either form back.

    Raises:
        ValueError: they are neither.
    """
    return BlockState.from_json(document) if "blocks" in document else RidgeState.from_json(document)


class BlockState(RidgeState):
    """The sums of B models: ``gram`` is (B, d, d), ``b`` (B, d); ``rr``, ``weight``, ``count`` are of all together.

    The rows that teach it are (d + 1,), the last number telling the block.
    """

    __slots__ = ()

    @classmethod
    def nothing(cls, blocks: int, d: int) -> Self:
        """Return the state of so many models with d features that have met no reward."""
        return cls(read_only(np.zeros((blocks, d, d))), read_only(np.zeros((blocks, d))), 0.0, 0.0, 0)

    def updated(self, x: FloatArray, r: float, w: float = 1.0) -> Self:
        """Return the state after one more reward r for the row x, as :meth:`RidgeState.updated`."""
        block = self._block(x)
        return self._with(block, self._part(block).updated(x[:-1], r, w))

    def revoked(self, x: FloatArray, r: float, w: float = 1.0) -> Self:
        """Return the state without one reward it holds, as :meth:`RidgeState.revoked`."""
        block = self._block(x)
        left = self._part(block).revoked(x[:-1], r, w)
        none = left.count == 0 and left.rr is not None
        return type(self).nothing(*self.b.shape) if none else self._with(block, left)

    def under(self, prior: Prior) -> "BlockPosterior":
        """Compute each block's posterior from its sums."""
        parts = [self._part(block).under(prior) for block in range(len(self.b))]
        return BlockPosterior(
            read_only(np.array([part.mean for part in parts])), read_only(np.array([part.covariance for part in parts]))
        )

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values: those of each block, and what they have in common."""
        parts = [self._part(block).to_json() for block in range(len(self.b))]
        blocks = [{"gram": part["gram"], "b": part["b"]} for part in parts]
        return {"blocks": blocks, "rr": self.rr, "weight": self.weight, "count": self.count}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read ``to_json`` back, to the last bit.

        Raises:
            ValueError: an entry is missing, of another type or length, or not finite.
        """
        try:
            common = {key: document[key] for key in ("rr", "weight", "count")}
            parts = [RidgeState.from_json({**block, **common}) for block in document["blocks"]]
            gram, b = np.array([part.gram for part in parts]), np.array([part.b for part in parts])
            return cls(read_only(gram), read_only(b), parts[0].rr, parts[0].weight, parts[0].count)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a document of blocks: {error}") from error

    def _block(self, x: FloatArray) -> int:
        blocks, block = divmod(int(x[-1]), MARK) if has_block(x) else (0, 0)
        if (blocks, x.size - 1) != self.b.shape or block >= blocks:
            raise ValueError(f"x of shape {x.shape} does not fit {len(self.b)} blocks of {self.b.shape[1]} features")
        return block

    def _part(self, block: int) -> RidgeState:
        """Return one block's sums, with what is counted of all of them together."""
        return RidgeState(self.gram[block], self.b[block], self.rr, self.weight, self.count)

    def _with(self, block: int, part: RidgeState) -> Self:
        gram, b = self.gram.copy(), self.b.copy()
        gram[block], b[block] = part.gram, part.b
        return type(self)(read_only(gram), read_only(b), part.rr, part.weight, part.count)


def spread(posterior: Posterior, blocks: int) -> Posterior:
    """Return what is believed of so many blocks of which none was taught anything: the same of each.

    Args:
        posterior: of one of them; where it is of all already, it is returned.
        blocks: B.
    """
    if isinstance(posterior, BlockPosterior):
        return posterior
    d = posterior.mean.size
    return BlockPosterior(
        np.broadcast_to(posterior.mean, (blocks, d)), np.broadcast_to(posterior.covariance, (blocks, d, d))
    )


@dataclass(frozen=True, slots=True, eq=False)
class BlockPosterior(Posterior):
    """What is believed of the θ of each of B models: ``mean`` is (B, d), ``covariance`` (B, d, d)."""

    def means(self, x: FloatArray) -> FloatArray:
        """Return θ·x at the posterior mean of each row's block, for x of shape (K, d + 1): shape (K,)."""
        return np.asarray(np.vecdot(self.mean[_blocks(x)], x[:, :-1]))

    def widths(self, x: FloatArray) -> FloatArray:
        """Return √(xᵀ V x) under each row's block, as :meth:`Posterior.widths`."""
        features, widths = x[:, :-1], np.zeros(len(x))
        for block, rows in _rows(x):
            widths[rows] = Posterior(self.mean[block], self.covariance[block]).widths(features[rows])
        return widths

    def reaches(self, x: FloatArray, normals: FloatArray, first: int, count: int) -> FloatArray:
        """Return what draws of each row's θ add to its mean, as :meth:`Posterior.reaches`; blocks draw apart."""
        features, reaches = x[:, :-1], np.zeros((len(x), count))
        windows = len(normals) - count + 1
        for block, rows in _rows(x):
            start = (first + block * _APART) % windows
            reaches[rows] = Posterior(self.mean[block], self.covariance[block]).reaches(
                features[rows], normals, start, count
            )
        return reaches

    def updated(self, x: FloatArray, r: float, w: float, noise: float) -> Self:
        """Return the posterior after one more reward, as :meth:`Posterior.updated`."""
        block = int(x[-1]) % MARK
        after = Posterior(self.mean[block], self.covariance[block]).updated(x[:-1], r, w, noise)
        mean, covariance = self.mean.copy(), self.covariance.copy()
        mean[block], covariance[block] = after.mean, after.covariance
        return type(self)(read_only(mean), read_only(covariance), self.steps + 1)


_APART = 131
"""Between the windows of two blocks: more than a window of draws, so that neighbours share none."""


def _blocks(x: FloatArray) -> npt.NDArray[np.int64]:
    return x[:, -1].astype(np.int64) % MARK


def _rows(x: FloatArray) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """Return the rows of each block that occurs."""
    blocks = _blocks(x)
    return [(int(block), np.flatnonzero(blocks == block)) for block in np.unique(blocks)]
