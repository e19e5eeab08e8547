"""Reaction tables: read and written back, every fault named, and the contract's is one of them."""

from typing import Any

import pytest

from bandstand.bandit.reaction_table import CONTRACT_REACTIONS, ReactionTable
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import FieldError, InvalidRequestError

SHOP: dict[str, Any] = {
    "name": "shop",
    "version": 2,
    "rules": {"buy": 1.0, "read": [{"below": 5000.0, "reward": -0.25}, {"reward": 0.5}], "hide": -1.0},
}


def parse(table: object) -> tuple[ReactionTable, list[FieldError]]:
    faults: list[FieldError] = []
    return ReactionTable.parse(table, "rewards.reactions", faults), faults


def test_a_table_is_read_and_written_back() -> None:
    table, faults = parse(SHOP)
    assert (faults, table.to_document()) == ([], SHOP)
    assert parse(CONTRACT_REACTIONS.to_document()) == (CONTRACT_REACTIONS, [])
    settings = RewardSettings.parse({"reactions": SHOP}, "rewards", faults)
    assert (settings.reactions, settings.to_document(), faults) == (table, {"reactions": SHOP}, [])
    assert not settings.takes_parts  # how reactions are mapped is no matter of when they count
    assert CONTRACT.reactions == CONTRACT_REACTIONS


def test_its_hash_follows_all_of_it() -> None:
    others = [SHOP | {"name": "shop-b"}, SHOP | {"version": 3}, SHOP | {"rules": {"buy": 1.0}}]
    assert len({parse(each)[0].hash for each in [SHOP, *others]}) == 4
    assert parse(dict(reversed(SHOP.items())))[0].hash == parse(SHOP)[0].hash


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, ".name"),
        ({"name": "My shop"}, ".name"),
        ({"version": 0}, ".version"),
        ({"version": "two"}, ".version"),
        ({"rules": {}}, ".rules"),
        ({"rules": [1.0]}, ".rules"),
        ({"rules": {"Buy now": 1.0}}, ".rules.Buy now"),
        ({"rules": {"buy": "much"}}, ".rules.buy"),
        ({"rules": {"buy": []}}, ".rules.buy"),
        ({"rules": {"buy": [{"below": 5, "reward": 1}]}}, ".rules.buy"),
        ({"rules": {"buy": [{"below": 5, "reward": 1}, {"below": 5, "reward": 1}, {"reward": 0}]}}, ".rules.buy"),
        ({"rules": {"buy": [{"reward": 1}, {"reward": 0}]}}, ".rules.buy"),
        ({"rules": {"buy": [{"below": 5}, {"reward": 0}]}}, ".rules.buy[0].reward"),
        ({"rules": {"buy": [{"above": 5, "reward": 1}]}}, ".rules.buy[0].above"),
        ({"rule": {}}, ".rule"),
    ],
)
def test_every_fault_is_named(changes: dict[str, Any], field: str) -> None:
    _, faults = parse(SHOP | changes)
    assert [fault.field for fault in faults] == [f"rewards.reactions{field}"]


def test_an_action_counts_by_its_dwell_where_that_matters() -> None:
    table, _ = parse(SHOP)
    assert [table.compute_reward("read", dwell) for dwell in (0, 4999.5, 5000, 1e9)] == [-0.25, -0.25, 0.5, 0.5]
    assert table.compute_reward("buy") == 1.0
    with pytest.raises(InvalidRequestError, match="dwell_ms is required with read"):
        table.compute_reward("read")
    with pytest.raises(InvalidRequestError, match="must be buy, read or hide"):
        table.compute_reward("done", 5.0)


def test_what_a_reaction_is_worth_is_within_the_range() -> None:
    assert RewardSettings(minimum=-0.5).compute_reaction_reward("dismiss", None) == -0.5
