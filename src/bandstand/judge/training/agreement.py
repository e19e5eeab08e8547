"""How well a judge agrees with people: Cohen's κ, and how often each of its labels stands, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 1000
_LEVEL = (0.025, 0.975)
_Z = 1.959964
MIN_LABELLED = 20
"""Pairs below which κ is not worth a figure."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval.

    Attributes:
        value: the share.
        low: lower end of the interval.
        high: upper end of the interval.
        n: of how many.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """What people make of a judge's verdicts.

    Attributes:
        n: turns that both a person and the judge have labelled.
        share: of them, those with the same label.
        kappa: Cohen's κ = (p − e) / (1 − e), for the share p of equal labels and that expected by chance e; None below
            ``MIN_LABELLED`` pairs, and where both only ever say one label.
        kappa_low: lower end of its 95 % interval, by bootstrap.
        kappa_high: upper end.
        by_label: of the turns that the judge gave a label, how often a person says the same.
    """

    n: int
    share: Share | None
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    by_label: dict[str, Share]


def compute_agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Compare labels, (person's, judge's) a turn.

    κ: Cohen (1960), "A coefficient of agreement for nominal scales". Its interval is that of a bootstrap over turns.
    """
    names = sorted({label for pair in pairs for label in pair})
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    for person, judge in pairs:
        counts[places[person], places[judge]] += 1
    n = len(pairs)
    by_label = {
        name: compute_share(int(counts[place, place]), int(counts[:, place].sum()))
        for name, place in places.items()
        if counts[:, place].any()
    }
    kappa = float(_compute_kappa(counts[np.newaxis])[0]) if n >= MIN_LABELLED else np.nan
    if np.isnan(kappa):
        low = high = None
    else:
        drawn = np.random.default_rng(0).multinomial(n, counts.ravel() / n, size=_RESAMPLES)
        low, high = np.nanquantile(
            _compute_kappa(drawn.reshape(_RESAMPLES, *counts.shape).astype(float)), _LEVEL
        ).tolist()
    return Agreement(
        n=n,
        share=compute_share(int(np.trace(counts)), n) if n else None,
        kappa=None if np.isnan(kappa) else kappa,
        kappa_low=low,
        kappa_high=high,
        by_label=by_label,
    )


def compute_share(count: int, n: int) -> Share:
    """A share and its interval, n ≥ 1: Wilson (1927), "Probable inference, the law of succession"."""
    p, square = count / n, _Z * _Z
    centre = (p + square / (2 * n)) / (1 + square / n)
    reach = _Z * np.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
    return Share(p, max(0.0, float(centre - reach)), min(1.0, float(centre + reach)), n)


def _compute_kappa(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """κ of tables of counts, (m, k, k): shape (m,); NaN where chance alone agrees always."""
    n = counts.sum(axis=(1, 2))
    agreed = np.trace(counts, axis1=1, axis2=2) / n
    chance = (counts.sum(axis=1) * counts.sum(axis=2)).sum(axis=1) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: NDArray[np.float64] = np.where(chance < 1, (agreed - chance) / (1 - chance), np.nan)
    return kappa
