"""Blocks: a ridge model of its own for each value of one field, such as each arm, inside one state.

A schema with a ``block`` ends every row with a number that names the row's block. What one block is taught moves its
own θ alone: the *disjoint* models of Li, Chu, Langford and Schapire 2010, algorithm 1. They are what one model over all
products of block and feature would learn, in B d² numbers instead of (B d)², and O(d²) arithmetic a reward instead of
O((B d)²). The sums are stacked, so that code that decays, compares or carries sums needs no change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bandstand.bandit.arrays import FloatArray, read_only
from bandstand.bandit.ridge import Posterior, Prior, RidgeState

BLOCK_MARKER = 10_000_000
"""Row b of B blocks ends with B · 10⁷ + b.

No feature may exceed 10⁶, so a row shows by itself whether it has a block, and code between the request and the sums
need not know.
"""


def create_empty_state(x: FloatArray) -> RidgeState:
    """Return the state that knows nothing yet of the model which the row x, (d,) or (d + 1,), belongs to."""
    if not has_block(x):
        return RidgeState.empty(x.size)
    return DisjointState.empty_blocks(int(x[-1]) // BLOCK_MARKER, x.size - 1)


def has_block(x: FloatArray) -> bool:
    """Return whether a row x belongs to a block."""
    return bool(x.size and x[-1] >= BLOCK_MARKER)


def get_block(x: FloatArray) -> int:
    """Return which block a row x that belongs to one, (d + 1,), is of."""
    return int(x[-1]) % BLOCK_MARKER


def state_from_json(document: Mapping[str, Any]) -> RidgeState:
    """Read the sums of either form back.

    Raises:
        ValueError: they are neither.
    """
    return DisjointState.from_json(document) if "blocks" in document else RidgeState.from_json(document)


def prior_from_json(document: Mapping[str, Any]) -> Prior:
    """Read a prior of either form back.

    Raises:
        ValueError: it is neither.
    """
    return DisjointPrior.from_json(document) if "blocks" in document else Prior.from_json(document)


@dataclass(frozen=True, eq=False)
class DisjointPrior(Prior):
    """What is believed of each of B blocks before a reward: ``mean`` is (B, d), ``covariance`` (B, d, d), one σ².

    What a :class:`Prior` derives from its covariance, each of its ``blocks`` derives for itself.
    """

    blocks: tuple[Prior, ...] = field(init=False, repr=False)
    """The prior of each block."""

    def __post_init__(self) -> None:
        blocks = tuple(
            Prior(mean, covariance, self.noise) for mean, covariance in zip(self.mean, self.covariance, strict=True)
        )
        mean = read_only(np.array([each.mean for each in blocks]))
        covariance = read_only(np.array([each.covariance for each in blocks]))
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)
        object.__setattr__(self, "posterior", DisjointPosterior(mean, covariance, noise=self.noise))

    @classmethod
    def from_blocks(cls, blocks: Sequence[Prior]) -> Self:
        """Return the prior of blocks that have these, of which the first one's noise is everybody's."""
        return cls(
            np.array([each.mean for each in blocks]), np.array([each.covariance for each in blocks]), blocks[0].noise
        )

    def to_json(self) -> dict[str, Any]:
        """Return the prior of every block as JSON values."""
        return {"blocks": [each.to_json() for each in self.blocks]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read ``to_json`` back, to the last bit.

        Raises:
            ValueError: an entry is missing, of another type or length, or not what a prior may be.
        """
        try:
            return cls.from_blocks([Prior.from_json(each) for each in document["blocks"]])
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a prior of blocks: {error}") from error


