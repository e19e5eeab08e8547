"""The population prior: what is believed of a user before their first reward, estimated from all users' sums.

Users are exchangeable: θ_u ~ N(μ, Σ), and a reward of theirs is N(θ_u·x, σ²); one of weight w counts as w rewards. The
three unknowns are estimated by their posterior mode under a weak normal–inverse-Wishart and inverse-gamma hyperprior,
found by EM with the θ_u as what is missing (Dempster, Laird and Rubin 1977; for this model Laird and Ware 1982). What
EM climbs is the *marginal* likelihood, in which θ_u is integrated out. A bandit's data are adaptive: which x a user has
depends on that user's earlier rewards, and so their own least-squares fits are biased and unequally noisy, and moments
of such fits with them (Nie et al. 2018, "Why adaptively collected data have negative bias"). The likelihood does not
mind: the choice of x given the past says nothing about θ_u that the past does not say, and it cancels.

Bandits over such a prior: Hong, Kveton, Zaheer and Ghavamzadeh 2022, "Hierarchical Bayesian bandits" (μ unknown, Σ and
σ² given), and Jiang and Zhu 2025, "Empirical Bayesian multi-bandit learning" (ebmTS, ebmUCB: Σ estimated too). Neither
estimates in the way used here, so their regret bounds are not claimed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.ridge import Prior, RidgeState, compute_ridge_inverse

MAX_ITERATIONS = 1000
TOLERANCE = 1e-8
"""EM stops where no entry moves further than this, in units of the standard deviations it states."""

_USERS_AT_ONCE = 4096
"""In a step of EM, which takes five times the memory of their sums."""

_LOG_TWO_PI = float(np.log(2.0 * np.pi))


class Hyperprior(NamedTuple):
    """The weight of the base prior (μ₀, Σ₀, σ₀²), as a number of users, or rewards, that are exactly like it.

    Attributes:
        users: for Σ; the covariance of U users is mixed with Σ₀ as U : users.
        mean: for μ.
        rewards: for σ².
    """

    users: float = 0.1
    mean: float = 0.1
    rewards: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class UserSums:
    """The ridge sums of U users, stacked; see :class:`~bandstand.bandit.ridge.RidgeState`.

    Attributes:
        gram: shape (U, d, d).
        b: shape (U, d).
        rr: shape (U,), NaN where a user's is unknown.
        weight: shape (U,).
    """

    gram: FloatArray
    b: FloatArray
    rr: FloatArray
    weight: FloatArray

    @classmethod
    def from_states(cls, states: Sequence[RidgeState], d: int) -> Self:
        """Copy the sums of some users, none included, of models with d features."""
        count = len(states)
        return cls(
            np.array([state.gram for state in states]).reshape(count, d, d),
            np.array([state.b for state in states]).reshape(count, d),
            np.array([np.nan if state.rr is None else state.rr for state in states]),
            np.array([state.weight for state in states]),
        )

    def __len__(self) -> int:
        return len(self.weight)

    def select_users(self, mask: npt.NDArray[np.bool_]) -> Self:
        """Return the sums of the users for whom ``mask`` (U,) is true."""
        return type(self)(self.gram[mask], self.b[mask], self.rr[mask], self.weight[mask])

    def split(self, count: int) -> Iterator[Self]:
        """Yield the sums of at most so many users at a time, in order; views of these."""
        for start in range(0, len(self), count):
            part = slice(start, start + count)
            yield type(self)(self.gram[part], self.b[part], self.rr[part], self.weight[part])

    def exclude_user(self, index: int) -> Self:
        """Return the sums of all users but one."""
        mask = np.ones(len(self), np.bool_)
        mask[index] = False
        return self.select_users(mask)


class _Estimate(NamedTuple):
    mean: FloatArray  # (d,)
    covariance: FloatArray  # (d, d)
    noise: float


def fit_prior(
    users: UserSums,
    base: Prior,
    *,
    start: Prior | None = None,
    noise: float | None = None,
    hyperprior: Hyperprior = Hyperprior(),  # noqa: B008 (a tuple: nobody can change it)
    iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Prior:
    """Estimate the prior that these users came from: the mode of (μ, Σ, σ²) given their rewards.

    With V_u, m_u the posterior of user u under the current estimate and s, κ, a the hyperprior's weights, one step is

        μ = (Σ_u m_u + κ μ₀)/(U + κ)
        Σ = (Σ_u [V_u + (m_u − μ)(m_u − μ)ᵀ] + κ (μ − μ₀)(μ − μ₀)ᵀ + s Σ₀)/(U + s)
        σ² = (Σ_u [rr_u − 2 m_u·B_u + m_uᵀ G_u m_u + tr(G_u V_u)] + a σ₀²)/(Σ_u w_u + a)

    and :func:`log_posterior` never falls. Without users it is the base prior. Where the rr of some users is unknown, σ²
    is estimated from the others alone, and then held while μ and Σ are estimated from all. Deterministic.

    Args:
        users: the sums, free of any prior.
        base: the hyperprior's centre, and where EM starts.
        start: start here instead, at an earlier estimate.
        noise: σ², if it is known and only μ and Σ are to be estimated.
        hyperprior: how much ``base`` weighs.
        iterations: at most so many steps, and as many for σ² where rr is unknown for some.
        tolerance: what counts as having arrived.
    """
    if not len(users):
        return base
    known = ~np.isnan(users.rr)
    if noise is None and not known.all():
        some = users.select_users(known)
        known_estimate = fit_prior(
            some, base, start=start, hyperprior=hyperprior, iterations=iterations, tolerance=tolerance
        )
        noise = known_estimate.noise
    begin = start or base
    estimate = _Estimate(begin.mean, begin.covariance, begin.noise if noise is None else noise)
    for _ in range(iterations):
        before = estimate
        estimate = _run_em_step(users, before, base, hyperprior, with_noise=noise is None)
        if _has_converged(before, estimate, tolerance):
            break
    return Prior(*estimate)


def compute_predictive_prior(estimate: Prior, users: int, base: Prior) -> Prior:
    """Return what is believed of one more user, where μ and Σ are estimates from ``users`` others: a wider Σ.

    Σ (1 + (d + 1)/U), but not beyond the variance of the base prior, d/tr(Σ₀⁻¹Σ) times Σ: on average over the
    directions that Σ₀ spreads alike, and so in any units. With known θ_u and no hyperprior the
    next one has a multivariate t distribution with the scale Σ (U + 1)/(U − d) (Gelman et al. 2013, §3.6); the factor
    is its leading terms in 1/U, which stay positive where users are fewer than features. Without it, what a handful of
    users have in common would be held against one who is not like them.
    """
    if not users:
        return base
    factor = 1.0 + (len(estimate.mean) + 1) / users
    whitened = np.linalg.solve(base.factor, estimate.factor)
    most = len(estimate.mean) / float(np.vdot(whitened, whitened))
    return Prior(estimate.mean, estimate.covariance * max(1.0, min(factor, most)), estimate.noise)


def compute_next_user_prior(users: UserSums, estimate: Prior, hyperprior: Hyperprior) -> Prior:
    """Return what is believed of one more user, where only μ is uncertain: N(μ, Σ + Var μ).

    Given Σ = L Lᵀ and σ², user u's rewards are worth Σ_u (I − (I + S_u)⁻¹) for L⁻¹μ, the hyperprior κ I, and so

        Var μ = L (Σ_u (I − (I + S_u)⁻¹) + κ I)⁻¹ Lᵀ,   S_u = Lᵀ G_u L/σ²

    While nobody has taught anything that is Σ/κ. A direction that nobody has been shown anything of stays as wide as
    it was, however many users there are: what optimism needs to know where all of them together have yet to look.

    Args:
        users: those whom the estimate is from.
        estimate: (μ, Σ, σ²).
        hyperprior: that it was found under.
    """
    root, whitened, _ = _compute_whitened(users, _Estimate(estimate.mean, estimate.covariance, estimate.noise))
    d = len(estimate.mean)
    known = (len(users) + hyperprior.mean) * np.eye(d)
    if len(users):
        known -= compute_ridge_inverse(whitened).sum(axis=0)
    covariance = estimate.covariance + root @ np.linalg.solve(known, root.T)
    return Prior(estimate.mean, (covariance + covariance.T) / 2.0, estimate.noise)


def log_posterior(
    users: UserSums,
    prior: Prior,
    base: Prior,
    hyperprior: Hyperprior = Hyperprior(),  # noqa: B008 (a tuple: nobody can change it)
) -> float:
    """Return log p(rewards | μ, Σ, σ²) + log p(μ, Σ, σ²), up to a constant of the hyperprior: what EM climbs.

    With Σ = L Lᵀ, S_u = LᵀG_u L/σ² and g_u = Lᵀ(B_u − G_u μ)/σ², user u adds (Bishop 2006, eq. 3.86, with a mean)

        −½ [w_u log 2πσ² + (rr_u − 2 μ·B_u + μᵀG_u μ)/σ² + log det(I + S_u) − g_uᵀ (I + S_u)⁻¹ g_u]

    Users whose rr is unknown count with rr_u = 0 and without the term in w_u: as a function of μ and Σ that is theirs.
    """
    estimate = _Estimate(prior.mean, prior.covariance, prior.noise)
    root, whitened, pull = _compute_whitened(users, estimate)
    fitted = np.vecdot(pull, np.matvec(compute_ridge_inverse(whitened), pull))
    determinant = np.linalg.slogdet(np.eye(len(prior.mean)) + whitened).logabsdet
    square = np.vecdot(users.gram @ prior.mean - 2.0 * users.b, prior.mean)
    known = ~np.isnan(users.rr)
    rewards = np.where(known, users.rr / prior.noise + users.weight * (_LOG_TWO_PI + np.log(prior.noise)), 0.0)
    likelihood = -0.5 * float((rewards + square / prior.noise + determinant - fitted).sum())
    shift = np.linalg.solve(root, prior.mean - base.mean)
    spread = float(np.linalg.solve(prior.covariance, base.covariance).trace())
    covariance = hyperprior.users * (np.linalg.slogdet(prior.covariance).logabsdet + spread)
    noise = hyperprior.rewards * (np.log(prior.noise) + base.noise / prior.noise)
    return likelihood - 0.5 * float(covariance + hyperprior.mean * shift.dot(shift) + noise)


def _run_em_step(
    users: UserSums, current: _Estimate, base: Prior, hyperprior: Hyperprior, *, with_noise: bool
) -> _Estimate:
    """Return the estimate after one step of EM; what is as large as the users' sums, of some of them at a time."""
    count, d = users.b.shape
    expected = [_expect(part, current) for part in users.split(_USERS_AT_ONCE)]
    root, offset = expected[0].root, np.concatenate([each.offset for each in expected])
    inverse_total = sum(each.inverse for each in expected[1:]) + expected[0].inverse

    total = offset.sum(axis=0)
    mean = (count * current.mean + total + hyperprior.mean * base.mean) / (count + hyperprior.mean)
    apart = offset + (current.mean - mean)
    shift = mean - base.mean
    scatter = root.dot(inverse_total).dot(root.T) + apart.T.dot(apart)
    scatter += hyperprior.mean * np.multiply.outer(shift, shift) + hyperprior.users * base.covariance
    covariance = (scatter + scatter.T) / (2.0 * (count + hyperprior.users))
    if not with_noise:
        return _Estimate(mean, covariance, current.noise)

    # tr(G V) = σ² tr(S (I + S)⁻¹) = σ² (d − tr (I + S)⁻¹)
    leeway = current.noise * (count * d - sum(each.trace for each in expected))
    residual = max(0.0, float(users.rr.sum() + sum(each.explained for each in expected) + leeway))
    noise = (residual + hyperprior.rewards * base.noise) / (float(users.weight.sum()) + hyperprior.rewards)
    return _Estimate(mean, covariance, noise)


