"""Scale-free priors: what to believe of weights before any reward, in whatever units features and rewards come.

The prior of a ridge model is a statement about units: N(0, I) says that a feature of size 1 moves a reward by about 1.
Here the units come from the data. All is computed from the ridge sums, so that no reward is read twice:

1. *Coordinates.* The pooled sums of all models give every column's mean c and deviation s, and the mean reward r̄. With
   an intercept z = A x has z₀ = 1 and z_j = (x_j − c_j)/s_j; without one z_j = x_j/√(mean x_j²).
2. *Prior* in these coordinates: the weights of the columns are N(0, σ²/λ · H), the intercept is N(r̄, max(σ²/λ, Var r)).
   H is the columns' correlation, shrunk towards I as long as rewards are few: directions in which contexts really
   differ may matter more than a column that differs alone and rarely.
3. *σ² and λ* maximise the marginal likelihood of all rewards, in which the weights are integrated out (evidence: MacKay
   1992, "Bayesian interpolation"; Bishop 2006, §3.5), times a log-normal around λ₀ = 0.1 · columns: the rule that
   decides where the evidence tells little. σ² is in closed form for each λ of a grid. Rewards are hardly ever quite
   linear, so σ² is then taken to be 0.7 σ² + 0.3 Var r.
4. *Rewards that are all the same* tell a unit, |r̄| (1 where that is 0), but neither variance nor origin: σ² is r̄² and λ
   is λ₀. Where one model reads all candidates, 0 is taken for the origin until one differs, as without an intercept. So
   a first reward above 0 speaks for what is like its candidate, one below 0 against it. In blocks no candidate is like
   another: every mean is r̄, and widths alone decide. Either way no unit changes a pick.
5. *Back*: a weight vector w of z is θ = Aᵀ w of x, for θ·x = w·A x; so Σ = Aᵀ Cov(w) A.

Hence the law: map any column x_j → p x_j + q (p ≠ 0; q only with an intercept) and rewards r → a + b r (b > 0; a only
with an intercept), and the belief maps along: means to a + b · mean, widths to b · width, and picks stay the same;
while all rewards are the same and 0 is their origin, for p and b alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.ridge import Prior, RidgeState

RIDGE_PER_COLUMN = 0.1
"""λ₀ for each column: where the evidence tells nothing, the weights together explain about as much as ten times σ²."""

RIDGE_DEVIATION = 0.5
"""Of log λ around log λ₀: the grid's best point moves by at most a few of these."""

SHARED_RIDGE_DEVIATION = 1.5
"""The same for users who learn from each other: rewards may be noise nearly all, and then λ is thirty times λ₀."""

_GRID = np.linspace(-5.0, 5.0, 21)  # deviations
_NOISE_REWARDS = 2.0  # rewards of the rewards' own variance, in the estimate of σ²
_NOT_LINEAR = 0.3  # of the rewards' variance in σ²: what is not noise, and no linear model will ever explain
_NO_VARIANCE = 1e-13  # of a column's mean square: what rounding leaves of a column that does not vary
_NO_SIZE = 1e-24  # a mean square: what rounding leaves of 0, as in the sine of 12 of 24 hours
_MAX_NUMBERS = 1 << 22  # d³ for each model that λ is found from: about 0.2 s


@dataclass(frozen=True, slots=True, eq=False)
class PooledSums:
    """The ridge sums of n exchangeable models of d features: of users, of a user's blocks, or of every user's blocks.

    Attributes:
        gram: shape (n, d, d), of models that were taught something.
        b: shape (n, d).
        rr: Σ w r² over all of them.
        weight: Σ w over all of them.
    """

    gram: FloatArray
    b: FloatArray
    rr: float
    weight: float

    @classmethod
    def from_states(cls, states: Iterable[RidgeState], d: int) -> Self:
        """Copy the sums of some states; those whose Σ w r² is unknown (imported ones) are left out."""
        known = [state for state in states if state.rr is not None]
        gram = np.concatenate([np.zeros((0, d, d)), *(state.gram.reshape(-1, d, d) for state in known)])
        b = np.concatenate([np.zeros((0, d)), *(state.b.reshape(-1, d) for state in known)])
        taught = gram.diagonal(axis1=1, axis2=2).max(axis=1, initial=0.0) > 0.0
        rr, weight = (sum(parts) for parts in ((state.rr or 0.0 for state in known), (s.weight for s in known)))
        return cls(gram[taught], b[taught], float(rr), float(weight))


class _Evidence(NamedTuple):
    """The sums in the prior's own coordinates, with the mean reward taken off: what λ and σ² are found from."""

    gram: FloatArray  # (n, d, d)
    b: FloatArray  # (n, d)
    square: float  # Σ w (r − r̄)² over the models that are looked at
    weight: float
    variance: float  # Var r
    has_intercept: bool

    def compute(self, ridge: float) -> tuple[float, float]:
        """Return log p(rewards | λ, σ²) at the best σ², up to a constant, and that σ².

        With Λ the prior's precision times σ², and n rewards: σ² = (Σ (r − r̄)² − Σ bᵀ(G + Λ)⁻¹ b + 2 Var r)/(n + 2) and

            −½ [(n + 2) log σ² + Σ log det(G + Λ) − log det Λ]
        """
        models, d = self.b.shape
        diagonal = np.full(d, ridge)
        if self.has_intercept:
            diagonal[0] = min(ridge, 1.0)
        precision = self.gram + np.diag(diagonal)
        explained = float(np.vecdot(self.b, np.linalg.solve(precision, self.b[..., None])[..., 0]).sum())
        freedom = self.weight + _NOISE_REWARDS
        noise = (max(0.0, self.square - explained) + _NOISE_REWARDS * self.variance) / freedom
        determinant = float(np.linalg.slogdet(precision).logabsdet.sum()) - models * float(np.log(diagonal).sum())
        return -0.5 * (freedom * float(np.log(noise)) + determinant), noise


