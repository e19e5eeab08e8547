"""A loop's definition: read whole or refused with every fault, and written as what reads the same again."""

from typing import Any

import pytest

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.errors import ConfigurationError

FULL: dict[str, Any] = {
    "scope": "user",
    "mode": "apprentice",
    "policy": "shelf",
    "shadow": ["linucb-v2"],
    "include": ["linucb-v2"],
    "schemas": {"shelf": {"version": 1}},
    "policies": {"shelf": {"kind": "linucb", "schema": "shelf"}},
    "personalizer": {"user": "user.id"},
    "rewards": {"window": 60.0},
    "retention_days": 2,
}


@pytest.mark.parametrize("document", [{}, {"mode": "logging"}, {"include": []}, FULL])
def test_what_is_written_reads_the_same_again(document: dict[str, Any]) -> None:
    definition = LoopDefinition.parse("menu", document)
    written = definition.to_document()
    assert LoopDefinition.parse("menu", written) == definition
    assert written == {"scope": "user", "mode": "online", **document}


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        LoopDefinition.parse(
            "Menu", {"mod": "online", "mode": "onlin", "scope": 3, "shadow": ["a", "a"], "policies": [], "policy": ""}
        )
    assert {fault.field for fault in caught.value.errors} == {
        *("name", "loop.mod", "loop.mode", "loop.scope", "loop.shadow", "loop.policies", "loop.policy")
    }
    assert "did you mean 'online'" in caught.value.detail


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"retention_days": -1}, "loop.retention_days"),
        ({"retention_days": 2, "rewards": {"window": 86_401}}, "loop.retention_days"),
        ({"personalizer": {"user": "user..id"}}, "loop.personalizer.user"),
        ({"personalizer": {"user": 3}}, "loop.personalizer.user"),
    ],
)
def test_what_does_not_fit_is_named(document: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LoopDefinition.parse("menu", document)
    assert [fault.field for fault in caught.value.errors] == [field]


@pytest.mark.parametrize("document", [None, [], "online", 3])
def test_a_definition_is_a_table(document: object) -> None:
    with pytest.raises(ConfigurationError, match=r"loops\.menu: must be a table"):
        LoopDefinition.parse("menu", document, "loops.menu")
