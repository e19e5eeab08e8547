"""Intervals that may be looked at as often as one likes: asymptotic confidence sequences, by Robbins' normal mixture.

A confidence interval keeps its promise at one time that was fixed before. Of a confidence *sequence* all intervals hold
together, with the same probability: one may look every day, and stop when one likes what one sees.
"""

import math

DEFAULT_SCALE = 0.1
"""The size of a difference of mean rewards, which lie in [-1, 1], for which intervals are about as narrow as can be."""

_LEVEL = 0.95
_STEPS = 60


def compute_half_width(variance: float, *, scale: float = DEFAULT_SCALE, level: float = _LEVEL) -> float:
    """The half-width of the sequence's interval around an estimate whose variance is V: infinite where V is.

    √( V (V + τ²)/τ² · ( 2 ln(1/α) + ln((V + τ²)/V) ) ), α = 1 − level: with V = σ̂²/t and τ = ρ σ̂ this is the
    Robbins-Sutton margin σ̂ √( 2(tρ² + 1)/(t²ρ²) · ln(√(tρ² + 1)/α) ) of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas
    (2024), "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52, theorem
    2.2, which their proposition 2.5 gives to martingale differences whose means change: what is covered is the mean of
    the conditional means so far.

    Args:
        variance: V of the estimate, above 0.
        scale: τ, fixed before the data are seen.
        level: coverage of all intervals together, in (0, 1).
    """
    if not 0.0 < variance < math.inf:
        return 0.0 if variance == 0.0 else math.inf
    mixed = variance + scale * scale
    logs = -2.0 * math.log(1.0 - level) + math.log(mixed / variance)
    return math.sqrt(variance * mixed * logs) / scale


def find_factor(variance: float, half_width: float, *, scale: float = DEFAULT_SCALE, level: float = _LEVEL) -> float:
    """How many times as many observations make the interval so narrow, where V falls as 1/n; infinite for width 0."""
    if half_width <= 0.0:
        return math.inf
    low, high = float(-_STEPS), float(_STEPS)  # of the factor's logarithm to base 2
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if compute_half_width(variance * 2.0**-middle, scale=scale, level=level) > half_width:
            low = middle
        else:
            high = middle
    return float(2.0**high)
