"""JSON as tokens: what each kind of value says, and that nothing a caller may send is too much."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.json_tokens import MAX_DEPTH, MAX_TEXT, MAX_TOKENS, find_open_fault, flatten_object
from tests.bandit.given import LAW

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
OBJECTS = st.dictionaries(st.text(max_size=4), ANY_JSON, max_size=6)


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ({"a": "x"}, [("a=x", 1.0)]),
        ({"a": True, "b": False}, [("a=true", 1.0), ("b=false", 1.0)]),
        ({"a": 1, "b": -3.0, "c": 0}, [("a", 0.5), ("b", -0.75), ("c", 0.0)]),
        ({"a": {"b": {"c": "x"}}}, [("a.b.c=x", 1.0)]),
        ({"a": [1, 3.0]}, [("a[0]", 0.5), ("a[1]", 0.75)]),
        ({"a": ["x", "y", True]}, [("a=x", 1.0), ("a=y", 1.0), ("a=true", 1.0)]),
        ({"a": [{"b": 1}, {"b": "x"}]}, [("a.b", 0.5), ("a.b=x", 1.0)]),
        ({"a": None, "b": {}, "c": [], "_d": 1, "e": {"_f": 2}}, []),
        ({"a": 10**400, "b": float("inf"), "c": float("nan")}, [("a", 1.0), ("b", 1.0), ("c", 0.0)]),
    ],
)
def test_each_kind_of_value_has_its_tokens(value: dict[str, Any], tokens: list[tuple[str, float]]) -> None:
    assert list(zip(*flatten_object(value), strict=True)) == tokens


@given(value=OBJECTS)
@LAW
def test_any_object_becomes_tokens_of_at_most_one(value: dict[str, Any]) -> None:
    names, values = flatten_object(value)
    assert len(names) == len(values) <= MAX_TOKENS
    assert all(-1.0 <= each <= 1.0 for each in values)


def test_fields_of_others_are_skipped_at_the_top_alone() -> None:
    assert flatten_object({"price": 1, "item": {"price": 3}}, {"price"}) == (["item.price"], [0.75])


def _nest(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"x": 1}
    for _ in range(depth - 1):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    ("allowed", "refused", "fault"),
    [
        ({f"k{n}": n for n in range(MAX_TOKENS)}, {f"k{n}": n for n in range(MAX_TOKENS + 1)}, "256 values"),
        ({"k": [0.5] * MAX_TOKENS}, {"k": [0.5] * (MAX_TOKENS + 1)}, "256 values"),
        (_nest(MAX_DEPTH), _nest(MAX_DEPTH + 1), "deeper than 8"),
        ({"k": "x" * MAX_TEXT}, {"k": "x" * (MAX_TEXT + 1)}, "strings"),
        ({"k" * MAX_TEXT: 1}, {"k" * (MAX_TEXT + 1): 1}, "names of 1 to 256"),
        ({"k": {"": None}} | {"k": {}}, {"k": {"": 1}}, "names of 1 to 256"),
        ({"k": 1e308}, {"k": [1, float("inf")]}, "finite"),
        ({"_k": float("nan")}, {"k": float("nan")}, "finite"),
    ],
)
def test_what_is_too_much_is_named(allowed: dict[str, Any], refused: dict[str, Any], fault: str) -> None:
    assert find_open_fault(allowed) is None
    assert fault in (find_open_fault(refused) or "")
    assert find_open_fault(refused, refused.keys()) is None


@given(value=OBJECTS)
@LAW
def test_what_is_allowed_is_read_whole(value: dict[str, Any]) -> None:
    """Each value that a request may bring is a token: the limits of both readers are the same."""
    if find_open_fault(value) is None:
        assert len(flatten_object(value)[0]) == _count_values(value)


def _count_values(value: object) -> int:
    if isinstance(value, dict):
        return sum(_count_values(inner) for key, inner in value.items() if not key.startswith("_"))
    if isinstance(value, list):
        return sum(map(_count_values, value))
    return value is not None
