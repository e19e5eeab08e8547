import statistics

import pytest

from bandstand.judge.training.bootstrap import estimate_error


def test_the_error_of_a_mean_is_that_of_the_formula() -> None:
    values = [float(n % 7) for n in range(400)]
    expected = statistics.pstdev(values) / len(values) ** 0.5
    assert estimate_error(values, statistics.fmean) == pytest.approx(expected, rel=0.2)


def test_it_is_the_same_in_every_run() -> None:
    values = [1.0, 2.0, 5.0]
    assert estimate_error(values, statistics.fmean) == estimate_error(values, statistics.fmean)


def test_what_has_no_measure_has_no_error() -> None:
    assert estimate_error([], lambda _: None) is None
