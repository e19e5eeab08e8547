"""Arms without features: what each has earned so far, and the probability with which each is played next."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bandstand.bandit.arrays import FloatArray

_QUANTILES = 200
_ERF = np.vectorize(math.erf, otypes=[np.float64])
_Z = NormalDist().inv_cdf(0.975)
_MIN_REWARDS = 4
"""With fewer rewards the spread says next to nothing, and the series below is off by more than 2 %."""


@dataclass(frozen=True, slots=True)
class RewardSums:
    """Rewards in [−1, 1] that one arm earned, as sums: they can be added up in any order, and taken back.

    Attributes:
        count: how many.
        total: Σ r.
        squares: Σ r².
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "RewardSums") -> "RewardSums":
        return RewardSums(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float | None:
        """Σ r / count; None if there is none."""
        return self.total / self.count if self.count else None

    def compute_interval(self) -> tuple[float, float] | None:
        """Return the mean's 95 % confidence interval within [−1, 1]: mean ± t·s/√count with Student's t.

        The quantile of t is the series of Abramowitz and Stegun 1964, 26.7.5, to the order 1/ν². The interval is exact
        for normal rewards and holds for others as the count grows; rewards of one user are not independent, which it
        does not know.

        Returns:
            None below four rewards.
        """
        mean, freedom = self.mean, self.count - 1
        if mean is None or self.count < _MIN_REWARDS:
            return None
        t = _Z + (_Z**3 + _Z) / (4 * freedom) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * freedom**2)
        variance = max(0.0, self.squares - self.total * mean) / freedom
        reach = t * math.sqrt(variance / self.count)
        return max(-1.0, mean - reach), min(1.0, mean + reach)


def compute_thompson_probabilities(arms: list[RewardSums], floor: float) -> FloatArray:
    """Return the probability with which Thompson sampling plays each of K arms: (1 − floor)·f + floor/K, shape (K,).

    f_i is the probability that arm i's mean is the largest, where the means are independent and, after n rewards that
    sum to S, normal with mean S/(n + 1) and variance 1/(n + 1): a standard normal prior, and unit variance of a reward,
    the most that values in [−1, 1] can have. So it explores rather too long than too short. f is integrated over 200
    quantiles of each mean instead of sampled: the same earnings always give the same probabilities.

    Agrawal and Goyal 2013, "Further optimal regret bounds for Thompson sampling", algorithm 2, has this posterior for
    rewards in [0, 1]. Their bound, O(√(K T ln K)), is for feedback before the next play and a floor of 0; a floor costs
    its share of the regret of a uniform pick, for ever, and late feedback (Joulani et al. 2013) a term that does not
    grow with T.

    Args:
        arms: K of them, at least one.
        floor: mass of the uniform branch, in [0, 1].

    Raises:
        ValueError: there is no arm.
    """
    if not arms:
        raise ValueError("there must be an arm")
    mean = np.array([arm.total / (arm.count + 1) for arm in arms])
    deviation = np.array([1 / math.sqrt(arm.count + 1) for arm in arms])
    z = np.array([NormalDist().inv_cdf((k + 0.5) / _QUANTILES) for k in range(_QUANTILES)])
    at = mean[:, None] + deviation[:, None] * z  # (K, Q): quantiles of each mean
    below = 0.5 * (1.0 + _ERF((at[:, :, None] - mean) / (deviation * math.sqrt(2.0))))  # (K, Q, K): P(mean_j < at)
    below[np.arange(len(arms)), :, np.arange(len(arms))] = 1.0
    best = below.prod(axis=2).mean(axis=1)
    best /= best.sum()
    played: FloatArray = (1.0 - floor) * best + floor / len(arms)
    return played
