"""Policies: what is configured, its aliases, and which one un-named requests mean."""

import pytest

from bandstand.errors import UnknownPolicyError
from bandstand.service.context import ServiceContext, format_time
from bandstand.service.policies import list_policies
from bandstand.testing.memory_store import MemoryStore
from tests.store.given import CATALOGUE
from tests.store.populated import build_shop, catalogue_of


def deployment(active: str = "linucb-v2") -> ServiceContext:
    return ServiceContext(CATALOGUE, MemoryStore(CATALOGUE), active_policy=active)


def test_every_policy_is_listed_with_its_definition() -> None:
    listed = {entry.name: entry for entry in list_policies(deployment())}
    assert listed.keys() == CATALOGUE.policies.keys()
    for name, entry in listed.items():
        policy = CATALOGUE.policies[name]
        assert (entry.hash, entry.schema, entry.schema_hash) == (
            policy.hash,
            policy.schema.name,
            policy.schema.hash,
        )
        assert entry.feature_labels == list(policy.schema.weight_labels)
        assert entry.parameters == dict(policy.parameters)
    assert {name: listed[name].prior for name in ("linucb-v1", "linucb-v2", "squarecb-v1", "first-v1")} == {
        "linucb-v1": "standard",
        "linucb-v2": "auto",
        "squarecb-v1": "auto",
        "first-v1": None,
    }
    assert listed["linucb-v1"].aliases == ["linucb"]
    assert listed["egreedy-v1"].aliases == ["egreedy"]
    assert listed["linucb-v2"].aliases == []


def test_the_weights_of_blocks_are_named_by_block() -> None:
    catalogue = catalogue_of(build_shop(block={"source": "candidate.colour", "values": ["red"]}))
    listed = {entry.name: entry for entry in list_policies(ServiceContext(catalogue, MemoryStore(catalogue)))}
    assert listed["shop"].feature_labels == list(catalogue.schemas["shop"].weight_labels)
    assert len(listed["shop"].feature_labels) == 2 * 3, "one block for red, one for all others"


@pytest.mark.parametrize(("active", "name"), [("linucb-v2", "linucb-v2"), ("linucb", "linucb-v1")])
def test_one_policy_is_active(active: str, name: str) -> None:
    chosen = deployment(active)
    assert [entry.name for entry in list_policies(chosen) if entry.active] == [name]
    assert chosen.get_policy(None) is CATALOGUE.policies[name]


def test_an_active_policy_that_is_not_configured_is_refused() -> None:
    with pytest.raises(UnknownPolicyError):
        deployment("nobody's")


def test_times_are_told_in_utc() -> None:
    assert format_time(None) is None
    assert format_time(0.0) == "1970-01-01T00:00:00+00:00"
    assert format_time(1_750_000_000.25) == "2025-06-15T15:06:40.250000+00:00"
