import math

import numpy as np
import pytest

from bandstand.evaluate import LoggedRows, snips
from bandstand.evaluate.estimators.curve import MAX_SLICES, Curve
from tests.evaluate.world import World

WORLD = World()
LOG = WORLD.draw_log(5000, seed=31)


def select_part(rows: slice) -> LoggedRows:
    return LoggedRows.of(*(column[rows] for column in LOG))


def test_every_slice_is_the_estimate_over_its_rows() -> None:
    curve = Curve()
    curve.add(select_part(slice(0, 5000)))
    points = curve.to_points()
    assert MAX_SLICES / 2 <= len(points) <= MAX_SLICES
    start = 0
    for point in points:
        rows = slice(start, point.until)
        exact = snips(LOG.reward[rows], LOG.action[rows], LOG.propensity[rows], LOG.target[rows])
        n = point.until - start
        assert point.value == pytest.approx(exact.value)
        assert point.stderr == pytest.approx(exact.stderr * math.sqrt((n - 1) / n))
        assert point.logged == pytest.approx(LOG.reward[rows].mean())
        start = point.until
    assert start == 5000


@pytest.mark.parametrize("step", [1, 7, 999])
def test_it_does_not_matter_how_the_log_is_cut(step: int) -> None:
    whole, parts = Curve(), Curve()
    whole.add(select_part(slice(0, 5000)))
    for start in range(0, 5000, step):
        parts.add(select_part(slice(start, start + step)))
    assert len(parts.to_points()) == len(whole.to_points())
    for one, other in zip(parts.to_points(), whole.to_points(), strict=True):
        assert one == pytest.approx(other)


@pytest.mark.parametrize("cuts", [[1], [4900], [700, 700, 2300], [10, 20, 30], [33, 1000, 1001, 2049]])
def test_parts_have_the_slices_of_the_whole_in_whatever_order_they_are_merged(cuts: list[int]) -> None:
    whole = Curve()
    whole.add(select_part(slice(0, 5000)))
    parts = []
    for part in np.split(np.arange(5000), cuts):
        curve = Curve(int(part[0]) if len(part) else 700)
        if len(part):
            curve.add(select_part(slice(part[0], part[-1] + 1)))
        parts.append(Curve.from_json(curve.to_json()))
    for order in (parts, parts[::-1], parts[1:] + parts[:1]):
        merged = Curve()
        for curve in order:
            merged.merge(curve)
        assert len(merged.to_points()) == len(whole.to_points())
        for one, other in zip(merged.to_points(), whole.to_points(), strict=True):
            assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize("cuts", [[1], [4900], [10, 20, 30], [33, 1000, 1001, 2049]])
def test_parts_that_did_not_know_their_place_hold_the_same_rows_in_the_same_order(cuts: list[int]) -> None:
    merged, before = Curve(), 0
    for part in np.split(np.arange(5000), cuts):
        curve = Curve()
        curve.add(select_part(slice(part[0], part[-1] + 1)))
        curve.move_to(before)
        merged.merge(curve)
        before += len(part)
    points = merged.to_points()
    assert MAX_SLICES / 2 <= len(points) <= MAX_SLICES
    start = 0
    for point in points:
        rows = slice(start, point.until)
        exact = snips(LOG.reward[rows], LOG.action[rows], LOG.propensity[rows], LOG.target[rows])
        assert point.value == pytest.approx(exact.value)
        start = point.until
    assert start == 5000


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 64, 65, 1000])
def test_a_log_of_any_length_has_few_points_and_ends_at_its_end(n: int) -> None:
    curve = Curve()
    curve.add(select_part(slice(0, n)))
    points = curve.to_points()
    assert min(n, MAX_SLICES / 2) <= len(points) <= MAX_SLICES
    assert points[-1].until == n


def test_a_slice_without_weight_has_no_value() -> None:
    curve = Curve()
    curve.add(LoggedRows.of([1.0, 0.5], None, [0.5, 0.5], [0.0, 0.0]))
    assert all(math.isnan(point.value) and math.isnan(point.stderr) for point in curve.to_points())
    assert [point.logged for point in curve.to_points()] == [1.0, 0.5]


def test_an_empty_log_has_no_points() -> None:
    curve = Curve()
    curve.add(LoggedRows.of(np.zeros(0), None, np.zeros(0), np.zeros(0)))
    assert curve.to_points() == []
