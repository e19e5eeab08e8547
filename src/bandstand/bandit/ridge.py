"""Bayesian linear regression in sufficient statistics: sums that are the truth, a posterior derived from them.

With prior θ ~ N(μ, Σ) and reward r | x ~ N(θ·x, σ²/w), the posterior after any rewards is N(m, V) with

    V = (Σ⁻¹ + G/σ²)⁻¹,  m = V (Σ⁻¹ μ + B/σ²),  G = Σ w x xᵀ,  B = Σ w r x

(Bishop 2006, eq. 3.50 and 3.51). The sums know no prior, so another prior is put under them without touching what is
stored, and a reward is taken back by subtracting what it added.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from bandstand.bandit.arrays import FloatArray, read_only

RECOMPUTED_DIMENSION = 16
"""Up to this d the posterior is recomputed from the sums: 8 µs at d = 16, where a rank-one update takes 4."""

REFRESH_AFTER = 128
"""Rank-one updates before a posterior is recomputed from the sums, which bounds what rounding piles up."""

_LARGEST_SUM, _ILL_CONDITIONED = 1e150, 1e8
_RESIDUE, _SYMMETRY = 1e-6, 1e-9


class RidgeState(Struct, eq=False, gc=False):  # not frozen: to refuse a change takes as long as small sums
    """What the rewards so far taught one linear model; immutable, its arrays read-only.

    Attributes:
        sums: G = Σ w x xᵀ and, as one more row, B = Σ w r x: shape (d + 1, d). One array, for at small d it is calls
            that take time.
        rr: Σ w r², from which noise is estimated; None if it is unknown (imported state).
        weight: Σ w.
        count: how many rewards.
    """

    sums: FloatArray
    rr: float | None
    weight: float
    count: int

    @property
    def gram(self) -> FloatArray:
        """G, shape (d, d), without a ridge, symmetric to the last bit."""
        return self.sums[..., :-1, :]

    @property
    def b(self) -> FloatArray:
        """B, shape (d,)."""
        return self.sums[..., -1, :]

    @property
    def width(self) -> int:
        """How many numbers B has: d."""
        return int(self.sums.shape[1])

    @classmethod
    def empty(cls, d: int) -> Self:
        """Return the state of a model with d features that has met no reward."""
        return cls(read_only(np.zeros((d + 1, d))), 0.0, 0.0, 0)

    @classmethod
    def from_sums(cls, gram: FloatArray, b: FloatArray, rr: float | None, weight: float, count: int) -> Self:
        """Return a state of given sums, copied.

        Raises:
            ValueError: a shape does not fit, a number is not finite or negative where it cannot be, or ``gram`` is not
                symmetric (to 1e-9 of its largest entry).
        """
        gram, b = np.array(gram, np.float64), np.array(b, np.float64)
        if b.ndim != 1 or b.size == 0 or gram.shape != (b.size, b.size):
            raise ValueError(f"gram of shape {gram.shape} does not fit b of shape {b.shape}")
        scalars = (weight, 0.0 if rr is None else rr)
        if not (np.isfinite(gram).all() and np.isfinite(b).all() and all(math.isfinite(each) for each in scalars)):
            raise ValueError("ridge sums must be finite")
        if min(scalars) < 0.0 or count < 0:
            raise ValueError("rr, weight and count cannot be negative")
        if np.abs(gram - gram.T).max() > _SYMMETRY * np.abs(gram).max():
            raise ValueError("gram must be symmetric")
        sums = np.vstack(((gram + gram.T) / 2.0, b))
        return cls(read_only(sums), None if rr is None else float(rr), float(weight), int(count))

    def with_reward(self, x: FloatArray, r: float, w: float = 1.0) -> Self:
        """Return the state after one more reward r for features x of shape (d,), counted with weight w.

        Raises:
            ValueError: x is of another shape, or x, r or w is not finite, or w ≤ 0; nothing has changed.
        """
        sums = self._compute_contribution(x, r, w)
        sums += self.sums
        rr = None if self.rr is None else self.rr + r * r * w
        return type(self)(read_only(sums), rr, self.weight + w, self.count + 1)

    def without_reward(self, x: FloatArray, r: float, w: float = 1.0) -> Self:
        """Return the state without one reward it holds: exactly what ``updated`` added is subtracted.

        Without its last reward it is the zero state, free of rounding.

        Raises:
            ValueError: as ``updated``; or the sums, to 1e-6 of their largest entry, cannot have held this reward.
        """
        sums, weight = self.sums - self._compute_contribution(x, r, w), self.weight - w
        rr = None if self.rr is None else self.rr - r * r * w
        floor = -_RESIDUE * max(1.0, float(self.gram.max()))
        if self.count < 1 or sums.diagonal().min() < floor or weight < floor or (rr is not None and rr < floor):
            raise ValueError("this reward is not in the sums")
        if self.count == 1 and rr is not None:
            return type(self).empty(x.size)
        return type(self)(read_only(sums), None if rr is None else max(rr, 0.0), max(weight, 0.0), self.count - 1)

    def with_decay(self, share: float) -> Self:
        """Return the state in which every reward weighs ``share`` in [0, 1] of what it did; they stay as many."""
        rr = None if self.rr is None else self.rr * share
        return type(self)(read_only(self.sums * share), rr, self.weight * share, self.count)

    def compute_posterior(self, prior: "Prior") -> "Posterior":
        """Return the posterior under a prior, computed from these sums."""
        return compute_posterior(self, prior)

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values; ``gram`` is its upper triangle, row by row, d(d+1)/2 numbers."""
        return {
            "gram": self.gram[_build_triangle_indices(self.b.size)].tolist(),
            "b": self.b.tolist(),
            "rr": self.rr,
            "weight": self.weight,
            "count": self.count,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read ``to_json`` back, to the last bit.

        Raises:
            ValueError: an entry is missing, of another type or length, or not finite.
        """
        try:
            b = np.array(document["b"], np.float64)
            gram = np.zeros((b.size, b.size))
            gram[_build_triangle_indices(b.size)] = np.array(document["gram"], np.float64)
            gram.T[_build_triangle_indices(b.size)] = gram[_build_triangle_indices(b.size)]
            return cls.from_sums(gram, b, document["rr"], document["weight"], document["count"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a ridge document: {error}") from error

    def _compute_contribution(self, x: FloatArray, r: float, w: float) -> FloatArray:
        """Return w x xᵀ and w r x of one reward, as ``sums`` has them."""
        rows, d = self.sums.shape
        if x.shape != (d,):
            raise ValueError(f"x of shape {x.shape} does not fit a state of shape {(d,)}")
        # The length of x finds every NaN and infinity in it, and keeps the sums far from overflow.
        length = math.hypot(*x.tolist())
        if not (w > 0.0 and math.isfinite(r) and length * length * w < _LARGEST_SUM and w < _LARGEST_SUM):
            raise ValueError("x and r must be finite, w finite and positive")
        left = np.empty((rows, 1))
        left[:-1, 0] = x
        left[-1, 0] = r * w
        # Scaled after multiplying: (w x)ᵢ xⱼ and (w x)ⱼ xᵢ may differ in the last bit. A product of matrices, since for
        # small ones that takes less time than an element-wise one; it adds up nothing.
        contribution: FloatArray = left.dot(x[None])
        if w != 1.0:
            contribution[:-1] *= w
        return contribution


@dataclass(frozen=True, eq=False)
class Prior:
    """What is believed of θ before a user's first reward: N(μ, Σ), and the noise σ² of a reward.

    Args:
        mean: μ, shape (d,).
        covariance: Σ, shape (d, d), symmetric and positive semi-definite; it need not be invertible.
        noise: σ² > 0, a variance.

    Raises:
        ValueError: an argument is not as described.
    """

    mean: FloatArray
    covariance: FloatArray
    noise: float
    factor: FloatArray = field(init=False, repr=False)
    """L with Σ = L Lᵀ, shape (d, d)."""
    ridge: FloatArray | None = field(init=False, repr=False)
    """σ² Σ⁻¹, shape (d, d), what is added to G; None if Σ is too near to singular."""
    pull: FloatArray = field(init=False, repr=False)
    """σ² Σ⁻¹ μ, shape (d,), what is added to B; 0 if there is no ridge."""
    standard_form: bool = field(init=False, repr=False)
    """Whether this is the standard prior, whose posterior needs a little less arithmetic."""
    most: float = field(init=False, repr=False)
    """The largest entry of ridge + G with which an inverse is still exact enough."""
    posterior: "Posterior" = field(init=False, repr=False)
    """What :meth:`to_posterior` returns, made once."""

    def __post_init__(self) -> None:
        mean, covariance = np.array(self.mean, np.float64), np.array(self.covariance, np.float64)
        if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
            raise ValueError(f"covariance of shape {covariance.shape} does not fit a mean of shape {mean.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all() and 0.0 < self.noise < math.inf):
            raise ValueError("a prior must be finite and its noise positive")
        # Of the correlations, not of the covariance: columns in other units differ by powers of ten, and eigh would
        # leave nothing of the small ones.
        scale = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
        scale = np.where(scale > 0.0, scale, 1.0)
        correlation = covariance / np.multiply.outer(scale, scale)
        eigenvalues, vectors = np.linalg.eigh(correlation)
        if np.abs(correlation - correlation.T).max() > _SYMMETRY or eigenvalues.min() < -_SYMMETRY:
            raise ValueError("a prior's covariance must be symmetric and positive semi-definite")
        largest, smallest = (
            float(bound(eigenvalues) * bound(scale) ** 2) for bound in (np.max, np.min)
        )  # bounds of the covariance's own
        ridge, pull, most = None, np.zeros(mean.size), 0.0
        if smallest * _ILL_CONDITIONED > largest:
            inverse = (vectors / eigenvalues).dot(vectors.T) / np.multiply.outer(scale, scale) * self.noise
            ridge = read_only((inverse + inverse.T) / 2.0)
            pull, most = ridge.dot(mean), _ILL_CONDITIONED * self.noise / largest
        standard = not mean.any() and np.array_equal(covariance, np.eye(mean.size)) and self.noise == 1.0
        for name, value in (
            ("mean", read_only(mean)),
            ("covariance", read_only(covariance)),
            ("factor", read_only(scale[:, None] * vectors * np.sqrt(np.maximum(eigenvalues, 0.0)))),
            ("ridge", ridge),
            ("pull", read_only(pull)),
            ("standard_form", standard),
            ("most", most),
            ("posterior", Posterior(read_only(mean), read_only(covariance), noise=self.noise)),
        ):
            object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """Return the prior as JSON values; ``covariance`` is its upper triangle, row by row."""
        return {
            "mean": self.mean.tolist(),
            "covariance": self.covariance[_build_triangle_indices(self.mean.size)].tolist(),
            "noise": self.noise,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read ``to_json`` back, to the last bit.

        Raises:
            ValueError: an entry is missing, of another type or length, or not what a prior may be.
        """
        try:
            mean = np.array(document["mean"], np.float64)
            covariance = np.zeros((mean.size, mean.size))
            covariance[_build_triangle_indices(mean.size)] = np.array(document["covariance"], np.float64)
            covariance.T[_build_triangle_indices(mean.size)] = covariance[_build_triangle_indices(mean.size)]
            return cls(mean, covariance, float(document["noise"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a prior: {error}") from error

    def to_posterior(self) -> "Posterior":
        """Return the belief about a user without rewards: the prior itself."""
        return self.posterior

    @classmethod
    def build_standard(cls, d: int) -> Self:
        """Return μ = 0, Σ = I, σ² = 1, under which V⁻¹ = I + Σ x xᵀ: the ridge of LinUCB's paper."""
        return cls(np.zeros(d), np.eye(d), 1.0)


@dataclass(slots=True, eq=False)
class Posterior:
    """What is believed of θ now: N(m, V); immutable as :class:`RidgeState` is.

    Attributes:
        mean: m, shape (d,).
        covariance: V, shape (d, d).
        steps: rank-one updates since it was computed from the sums.
        noise: σ², the variance of a reward around θ·x: what the size of a difference in reward is measured by.
    """

    mean: FloatArray
    covariance: FloatArray
    steps: int = 0
    noise: float = 1.0

    def compute_means(self, x: FloatArray) -> FloatArray:
        """Return m·x for each row of x (K, d): shape (K,)."""
        return np.asarray(x.dot(self.mean))

    def compute_widths(self, x: FloatArray) -> FloatArray:
        """Return √(xᵀ V x), the standard deviation of θ·x, for each row of x (K, d): shape (K,)."""
        variance = np.vecdot(x.dot(self.covariance), x)
        # Rounding can leave a variance of zero at −1e-20, whose root is NaN.
        widths: FloatArray = np.sqrt(np.abs(variance, out=variance), out=variance)
        return widths

    def compute_draw_deviations(self, x: FloatArray, normals: FloatArray, first: int, count: int) -> FloatArray:
        """Return (θ − m)·x for each row of x (K, d) and each of ``count`` draws θ ~ N(m, V): shape (K, count).

        Args:
            x: the rows.
            normals: standard normal draws, (n, d), of which a window makes the θ.
            first: where the window begins, at most n − count.
            count: how many draws.
        """
        return np.asarray(x.dot(_root(self.covariance)).dot(normals[first : first + count].T))

    def with_reward(self, x: FloatArray, r: float, w: float, noise: float) -> Self:
        """Return the posterior after one more reward, in O(d²) (Sherman and Morrison 1950).

        u = V x, g = w/(σ² + w xᵀu), V' = V − g u uᵀ, m' = m + g (r − x·m) u.
        """
        u = self.covariance.dot(x)
        gain = w / (noise + w * float(x.dot(u)))
        mean = self.mean + (gain * (r - float(x.dot(self.mean)))) * u
        covariance = self.covariance - np.multiply.outer(gain * u, u)
        return type(self)(read_only(mean), read_only(covariance), self.steps + 1, self.noise)


def compute_posterior(state: RidgeState, prior: Prior) -> Posterior:
    """Compute the posterior from the sums.

    With R = σ² Σ⁻¹: V = σ² (R + G)⁻¹ and m = (R + G)⁻¹ (R μ + B), the module's formulae times σ². Where Σ is singular,
    or G has swallowed R, with Σ = L Lᵀ: V = L (I + LᵀGL/σ²)⁻¹ Lᵀ and m = μ + V (B − Gμ)/σ², without Σ⁻¹.
    """
    if prior.ridge is not None:
        precision = prior.ridge + state.gram
        # The largest entry of a positive definite matrix is on its diagonal, and bounds the condition number.
        if precision.max() <= prior.most:
            inverse = np.asarray(np.linalg.inv(precision), np.float64)
            if prior.standard_form:
                return Posterior(read_only(inverse.dot(state.b)), read_only(inverse))
            mean = inverse.dot(prior.pull + state.b)
            inverse *= prior.noise
            return Posterior(read_only(mean), read_only(inverse), noise=prior.noise)
    factor = prior.factor
    inner = compute_ridge_inverse(factor.T.dot(state.gram).dot(factor) / prior.noise)
    covariance = factor.dot(inner).dot(factor.T)
    mean = prior.mean + covariance.dot(state.b - state.gram.dot(prior.mean)) / prior.noise
    return Posterior(read_only(mean), read_only(covariance), noise=prior.noise)


def update_posterior(
    current: Posterior | None, state: RidgeState, prior: Prior, x: FloatArray, r: float, w: float = 1.0
) -> Posterior | None:
    """Carry a cached posterior over one more reward, or drop it.

    For small d, None: the next scoring recomputes it, once for however many rewards came between. For large d a
    rank-one update, and a recomputation from the sums after every ``REFRESH_AFTER`` of them.

    Args:
        current: the posterior before the reward; None if none is cached.
        state: the sums *after* the reward.
        prior: the prior ``current`` was computed under.
        x: the reward's features, shape (d,).
        r: the reward.
        w: its weight.
    """
    if current is None or state.width <= RECOMPUTED_DIMENSION:
        return None
    if current.steps >= REFRESH_AFTER:
        return state.compute_posterior(prior)
    return current.with_reward(x, r, w, prior.noise)


def compute_ridge_inverse(s: FloatArray) -> FloatArray:
    """Return (I + S)⁻¹ for each positive semi-definite S of a stack, shape (…, d, d)."""
    precision = _identity(s.shape[-1]) + s
    # The largest entry of a positive semi-definite matrix is on its diagonal, and bounds the condition number.
    if precision.max() <= _ILL_CONDITIONED:
        return np.asarray(np.linalg.inv(precision), np.float64)
    # S has swallowed digits of I, and an LU inverse may fail or be indefinite. Eigenvalues that rounding pushed below
    # zero are put back there, so that 0 ≤ V ≤ I holds at any scale.
    eigenvalues, vectors = np.linalg.eigh(s)
    inverse: FloatArray = vectors / (1.0 + np.maximum(eigenvalues, 0.0))[..., None, :] @ vectors.mT
    return inverse


def _root(covariance: FloatArray) -> FloatArray:
    """Return U with V = U Uᵀ; V may be singular where the prior is certain.

    U is *upper* triangular: with an intercept first, other units and origins of the features are an upper triangular
    map of θ, and U maps along, so that the same normals are the same draws.
    """
    try:
        return np.asarray(np.linalg.cholesky(covariance[::-1, ::-1])[::-1, ::-1], np.float64)
    except np.linalg.LinAlgError:
        eigenvalues, vectors = np.linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(np.maximum(eigenvalues, 0.0)), np.float64)


@lru_cache
def _identity(d: int) -> FloatArray:
    return read_only(np.eye(d))


@lru_cache
def _build_triangle_indices(d: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.triu_indices(d)
