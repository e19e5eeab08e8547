"""The tail of χ²: against tables, its own recurrence, and the frequencies of sums of squares."""

import math
from itertools import pairwise

import numpy as np
import pytest

from bandstand.bandit.chi_square import compute_p_value


@pytest.mark.parametrize(
    ("freedom", "critical", "p"),
    [(1, 3.841459, 0.05), (1, 10.827566, 0.001), (2, 13.815511, 0.001), (3, 16.266236, 0.001), (10, 29.588298, 0.001)],
)
def test_the_tables_critical_values(freedom: int, critical: float, p: float) -> None:
    assert compute_p_value(critical, freedom) == pytest.approx(p, rel=1e-5)


@pytest.mark.parametrize("freedom", range(1, 13))
def test_it_falls_from_one_to_nothing(freedom: int) -> None:
    values = [compute_p_value(x, freedom) for x in np.linspace(0.0, 80.0, 200)]
    assert values[0] == 1.0
    assert all(earlier >= later for earlier, later in pairwise(values))
    assert values[-1] < 1e-10
    assert compute_p_value(math.inf, freedom) == 0.0


@pytest.mark.parametrize("freedom", [1, 2, 5, 9])
def test_sums_of_squares_of_normals_exceed_it_as_often_as_it_says(freedom: int) -> None:
    sums = (np.random.default_rng(freedom).standard_normal((40_000, freedom)) ** 2).sum(axis=1)
    for quantile in (0.5, 0.9, 0.99):
        x = float(np.quantile(sums, quantile))
        bound = 4 * math.sqrt(quantile * (1 - quantile) / 40_000)
        assert compute_p_value(x, freedom) == pytest.approx(1 - quantile, abs=bound)


def test_a_statistic_that_cannot_be_is_refused() -> None:
    for statistic, freedom in ((-1.0, 1), (math.nan, 1), (1.0, 0)):
        with pytest.raises(ValueError, match="must"):
            compute_p_value(statistic, freedom)