class DisjointState(RidgeState, eq=False, gc=False):
    """The sums of B models, (B, d + 1, d): ``gram`` is (B, d, d), ``b`` (B, d); all else is of all of them together.

    The rows that teach it are (d + 1,), the last number telling the block.
    """

    @property
    def width(self) -> int:
        """How many numbers B has: B d."""
        return self.b.size

    @classmethod
    def empty_blocks(cls, blocks: int, d: int) -> Self:
        """Return the state of so many models with d features that have met no reward."""
        return cls(read_only(np.zeros((blocks, d + 1, d))), 0.0, 0.0, 0)

    def with_reward(self, x: FloatArray, r: float, w: float = 1.0) -> Self:
        """Return the state after one more reward r for the row x, as :meth:`RidgeState.with_reward`."""
        block = self._find_block(x)
        return self._with_block_state(block, self._get_block_state(block).with_reward(x[:-1], r, w))

    def without_reward(self, x: FloatArray, r: float, w: float = 1.0) -> Self:
        """Return the state without one reward it holds, as :meth:`RidgeState.without_reward`."""
        block = self._find_block(x)
        left = self._get_block_state(block).without_reward(x[:-1], r, w)
        none = left.count == 0 and left.rr is not None
        return type(self).empty_blocks(*self.b.shape) if none else self._with_block_state(block, left)

    def compute_posterior(self, prior: Prior) -> "DisjointPosterior":
        """Compute each block's posterior from its sums."""
        priors = prior.blocks if isinstance(prior, DisjointPrior) else (prior,) * len(self.b)
        parts = [self._get_block_state(block).compute_posterior(each) for block, each in enumerate(priors)]
        return DisjointPosterior(
            read_only(np.array([part.mean for part in parts])),
            read_only(np.array([part.covariance for part in parts])),
            noise=prior.noise,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values: those of each block, and what they have in common."""
        parts = [self._get_block_state(block).to_json() for block in range(len(self.b))]
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
            sums = np.array([part.sums for part in parts])
            return cls(read_only(sums), parts[0].rr, parts[0].weight, parts[0].count)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a document of blocks: {error}") from error

    def _find_block(self, x: FloatArray) -> int:
        blocks, block = divmod(int(x[-1]), BLOCK_MARKER) if has_block(x) else (0, 0)
        if (blocks, x.size - 1) != self.b.shape or block >= blocks:
            raise ValueError(f"x of shape {x.shape} does not fit {len(self.b)} blocks of {self.b.shape[1]} features")
        return block

    def _get_block_state(self, block: int) -> RidgeState:
        """Return one block's sums, with what is counted of all of them together."""
        return RidgeState(self.sums[block], self.rr, self.weight, self.count)

    def _with_block_state(self, block: int, state: RidgeState) -> Self:
        sums = self.sums.copy()
        sums[block] = state.sums
        return type(self)(read_only(sums), state.rr, state.weight, state.count)


def compute_block_prior(prior: Prior) -> Prior:
    """Return what is believed of a block that nothing is known of; a prior without blocks is that itself."""
    if not isinstance(prior, DisjointPrior):
        return prior
    return Prior(prior.mean.mean(axis=0), prior.covariance.mean(axis=0), prior.noise)


def to_disjoint_posterior(posterior: Posterior, blocks: int) -> Posterior:
    """Return the posterior of a number of blocks before any reward: the same for each.

    Args:
        posterior: of one of them; where it is of all already, it is returned.
        blocks: B.
    """
    if isinstance(posterior, DisjointPosterior):
        return posterior
    d = posterior.mean.size
    return DisjointPosterior(
        np.broadcast_to(posterior.mean, (blocks, d)),
        np.broadcast_to(posterior.covariance, (blocks, d, d)),
        noise=posterior.noise,
    )


@dataclass(slots=True, eq=False)
class DisjointPosterior(Posterior):
    """What is believed of the θ of each of B models: ``mean`` is (B, d), ``covariance`` (B, d, d)."""

    def compute_means(self, x: FloatArray) -> FloatArray:
        """Return θ·x at the posterior mean of each row's block, for x of shape (K, d + 1): shape (K,)."""
        return np.asarray(np.vecdot(self.mean[_decode_blocks(x)], x[:, :-1]))

    def compute_widths(self, x: FloatArray) -> FloatArray:
        """Return √(xᵀ V x) under each row's block, as :meth:`Posterior.compute_widths`."""
        features, widths = x[:, :-1], np.zeros(len(x))
        for block, rows in _group_rows(x):
            widths[rows] = Posterior(self.mean[block], self.covariance[block]).compute_widths(features[rows])
        return widths

    def compute_draw_deviations(self, x: FloatArray, normals: FloatArray, first: int, count: int) -> FloatArray:
        """Return what draws of each row's θ add to its mean; blocks draw apart.

        See :meth:`Posterior.compute_draw_deviations`.
        """
        features, reaches = x[:, :-1], np.zeros((len(x), count))
        windows = len(normals) - count + 1
        for block, rows in _group_rows(x):
            start = (first + block * _WINDOW_STRIDE) % windows
            reaches[rows] = Posterior(self.mean[block], self.covariance[block]).compute_draw_deviations(
                features[rows], normals, start, count
            )
        return reaches

    def with_reward(self, x: FloatArray, r: float, w: float, noise: float) -> Self:
        """Return the posterior after one more reward, as :meth:`Posterior.with_reward`."""
        block = int(x[-1]) % BLOCK_MARKER
        after = Posterior(self.mean[block], self.covariance[block]).with_reward(x[:-1], r, w, noise)
        mean, covariance = self.mean.copy(), self.covariance.copy()
        mean[block], covariance[block] = after.mean, after.covariance
        return type(self)(read_only(mean), read_only(covariance), self.steps + 1, self.noise)


_WINDOW_STRIDE = 131
"""Between the windows of two blocks: more than a window of draws, so that neighbours share none."""


def _decode_blocks(x: FloatArray) -> npt.NDArray[np.int64]:
    return x[:, -1].astype(np.int64) % BLOCK_MARKER


def _group_rows(x: FloatArray) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """Return the rows of each block that occurs."""
    blocks = _decode_blocks(x)
    return [(int(block), np.flatnonzero(blocks == block)) for block in np.unique(blocks)]
