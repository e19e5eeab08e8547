"""Summaries of evaluations: windows of time, joined, and what is made of their sums."""

import math

import pytest

from bandstand.evaluate.estimators.windows import WindowSums
from bandstand.personalizer.evaluation_summary import SummarySums, WindowSeries

WIDTH = 300.0
WINDOWS = [
    WindowSums(begins, n, 0.5 * n, 0.3 * n, 1.1 * n, 0.6 * n, 0.9 * n, n - 1)
    for begins, n in ((0.0, 4), (300.0, 2), (3_300.0, 7), (7_200.0, 1), (90_000.0, 5))
]
SERIES = WindowSeries(WINDOWS, WIDTH, is_logged=False)


@pytest.mark.parametrize("width", [300.0, 3_600.0, 86_400.0, 604_800.0])
@pytest.mark.parametrize("is_logged", [False, True])
def test_windows_of_any_length_add_up_to_the_same(width: float, *, is_logged: bool) -> None:
    series = WindowSeries(WINDOWS, WIDTH, is_logged)
    rolling, expanding = series.join(width, "Rolling"), series.join(width, "Expanding")
    assert [begins for begins, _ in rolling] == [begins for begins, _ in expanding]
    assert all(begins % width == 0 for begins, _ in rolling)
    added = SummarySums()
    for (_, sums), (_, so_far) in zip(rolling, expanding, strict=True):
        added = added.add(sums)
        assert so_far == added
    assert added == series.sum_all()


def test_no_window_is_shorter_than_those_there_are() -> None:
    series = WindowSeries(WINDOWS, 3_600.0, is_logged=False)
    assert series.join(300.0, "Rolling") == series.join(3_600.0, "Rolling")


def test_a_part_has_the_windows_that_lie_in_it() -> None:
    assert [each.begins for each in SERIES.cut(599.0, 7_200.0).windows] == [300.0, 3_300.0]
    assert SERIES.cut(600.0, 3_300.0).windows == []


def test_a_summary_is_what_its_formulas_say() -> None:
    """Rewards 1, 0, −1 under the weights 2, 0, 1."""
    products = [2.0, 0.0, -1.0]
    sums = SummarySums(3, 3.0, sum(products), sum(each**2 for each in products), 2)
    summary = sums.to_summary("2026-01-01T00:00:00Z", "PT5M")
    n, total, squares = 3, 1.0, 5.0
    half = 1.96 * math.sqrt((squares - total**2 / n) / (n - 1) / n)
    assert summary == {
        "timeStamp": "2026-01-01T00:00:00Z",
        "ipsEstimatorNumerator": total,
        "ipsEstimatorDenominator": 3.0,
        "snipsEstimatorDenominator": 3.0,
        "aggregateTimeWindow": "PT5M",
        "nonZeroProbability": 2.0,
        "sumOfSquares": squares,
        "confidenceInterval": pytest.approx(half),
        "averageReward": pytest.approx(1 / 3),
    }
    assert sums.to_expectation()["confidenceInterval"] == pytest.approx([1 / 3 - half, 1 / 3 + half])


def test_one_decision_and_none_have_no_interval() -> None:
    assert SummarySums(1, 1.0, 0.5, 0.25, 1).half_width == 0.0
    assert SummarySums().to_expectation() == {"expectedReward": 0.0, "confidenceInterval": [0.0, 0.0]}
