"""The χ² test: how far counts may be from what was expected of them by chance alone."""

import math

MIN_EXPECTED = 5.0
"""Below this many expected in some cell the approximation by χ² is not to be trusted (Cochran 1954)."""


def compute_p_value(statistic: float, degrees_of_freedom: int) -> float:
    """Return P(X ≥ statistic) for X ~ χ² with that many degrees of freedom; in closed form for an integer.

    Q(x; 1) = erfc(√(x/2)), Q(x; 2) = e^(−x/2), Q(x; k + 2) = Q(x; k) + (x/2)^(k/2) e^(−x/2)/Γ(k/2 + 1): Abramowitz and
    Stegun 1964, 26.4.4 and 26.4.5.

    Raises:
        ValueError: the statistic is negative or no number, or there is no degree of freedom.

    >>> round(compute_p_value(3.841459, 1), 6), round(compute_p_value(5.991465, 2), 6)
    (0.05, 0.05)
    """
    if not statistic >= 0.0 or degrees_of_freedom < 1:
        raise ValueError("the statistic must not be negative, and there must be a degree of freedom")
    if statistic == math.inf:
        return 0.0
    half = statistic / 2.0
    start = 1 + (degrees_of_freedom + 1) % 2
    total = math.erfc(math.sqrt(half)) if start == 1 else math.exp(-half)
    for k in range(start, degrees_of_freedom, 2):
        if half > 0.0:
            total += math.exp(k / 2.0 * math.log(half) - half - math.lgamma(k / 2.0 + 1.0))
    return min(total, 1.0)
