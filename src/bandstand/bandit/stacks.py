"""The arithmetic of many users at once: what :mod:`bandstand.bandit.ridge` does for each, by one call of numpy for all.

A call takes longer than the work that it does for one user of a small model. Stacked products may differ from single
ones in the last bit.
"""

from collections.abc import Sequence

import numpy as np

from bandstand.bandit.arrays import FloatArray, read_only
from bandstand.bandit.ridge import Posterior, Prior, RidgeState


def compute_stacked_moments(posteriors: Sequence[Posterior], x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ``compute_means`` and ``compute_widths`` of n posteriors, each for its own K rows.

    Args:
        posteriors: n of them.
        x: the rows of each, shape (n, K, d).

    Returns:
        Means and widths, each of shape (n, K).

    Raises:
        ValueError: a shape does not fit.
    """
    count, _, d = x.shape
    means = np.concatenate([each.mean for each in posteriors]).reshape(count, d, 1)
    covariances = np.concatenate([each.covariance for each in posteriors]).reshape(count, d, d)
    variance = np.vecdot(np.matmul(x, covariances), x)
    return np.matmul(x, means)[:, :, 0], np.sqrt(np.abs(variance, out=variance), out=variance)


def compute_stacked_posteriors(states: Sequence[RidgeState], priors: Sequence[Prior]) -> list[Posterior]:
    """Return the posteriors of n states of one shape, each under its own prior, as each state computes it.

    Those of models with blocks, of priors that are near to singular, and of sums that would swallow their prior are
    computed one by one.
    """
    if len(states) == 1 or any(prior.ridge is None for prior in priors) or states[0].sums.ndim != 2:  # noqa: PLR2004 (of a model with blocks it has three)
        return _compute_one_by_one(states, priors)
    count, (rows, d) = len(states), states[0].sums.shape
    sums = _stack([each.sums for each in states], (count, rows, d))
    precision = _stack([each.ridge for each in priors if each.ridge is not None], (count, d, d))
    precision += sums[:, :-1]
    if any(np.maximum.reduce(precision, axis=(1, 2)) > [each.most for each in priors]):
        return _compute_one_by_one(states, priors)
    inverses = np.asarray(np.linalg.inv(precision), np.float64)
    pulls = _stack([each.pull for each in priors], (count, d, 1)) + sums[:, -1, :, None]
    means = np.matmul(inverses, pulls)[:, :, 0]
    inverses *= np.array([each.noise for each in priors])[:, None, None]
    # Copies: a view would keep its neighbours in memory for as long.
    return [
        Posterior(read_only(mean.copy()), read_only(covariance.copy()), noise=prior.noise)
        for mean, covariance, prior in zip(means, inverses, priors, strict=True)
    ]


def _compute_one_by_one(states: Sequence[RidgeState], priors: Sequence[Prior]) -> list[Posterior]:
    return [state.compute_posterior(prior) for state, prior in zip(states, priors, strict=True)]


def _stack(arrays: Sequence[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    return np.concatenate(arrays).reshape(shape)
