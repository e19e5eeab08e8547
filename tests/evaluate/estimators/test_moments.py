import numpy as np
import pytest

from bandstand.evaluate.estimators.moments import Moments


def test_moments_are_numpys_however_the_columns_are_cut() -> None:
    columns = np.random.default_rng(0).normal(size=(3, 1000)) * [[1], [5], [0.1]] + [[0], [10], [-3]]
    for cuts in ([], [1], [1, 2, 3], [500], [0, 999]):
        moments = Moments(3)
        for part in np.split(columns, cuts, axis=1):
            moments.add(part)
        assert moments.n == 1000
        assert moments.mean == pytest.approx(columns.mean(axis=1), rel=1e-12)
        assert moments.covariance == pytest.approx(np.cov(columns), rel=1e-10, abs=1e-14)
        assert moments.mean_square == pytest.approx((columns**2).mean(axis=1), rel=1e-12)


def test_merged_moments_are_those_of_the_whole() -> None:
    columns = np.random.default_rng(2).normal([[1e6], [0.0]], size=(2, 1000))
    whole, merged = Moments(2), Moments(2)
    whole.add(columns)
    for part in np.split(columns, [0, 1, 600], axis=1):
        moments = Moments(2)
        moments.add(part)
        merged.merge(moments)
    assert merged.n == 1000
    assert merged.mean == pytest.approx(whole.mean, rel=1e-12)
    assert merged.covariance == pytest.approx(whole.covariance, rel=1e-9, abs=1e-9)


def test_a_large_mean_costs_no_digits_of_the_spread() -> None:
    spread = np.random.default_rng(1).normal(size=(1, 1000))
    moments = Moments(1)
    for part in np.split(spread + 1e9, 10, axis=1):
        moments.add(part)
    assert moments.covariance[0, 0] == pytest.approx(np.var(spread, ddof=1), rel=1e-6)


def test_one_row_has_no_covariance() -> None:
    moments = Moments(2)
    moments.add(np.ones((2, 1)))
    assert np.isnan(moments.covariance).all()
