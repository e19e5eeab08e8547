"""From JSON to dataclasses, across versions of the service; and what is generated is up to date."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from bandstand_client.reading import Answer, parse_answer

CLIENT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Leaf(Answer):
    name: str


@dataclass(frozen=True, kw_only=True)
class Tree(Answer):
    count: int
    mean: float
    ok: bool
    note: str | None = None
    kind: Literal["oak", "elm"]
    leaves: tuple[Leaf, ...]
    by_name: Mapping[str, Leaf]
    first: Leaf | None = None
    anything: Mapping[str, Any]


WIRE: dict[str, Any] = {
    "count": 3,
    "mean": 1,
    "ok": True,
    "note": None,
    "kind": "oak",
    "leaves": [{"name": "a"}],
    "by_name": {"b": {"name": "b", "colour": "red"}},
    "first": {"name": "c"},
    "anything": {"x": [1]},
}


def test_an_answer_is_read_field_by_field() -> None:
    tree = parse_answer(Tree, WIRE)
    assert tree == Tree(
        count=3,
        mean=1.0,
        ok=True,
        note=None,
        kind="oak",
        leaves=(Leaf(name="a"),),
        by_name={"b": Leaf(name="b", extra={"colour": "red"})},
        first=Leaf(name="c"),
        anything={"x": [1]},
    )
    assert isinstance(tree.mean, float)


def test_unknown_fields_are_kept() -> None:
    assert parse_answer(Tree, {**WIRE, "new": 1}).extra == {"new": 1}


def test_a_field_that_may_be_null_may_be_missing() -> None:
    older = {name: value for name, value in WIRE.items() if name not in {"note", "first"}}
    assert parse_answer(Tree, older).first is None


def test_an_answer_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        parse_answer(Tree, WIRE).count = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", "3"),
        ("count", True),
        ("count", 1.5),
        ("mean", "1"),
        ("mean", False),
        ("ok", 1),
        ("leaves", {}),
        ("leaves", [1]),
        ("by_name", []),
        ("first", "c"),
    ],
)
def test_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(TypeError):
        parse_answer(Tree, {**WIRE, field: value})


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(KeyError, match="count"):
        parse_answer(Tree, {name: value for name, value in WIRE.items() if name != "count"})


def test_what_is_generated_is_up_to_date() -> None:
    pytest.importorskip("ruff")
    if not (CLIENT.parents[1] / "docs" / "openapi.json").exists():
        pytest.skip("the service's openapi.json is not beside the client")
    words = [sys.executable, str(CLIENT / "tools" / "generate.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
