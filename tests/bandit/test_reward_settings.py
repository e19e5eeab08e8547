"""Reward settings: read from a table, written back, and every fault named."""

from typing import Any

import pytest

from bandstand.bandit.aggregation import PartSums
from bandstand.bandit.reward_formula import MetricTerm, RewardFormula, validate_metrics
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import FieldError, InvalidRequestError

FULL: dict[str, Any] = {
    "window": 600.0,
    "default_reward": -0.5,
    "aggregation": "sum",
    "minimum": -2.0,
    "maximum": 3.0,
    "metrics": {"click": {"weight": 1.0}, "revenue": {"weight": 0.01, "low": 0.0, "high": 50.0}},
}


def parse(table: object) -> tuple[RewardSettings, list[FieldError]]:
    faults: list[FieldError] = []
    return RewardSettings.parse(table, "rewards", faults), faults


def test_a_table_is_read_and_written_back() -> None:
    settings, faults = parse(FULL)
    assert faults == []
    assert settings.to_document() == FULL
    assert parse(settings.to_document()) == (settings, [])
    assert parse({}) == (CONTRACT, [])
    assert CONTRACT.to_document() == {}
    short, faults = parse({"metrics": {"click": 2}})
    assert (faults, short.formula) == ([], RewardFormula((MetricTerm("click", 2.0),)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"window": 0.5}, "rewards.window"),
        ({"window": 1e9}, "rewards.window"),
        ({"window": "long"}, "rewards.window"),
        ({"window": None}, "rewards.default_reward"),
        ({"default_reward": 5}, "rewards.default_reward"),
        ({"aggregation": "product"}, "rewards.aggregation"),
        ({"minimum": 3.0}, "rewards.maximum"),
        ({"maximum": 1e9}, "rewards.maximum"),
        ({"metrics": {}}, "rewards.metrics"),
        ({"metrics": {"click": "much"}}, "rewards.metrics.click"),
        ({"metrics": {"click": {"low": 1, "high": 0}}}, "rewards.metrics.click"),
        ({"windows": 1}, "rewards.windows"),
    ],
)
def test_every_fault_is_named(changes: dict[str, Any], field: str) -> None:
    _, faults = parse(FULL | changes)
    assert [fault.field for fault in faults] == [field]


def test_a_formula_is_data_and_its_hash_follows_it() -> None:
    settings, _ = parse(FULL)
    assert settings.formula is not None
    assert settings.formula.compute({"revenue": 125.0, "colour": 3.0}) == 0.5
    assert settings.formula.compute({}) == 0.0
    other, _ = parse(FULL | {"metrics": {"click": 0.5}})
    assert other.formula is not None
    assert other.formula.hash != settings.formula.hash
    assert settings.compute_reward({"click": 100.0}) == 3.0  # within the range
    with pytest.raises(InvalidRequestError, match="no formula"):
        CONTRACT.compute_reward({"click": 1.0})


def test_what_is_taught_stays_within_the_range() -> None:
    settings, _ = parse(FULL)
    assert settings.compute_taught(PartSums.from_values([2.0, 2.0])) == 3.0
    assert settings.validate_reward(2.5) == 2.5
    for value in (3.5, float("nan"), True, "1"):
        with pytest.raises(InvalidRequestError):
            settings.validate_reward(value)


def test_metrics_are_few_and_finite() -> None:
    assert list(validate_metrics({"b": 1, "a": 2.5}).items()) == [("a", 2.5), ("b", 1.0)]
    for metrics in ({"a": float("inf")}, {str(number): 1.0 for number in range(51)}):
        with pytest.raises(InvalidRequestError):
            validate_metrics(metrics)
