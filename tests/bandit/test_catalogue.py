"""The catalogue: what ships, what a deployment adds, what it cannot touch."""

import tomllib
from typing import Any

import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policies import EpsilonGreedy, First, LinUCB, SquareCB, Thompson, Uniform
from bandstand.errors import UnknownPolicyError
from tests.bandit.checks import check_policy
from tests.bandit.given import CATALOGUE, SHIPPED

SHOP = """
[policies.shop]
kind = "egreedy"
schema = "shop-1"

[schemas.shop-1]
version = 3
intercept = true
features = [
  { name = "group", source = "context.group", encoding = "onehot", values = ["a", "b"] },
  { name = "item", source = "candidate.item", encoding = "hash", buckets = 4 },
  { name = "match", encoding = "interaction", of = ["group", "item"] },
]
"""


def _build_shop() -> dict[str, Any]:
    return tomllib.loads(SHOP)


RIDGE = {"half_life": 0.0, "variance": 1.0, "noise": 1.0}


def test_what_ships_is_the_contracts_and_our_default() -> None:
    assert set(CATALOGUE.schemas) == {"tips-5", "tips-7", "tips-v2"}
    shipped = {name: (type(p), p.schema.name, dict(p.parameters)) for name, p in CATALOGUE.policies.items()}
    assert shipped == {
        "linucb-v1": (LinUCB, "tips-5", {"alpha": 1.0, "floor": 0.0, **RIDGE}),
        "egreedy-v1": (EpsilonGreedy, "tips-7", {"epsilon": 0.1, **RIDGE}),
        "linucb-v2": (LinUCB, "tips-v2", {"alpha": 0.5, "floor": 0.02, **RIDGE}),
        "thompson-v1": (Thompson, "tips-v2", {"scale": 1.0, "floor": 0.02, **RIDGE}),
        "squarecb-v1": (SquareCB, "tips-v2", {"gamma": 100.0, "floor": 0.02, **RIDGE}),
        "uniform-v1": (Uniform, "tips-v2", {}),
        "first-v1": (First, "tips-v2", {"floor": 0.0}),
    }
    learners = {name for name, policy in CATALOGUE.policies.items() if policy.learns_prior}
    assert learners == {"linucb-v2", "thompson-v1", "squarecb-v1"}


def test_aliases_always_mean_v1() -> None:
    assert CATALOGUE.get_policy("linucb") is CATALOGUE.get_policy("linucb-v1")
    assert CATALOGUE.get_policy("egreedy") is CATALOGUE.get_policy("egreedy-v1")
    assert dict(CATALOGUE.aliases) == {"linucb": "linucb-v1", "egreedy": "egreedy-v1"}


@pytest.mark.parametrize("name", ["", "linucb-v3", "LINUCB", "linucb "])
def test_an_unknown_policy_is_an_error_that_does_not_echo_it(name: str) -> None:
    with pytest.raises(UnknownPolicyError) as error:
        CATALOGUE.get_policy(name)
    assert error.value.detail == "No policy of that name is configured."


def test_fields_are_the_union_of_all_schemas() -> None:
    assert set(CATALOGUE.context_fields) == {"hour_of_day", "day_of_week"}
    assert set(CATALOGUE.candidate_fields) == {"is_overdue", "task_age_days", "priority"}
    both = Catalogue.parse(SHIPPED, _build_shop())
    assert set(both.context_fields) == {"hour_of_day", "day_of_week", "group"}
    assert set(both.candidate_fields) == {"is_overdue", "task_age_days", "priority", "item"}


def test_a_deployment_adds_schemas_and_policies() -> None:
    both = Catalogue.parse(SHIPPED, _build_shop())
    assert set(both.policies) == {*CATALOGUE.policies, "shop"}
    assert both.schemas["shop-1"].dimension == 1 + 2 + 4 + 8
    check_policy(both.get_policy("shop"))


def test_a_deployment_may_use_a_shipped_schema_and_replace_what_is_ours() -> None:
    deployment = {
        "policies": {
            "bold": {"kind": "linucb", "schema": "tips-7", "alpha": 2},
            "linucb-v2": {"kind": "linucb", "schema": "tips-v2", "alpha": 0.1},
        }
    }
    both = Catalogue.parse(SHIPPED, deployment)
    assert both.get_policy("bold").parameters == {"alpha": 2.0, "floor": 0.0, **RIDGE}
    assert both.get_policy("linucb-v2").parameters["alpha"] == 0.1
    assert both.get_policy("linucb-v2").hash != CATALOGUE.get_policy("linucb-v2").hash
    assert both.get_policy("linucb-v1").hash == CATALOGUE.get_policy("linucb-v1").hash


def test_tables_that_others_read_are_let_through_when_named() -> None:
    both = Catalogue.parse(SHIPPED, {**_build_shop(), "taxonomies": {"x": {}}}, other_tables={"taxonomies"})
    assert "shop" in both.policies


def test_a_deployment_without_the_shipped_policies_has_no_aliases() -> None:
    alone = Catalogue.parse({}, _build_shop())
    assert dict(alone.aliases) == {}
    with pytest.raises(UnknownPolicyError):
        alone.get_policy("linucb")
