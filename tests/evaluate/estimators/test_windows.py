import numpy as np
import pytest

from bandstand.evaluate import LoggedRows
from bandstand.evaluate.estimators.windows import TimeWindows
from tests.evaluate.world import World

LOG = World().draw_log(3000, seed=32)
TS = 1e9 + np.sort(np.random.default_rng(5).uniform(0, 40 * 300.0, 3000))
WIDTH = 300.0


def sum_up(*parts: slice) -> TimeWindows:
    windows = TimeWindows(WIDTH)
    for part in parts:
        windows.add(TS[part], LoggedRows.of(*(column[part] for column in LOG)))
    return windows


def test_every_window_has_the_sums_over_its_rows() -> None:
    rows = LoggedRows.of(*LOG)
    begins = np.floor(TS / WIDTH) * WIDTH
    found = sum_up(slice(0, 3000)).to_sums()
    assert [each.begins for each in found] == sorted(set(begins.tolist()))
    for each in found:
        within = begins == each.begins
        r, w = rows.reward[within], rows.weight[within]
        expected = (within.sum(), r.sum(), (r * r).sum(), w.sum(), (w * r).sum(), ((w * r) ** 2).sum(), (w > 0).sum())
        assert each[1:] == pytest.approx(expected)


def test_it_does_not_matter_how_the_log_is_cut_or_merged() -> None:
    whole = sum_up(slice(0, 3000)).to_sums()
    cut = sum_up(slice(0, 7), slice(7, 2900), slice(2900, 3000)).to_sums()
    merged = sum_up(slice(0, 1234))
    merged.merge(sum_up(slice(1234, 3000)))
    for parts in (cut, merged.to_sums()):
        for one, other in zip(parts, whole, strict=True):
            assert one == pytest.approx(other)