def fit_scale_free_prior(
    sums: PooledSums, *, has_intercept: bool, ridge_deviation: float = RIDGE_DEVIATION, zero_is_origin: bool = True
) -> Prior | None:
    """Return the prior of each of the models that these sums are of; see the module.

    Args:
        sums: of all models.
        has_intercept: whether the first column is 1 in every row.
        ridge_deviation: how far λ may be from the rule's λ₀, as a deviation of its logarithm.
        zero_is_origin: whether rewards that are all the same are above or below 0, and not simply what is usual.

    Returns:
        None if there are no rewards.
    """
    gram, b = sums.gram.sum(axis=0), sums.b.sum(axis=0)
    if not sums.weight > 0.0:
        return None
    mean_reward = float(b[0]) / sums.weight if has_intercept else 0.0
    varies = sums.rr - sums.weight * mean_reward**2 > _NO_VARIANCE * sums.rr
    has_intercept = has_intercept and (varies or not zero_is_origin)
    centre = mean_reward if has_intercept else 0.0
    variance = (sums.rr / sums.weight - centre**2 if varies else mean_reward**2) or 1.0
    coordinates = _build_coordinates(gram / sums.weight, sums.weight, has_intercept=has_intercept)
    if varies:
        evidence = _build_evidence(sums, coordinates, centre, variance, has_intercept=has_intercept)
        ridge = _find_ridge(evidence, ridge_deviation)
        noise = evidence.compute(ridge)[1]
        noise += _NOT_LINEAR * (variance - noise)
    else:
        ridge, noise = _compute_usual_ridge(b.size, has_intercept=has_intercept), variance
    variances = np.full(b.size, noise / ridge)
    mean = np.zeros(b.size)
    if has_intercept:
        variances[0] = max(noise / ridge, variance)
        mean[0] = centre
    covariance = (coordinates.T * variances) @ coordinates
    return Prior(mean, (covariance + covariance.T) / 2.0, noise)


def _build_coordinates(square: FloatArray, weight: float, *, has_intercept: bool) -> FloatArray:
    """Return Kᵀ A, (d, d), from the mean of x xᵀ: z = A x, and H = K Kᵀ; weights of Kᵀ z are independent.

    A column that did not vary is measured by its size: whatever it does next is large or small beside what it was.
    """
    size = square.diagonal()
    centre = square[0].copy() if has_intercept else np.zeros(len(size))
    spread = size - centre**2
    square_scale = np.where(spread > _NO_VARIANCE * size, spread, size)
    scale = np.sqrt(np.where(square_scale > _NO_SIZE, square_scale, 1.0))
    if has_intercept:
        scale[0], centre[0] = 1.0, 0.0
    coordinates: FloatArray = np.diag(1.0 / scale)
    if has_intercept:
        coordinates[:, 0] -= centre / scale
    first = int(has_intercept)
    correlation = (coordinates @ square @ coordinates.T)[first:, first:]
    columns = len(correlation)
    if not columns:
        return coordinates
    trust = weight / (weight + columns)
    shrunk = trust * (correlation + correlation.T) / 2.0 + (1.0 - trust) * np.eye(columns)
    shrunk *= columns / shrunk.trace()
    root = np.eye(len(size))
    root[first:, first:] = np.linalg.cholesky(shrunk)
    return root.T @ coordinates


def _build_evidence(
    sums: PooledSums, coordinates: FloatArray, centre: float, variance: float, *, has_intercept: bool
) -> _Evidence:
    """Return the sums of as many models as there is time for in the prior's coordinates."""
    models, d = sums.b.shape
    chosen = _choose_models(models, d)
    gram = coordinates @ sums.gram[chosen] @ coordinates.T
    b = sums.b[chosen] @ coordinates.T
    if has_intercept:
        b = b - centre * gram[:, :, 0]
    share = len(chosen) / models
    return _Evidence(
        gram, b, share * variance * sums.weight, share * sums.weight, variance, has_intercept=has_intercept
    )


def _find_ridge(evidence: _Evidence, deviation: float) -> float:
    """Return the most probable λ."""
    usual = _compute_usual_ridge(evidence.b.shape[1], has_intercept=evidence.has_intercept)

    def score(steps: float) -> float:
        return evidence.compute(usual * float(np.exp(deviation * steps)))[0] - 0.5 * steps**2

    scores = np.array([score(steps) for steps in _GRID.tolist()])
    best = int(scores.argmax())
    steps = float(_GRID[best])
    if 0 < best < len(_GRID) - 1:
        # The top of the parabola through the best point and its neighbours: a small change of the sums is a small one.
        left, top, right = scores[best - 1 : best + 2]
        steps += float(0.5 * (right - left) / (2.0 * top - left - right) * (_GRID[1] - _GRID[0]))
    return usual * float(np.exp(deviation * steps))


def _compute_usual_ridge(d: int, *, has_intercept: bool) -> float:
    """Return λ₀."""
    return RIDGE_PER_COLUMN * max(1, d - has_intercept)


def _choose_models(models: int, d: int) -> npt.NDArray[np.intp]:
    """Return which models λ is found from: all, or as many as there is time for, evenly spread."""
    count = min(models, max(1, _MAX_NUMBERS // d**3))
    return np.arange(count) * models // count
