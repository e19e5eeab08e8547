"""Aggregation: what parts come to, whatever order and however often they arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.aggregation import AGGREGATIONS, Aggregation, PartSums

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)
PARTS = st.dictionaries(st.integers(0, 1000), st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(PARTS, st.data())
def test_any_order_and_any_duplicates_come_to_the_same(parts: dict[int, float], data: st.DataObject) -> None:
    """Parts have numbers; deliveries repeat them, in any order, and the ledger keeps each once, by its number."""
    arrivals = data.draw(st.permutations([*parts, *parts]))
    kept: dict[int, float] = {}
    for number in arrivals:
        kept.setdefault(number, parts[number])
    direct = PartSums.from_values(value for _, value in sorted(parts.items()))
    again = PartSums.from_values(value for _, value in sorted(kept.items()))
    for aggregation in AGGREGATIONS:
        assert again.aggregate(aggregation) == direct.aggregate(aggregation)


@given(VALUES)
def test_what_has_no_order_is_the_same_in_any(values: list[float]) -> None:
    shuffled = sorted(values)
    for aggregation in ("sum", "mean", "median", "min", "max"):
        one, other = (PartSums.from_values(each).aggregate(aggregation) for each in (values, shuffled))
        assert one == pytest.approx(other, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("first", 2.0), ("last", -1.0), ("sum", 4.0), ("mean", 1.0), ("median", 1.0), ("min", -1.0), ("max", 3.0)],
)
def test_each_is_what_its_name_says(aggregation: Aggregation, expected: float) -> None:
    assert PartSums.from_values([2.0, 0.0, 3.0, -1.0]).aggregate(aggregation) == expected


@given(VALUES)
def test_one_after_the_other_comes_to_what_all_at_once_do(values: list[float]) -> None:
    sums = PartSums()
    for value in values:
        sums = sums.add(value)
    assert sums == PartSums.from_values(values)


def test_nothing_has_no_aggregate() -> None:
    with pytest.raises(ValueError, match="needs a part"):
        PartSums().aggregate("sum")