class _Expectation(NamedTuple):
    """What a step expects of some users.

    Attributes:
        root: L with Σ = L Lᵀ, (d, d).
        offset: m_u − μ, (U, d).
        inverse: Σ (I + S_u)⁻¹ over them, (d, d): V_u = L (I + S_u)⁻¹ Lᵀ.
        trace: that of it.
        explained: Σ m_u·(G_u m_u − 2 B_u) over them.
    """

    root: FloatArray
    offset: FloatArray
    inverse: FloatArray
    trace: float
    explained: float


def _expect(users: UserSums, current: _Estimate) -> _Expectation:
    root, whitened, pull = _compute_whitened(users, current)
    inverse = compute_ridge_inverse(whitened)  # (U, d, d)
    offset = np.matvec(inverse, pull).dot(root.T)
    theirs = current.mean + offset
    explained = np.vecdot(np.matvec(users.gram, theirs) - 2.0 * users.b, theirs)
    trace = float(inverse.trace(axis1=1, axis2=2).sum())
    return _Expectation(root, offset, inverse.sum(axis=0), trace, float(explained.sum()))


def _compute_whitened(users: UserSums, current: _Estimate) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return L (d, d) with Σ = L Lᵀ, S_u = LᵀG_u L/σ² (U, d, d) and g_u = Lᵀ(B_u − G_u μ)/σ² (U, d)."""
    root = np.asarray(np.linalg.cholesky(current.covariance), np.float64)
    whitened = root.T @ users.gram @ root / current.noise
    pull = (users.b - users.gram @ current.mean).dot(root) / current.noise
    return root, (whitened + whitened.mT) / 2.0, pull


def _has_converged(before: _Estimate, after: _Estimate, tolerance: float) -> bool:
    scale = np.sqrt(after.covariance.diagonal())
    moved = max(
        float(np.abs((after.mean - before.mean) / scale).max()),
        float(np.abs((after.covariance - before.covariance) / np.multiply.outer(scale, scale)).max()),
        abs(after.noise - before.noise) / after.noise,
    )
    return moved <= tolerance
