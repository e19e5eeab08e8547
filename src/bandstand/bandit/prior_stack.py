"""Several population priors at once, each from some of the same few users: the EM of :mod:`bandstand.bandit.prior`.

Among few users each has a prior from the others alone. These are as many small estimates, and one after the other they
take their time calling numpy; here a step of all of them is one stack of matrices. Nothing is shared between them but
the call: an estimate has the same bits whatever the others are, and whatever its left-out user was taught.

EM's steps shrink slowly, and all in much the same way, so after every two of them it leaps ahead (SQUAREM: Varadhan and
Roland 2008, "Simple and globally convergent methods for accelerating the convergence of any EM algorithm"), which
arrives at the same mode after a third of the steps or less.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.prior import MAX_ITERATIONS, TOLERANCE, Hyperprior, UserSums
from bandstand.bandit.ridge import Prior

_MAX_NUMBERS = 1 << 18  # of the matrices of one stack: 2 MB, and as much again for their inverses
_ILL_CONDITIONED = 1e8

_CYCLE = 3  # steps of EM: two, and one after the leap
_MAX_LEAP = 64.0  # α
_MAX_DISTANCE = 10.0  # ten of the base's deviations, or a factor of e¹⁰
_LEAP_SLACK = 10.0  # the step after a leap may be so many times as long as the one before, else the leap is not made
_NOTHING = 1e-300


class _Estimates(NamedTuple):
    """K estimates, in coordinates in which the base prior is N(0, I)."""

    mean: FloatArray  # (K, d)
    covariance: FloatArray  # (K, d, d)
    noise: FloatArray  # (K,)

    def select(self, mask: npt.NDArray[np.bool_]) -> "_Estimates":
        """Return those for which ``mask`` (K,) is true."""
        return _Estimates(self.mean[mask], self.covariance[mask], self.noise[mask])

    def replace_where(self, mask: npt.NDArray[np.bool_], others: "_Estimates") -> "_Estimates":
        """Return ``others`` where ``mask`` (K,) is true, and these elsewhere."""
        return _Estimates(
            np.where(mask[:, None], others.mean, self.mean),
            np.where(mask[:, None, None], others.covariance, self.covariance),
            np.where(mask, others.noise, self.noise),
        )

    def to_vectors(self) -> FloatArray:
        """Return (μ, log Σ, log σ²), (K, d + d² + 1): lengths there are the same however the coordinates are turned."""
        eigenvalues, vectors = np.linalg.eigh(self.covariance)
        logarithm = (vectors * np.log(np.maximum(eigenvalues, _NOTHING))[:, None]) @ vectors.mT
        return np.concatenate([self.mean, logarithm.reshape(len(vectors), -1), np.log(self.noise)[:, None]], axis=1)

    @classmethod
    def from_vectors(cls, vectors: FloatArray, d: int) -> "_Estimates":
        """Return the estimates that ``to_vectors`` wrote."""
        eigenvalues, axes = np.linalg.eigh(vectors[:, d:-1].reshape(-1, d, d))
        return cls(vectors[:, :d], (axes * np.exp(eigenvalues)[:, None]) @ axes.mT, np.exp(vectors[:, -1]))


def fit_priors(
    users: UserSums,
    included: npt.NDArray[np.bool_],
    base: Prior,
    *,
    starts: Sequence[Prior | None],
    noise: float | None = None,
    hyperprior: Hyperprior = Hyperprior(),  # noqa: B008 (a tuple: nobody can change it)
    iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> list[Prior]:
    """Estimate K priors, each as :func:`bandstand.bandit.prior.fit_prior` does from the users it includes.

    Where there are steps enough it arrives at the same mode, and with fewer it is nearer to it. Deterministic.

    Args:
        users: the sums of all U users.
        included: shape (K, U), whom each estimate is from.
        base: as there.
        starts: where each of the K begins, None for ``base``.
        noise: as there.
        hyperprior: as there.
        iterations: as there.
        tolerance: as there.
    """
    held = np.full(len(included), np.nan if noise is None else noise)
    known = ~np.isnan(users.rr)
    partly = (included & ~known).any(axis=1) & np.isnan(held)
    if partly.any():
        begun = [starts[place] for place in np.flatnonzero(partly).tolist()]
        from_known = fit_priors(
            users,
            included[partly] & known,
            base,
            starts=begun,
            hyperprior=hyperprior,
            iterations=iterations,
            tolerance=tolerance,
        )
        held[partly] = [prior.noise for prior in from_known]
    stack = _Stack.from_users(users, base, hyperprior)
    priors: list[Prior] = []
    for part in _split(len(included), users.gram.size):
        estimates = _fit_part(
            stack, included[part], _begin(starts[part], held[part], base), held[part], iterations, tolerance
        )
        priors += _leave_coordinates(estimates, base)
    return [prior if row.any() else base for prior, row in zip(priors, included, strict=True)]


class _Stack(NamedTuple):
    """The users' sums in coordinates in which the base prior is N(0, I): θ = μ₀ + L₀ φ with Σ₀ = L₀ L₀ᵀ.

    Attributes:
        gram: L₀ᵀ G_u L₀, (U, d, d).
        b: L₀ᵀ (B_u − G_u μ₀), (U, d).
        square: Σ w (r − μ₀·x)², (U,); 0 where rr is unknown.
        weight: (U,).
        factor: L₀, (d, d).
        noise: the base's.
        hyperprior: how much the base weighs.
    """

    gram: FloatArray
    b: FloatArray
    square: FloatArray
    weight: FloatArray
    factor: FloatArray
    noise: float
    hyperprior: Hyperprior

    @classmethod
    def from_users(cls, users: UserSums, base: Prior, hyperprior: Hyperprior) -> "_Stack":
        gram = base.factor.T @ users.gram @ base.factor
        fitted = users.gram @ base.mean
        square = np.where(np.isnan(users.rr), 0.0, users.rr + np.vecdot(fitted - 2.0 * users.b, base.mean))
        b = (users.b - fitted) @ base.factor
        return cls((gram + gram.mT) / 2.0, b, square, users.weight, base.factor, base.noise, hyperprior)


def _fit_part(
    stack: _Stack,
    included: npt.NDArray[np.bool_],
    estimates: _Estimates,
    held: FloatArray,
    iterations: int,
    tolerance: float,
) -> _Estimates:
    """Return the estimates after EM, two steps and a leap at a time; each ends where it arrives."""
    chosen = included.astype(np.float64)
    moving = np.arange(len(chosen))
    current = estimates
    for _ in range(iterations // _CYCLE):
        once = _run_em_step(stack, chosen, current, held)
        twice = _run_em_step(stack, chosen, once, held)
        leapt = _extrapolate(current, once, twice)
        after_leap = _run_em_step(stack, chosen, leapt, held)
        is_nearer = _compute_distance(leapt, after_leap) <= _LEAP_SLACK * _compute_distance(once, twice)
        current = after_leap.replace_where(~is_nearer, twice)
        for every, moved in zip(estimates, current, strict=True):
            every[moving] = moved
        move = np.where(is_nearer, _compute_move(stack, leapt, after_leap), _compute_move(stack, once, twice))
        goes_on = move > tolerance
        if not goes_on.all():
            moving, chosen, held, current = moving[goes_on], chosen[goes_on], held[goes_on], current.select(goes_on)
        if not moving.size:
            return estimates
    for _ in range(iterations % _CYCLE):
        current = _run_em_step(stack, chosen, current, held)
    for every, moved in zip(estimates, current, strict=True):
        every[moving] = moved
    return estimates


def _extrapolate(start: _Estimates, once: _Estimates, twice: _Estimates) -> _Estimates:
    """Return where many steps of EM would lead: η₀ + 2α r + α² v, with α = |r|/|v|, r = η₁ − η₀, v = η₂ − 2η₁ + η₀.

    η is (μ, log Σ, log σ²), so that every η is an estimate, and the same one in whatever units features and rewards
    come. An estimate whose leap would be out of all proportion stays at the second step.
    """
    paths = [estimates.to_vectors() for estimates in (start, once, twice)]
    first = paths[1] - paths[0]
    change = paths[2] - paths[1] - first
    length = np.linalg.norm(first, axis=1) / np.maximum(np.linalg.norm(change, axis=1), _NOTHING)
    length = np.clip(length, 1.0, _MAX_LEAP)[:, None]
    leapt = paths[0] + 2.0 * length * first + length**2 * change
    is_far = np.linalg.norm(leapt - paths[2], axis=1) > _MAX_DISTANCE
    leapt[is_far] = paths[2][is_far]
    return _Estimates.from_vectors(leapt, start.mean.shape[1]).replace_where(is_far, twice)


def _run_em_step(stack: _Stack, chosen: FloatArray, current: _Estimates, held: FloatArray) -> _Estimates:
    """Return K estimates after one step: the equations of ``fit_prior``, where μ₀ = 0 and Σ₀ = I.

    The users' posteriors are V = (Σ⁻¹ + G/σ²)⁻¹ and m = V (Σ⁻¹μ + B/σ²), (K, U, d, d) and (K, U, d).

    Args:
        stack: the users.
        chosen: shape (K, U), 1 for those whom an estimate is from, and 0.
        current: the estimates.
        held: σ², shape (K,), NaN where it is estimated.
    """
    users, d = stack.b.shape
    weights = stack.hyperprior
    count = chosen.sum(axis=1)
    precision = np.asarray(np.linalg.inv(current.covariance), np.float64)
    scale = 1.0 / current.noise[:, None, None]
    posterior = _invert(precision, stack.gram, scale, current.covariance, chosen)
    pull = np.matvec(precision, current.mean)[:, None] + stack.b * scale
    means = np.matvec(posterior, pull)
    total = (chosen[:, None] @ posterior.reshape(-1, users, d * d)).reshape(-1, d, d)

    mean = (chosen[:, None] @ means)[:, 0] / (count + weights.mean)[:, None]
    apart = (means - mean[:, None]) * chosen[:, :, None]
    scatter = total + apart.mT @ apart
    scatter += weights.mean * (mean[:, :, None] * mean[:, None]) + weights.users * np.eye(d)
    covariance = (scatter + scatter.mT) / (2.0 * (count + weights.users))[:, None, None]

    # tr(G V) = σ² tr(I − Σ⁻¹V)
    leeway = current.noise * (count * d - (precision * total).sum(axis=(1, 2)))
    explained = np.vecdot(np.matvec(stack.gram, means) - 2.0 * stack.b, means)
    residual = np.maximum(0.0, np.vecdot(chosen, stack.square + explained) + leeway)
    noise = (residual + weights.rewards * stack.noise) / (np.vecdot(chosen, stack.weight) + weights.rewards)
    return _Estimates(mean, covariance, np.where(np.isnan(held), noise, held))


def _invert(
    precision: FloatArray, gram: FloatArray, scale: FloatArray, covariance: FloatArray, chosen: FloatArray
) -> FloatArray:
    """Return (Σ⁻¹ + G/σ²)⁻¹, (K, U, d, d)."""
    sums = precision[:, None] + gram * scale[..., None]
    largest = (sums.diagonal(axis1=2, axis2=3).max(axis=2) * chosen).max(axis=1)
    swallowed = largest * covariance.trace(axis1=1, axis2=2) > _ILL_CONDITIONED
    if not swallowed.any():
        return np.asarray(np.linalg.inv(sums), np.float64)
    # See `compute_ridge_inverse`: no eigenvalue is below the least of Σ⁻¹.
    inverse = np.empty_like(sums)
    inverse[~swallowed] = np.linalg.inv(sums[~swallowed])
    eigenvalues, vectors = np.linalg.eigh(sums[swallowed])
    least = np.linalg.eigvalsh(precision[swallowed])[:, None, :1]
    inverse[swallowed] = vectors / np.maximum(eigenvalues, least)[..., None, :] @ vectors.mT
    return inverse


def _compute_distance(before: _Estimates, after: _Estimates) -> FloatArray:
    """Return how far each estimate moved, (K,), in coordinates in which the base prior is N(0, I)."""
    means = np.square(after.mean - before.mean).sum(axis=1)
    covariances = np.square(after.covariance - before.covariance).sum(axis=(1, 2))
    return np.asarray(np.sqrt(means + covariances + np.square(np.log(after.noise / before.noise))), np.float64)


def _compute_move(stack: _Stack, before: _Estimates, after: _Estimates) -> FloatArray:
    """Return how far each estimate moved, (K,), in units of the standard deviations that it states."""
    factor = stack.factor
    covariance = factor @ after.covariance @ factor.T
    scale = np.sqrt(covariance.diagonal(axis1=1, axis2=2))
    means = np.abs(np.matvec(factor, after.mean - before.mean) / scale).max(axis=1)
    change = factor @ (after.covariance - before.covariance) @ factor.T
    covariances = np.abs(change / (scale[:, :, None] * scale[:, None])).max(axis=(1, 2))
    noise = np.abs(after.noise - before.noise) / after.noise
    return np.asarray(np.maximum(np.maximum(means, covariances), noise), np.float64)


def _begin(starts: Sequence[Prior | None], held: FloatArray, base: Prior) -> _Estimates:
    """Return where EM starts."""
    d = base.mean.size
    estimates = _Estimates(np.zeros((len(starts), d)), np.tile(np.eye(d), (len(starts), 1, 1)), held.copy())
    for place, start in enumerate(starts):
        if start is not None:
            estimates.mean[place] = np.linalg.solve(base.factor, start.mean - base.mean)
            root = np.linalg.solve(base.factor, start.factor)
            estimates.covariance[place] = root @ root.T
        if np.isnan(held[place]):
            estimates.noise[place] = (start or base).noise
    return estimates


def _leave_coordinates(estimates: _Estimates, base: Prior) -> list[Prior]:
    """Return the estimates as priors of θ."""
    means = base.mean + np.matvec(base.factor, estimates.mean)
    covariances = base.factor @ estimates.covariance @ base.factor.T
    covariances = (covariances + covariances.mT) / 2.0
    return [Prior(*parts) for parts in zip(means, covariances, estimates.noise.tolist(), strict=True)]


def _split(count: int, numbers: int) -> Iterator[slice]:
    """Yield as many estimates at a time as are of ``_MAX_NUMBERS`` together, if each has so many numbers."""
    step = max(1, _MAX_NUMBERS // max(1, numbers))
    for start in range(0, count, step):
        yield slice(start, start + step)
