import math
from typing import Any

import numpy as np
import pytest

from bandstand.evaluate.estimators.bootstrap import PoissonBootstrap
from tests.evaluate.world import FloatArray


def mean_terms(values: Any) -> FloatArray:
    """Terms of a plain mean: the values over 1, no baseline, and a weight that is not read."""
    column: FloatArray = np.asarray(values, dtype=np.float64)
    return np.stack([column, np.ones_like(column), np.zeros_like(column), np.full_like(column, np.nan)])


def test_a_row_is_left_out_with_probability_one_over_e() -> None:
    bootstrap = PoissonBootstrap(200_000, seed=0)
    bootstrap.add(mean_terms([3.0]))
    values = bootstrap.values()
    assert 1 - len(values) / 200_000 == pytest.approx(math.exp(-1), abs=4 * math.sqrt(0.24 / 200_000))
    assert (values == 3).all()


def test_resampled_means_spread_as_the_mean_does() -> None:
    sample = np.random.default_rng(1).exponential(size=2000)
    bootstrap = PoissonBootstrap(4000, seed=1)
    bootstrap.add(mean_terms(sample))
    values = bootstrap.values()
    stderr = sample.std(ddof=1) / math.sqrt(2000)
    assert values.mean() == pytest.approx(sample.mean(), abs=4 * stderr / math.sqrt(4000))
    assert values.std() == pytest.approx(stderr, rel=4 / math.sqrt(2 * 4000))


def test_resamples_of_independent_rows_are_independent() -> None:
    bootstrap = PoissonBootstrap(2000, seed=2)
    bootstrap.add(mean_terms(np.random.default_rng(2).normal(size=500)))
    values = bootstrap.values()
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / math.sqrt(2000)


@pytest.mark.parametrize("resamples", [100, 101, 102, 103])
def test_the_answer_does_not_depend_on_the_cuts(resamples: int) -> None:
    terms = mean_terms(np.random.default_rng(3).normal(size=3000))
    whole = PoissonBootstrap(resamples, seed=4)
    whole.add(terms)
    for cuts in ([1], [7, 700], [1000, 1001, 2999]):
        parts = PoissonBootstrap(resamples, seed=4)
        for part in np.split(terms, cuts, axis=1):
            parts.add(part)
        assert parts.values() == pytest.approx(whole.values(), rel=1e-9, abs=1e-12)


def test_another_seed_gives_other_resamples() -> None:
    terms = mean_terms(np.random.default_rng(5).normal(size=100))
    first, second = PoissonBootstrap(100, seed=0), PoissonBootstrap(100, seed=1)
    first.add(terms)
    second.add(terms)
    assert not np.isin(first.values(), second.values()).any()
