"""Structures read as the mappings that dictionaries of the same objects are, and encode to the same numbers."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.json_object import ATTRIBUTE, JsonObject, list_values, to_dict

SCHEMA = FeatureSchema.parse(
    "schema",
    {
        "version": 1,
        "intercept": True,
        "features": [
            {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24.0, "default": 12},
            {"name": "get", "source": "candidate.get", "encoding": "number", "default": 0.25},
            {"name": "keys", "source": "candidate.keys", "encoding": "flag"},
            {"name": "content", "source": "candidate.content", "encoding": "text", "columns": 4},
        ],
    },
)
"""Fields that are called as methods of a mapping are."""
CONTEXTS: list[dict[str, Any]] = [{"hour": 3.0}, {}]
CANDIDATES: list[dict[str, Any]] = [
    {"id": "a", "content": "some text", "features": {"get": -0.0, "keys": True, "content": ""}},
    {"id": "b", "content": "another", "features": {}},
    {"id": "c", "content": "some text"},
    {"id": "d", "content": "", "features": {"get": 3.0}},
]


def make_type(**fields: Any) -> Any:
    return msgspec.defstruct(
        "Made",
        [(ATTRIBUTE + name, kind, msgspec.UNSET) for name, kind in fields.items()],
        bases=(JsonObject,),
        rename={ATTRIBUTE + name: name for name in fields},
        eq=False,
    )


CONTEXT = make_type(hour=float)
CANDIDATE = make_type(id=str, content=str, features=make_type(get=float, keys=bool, content=str))


def to_object(kind: Any, value: dict[str, Any]) -> Any:
    return msgspec.json.decode(json.dumps(value), type=kind)


@pytest.mark.parametrize("sent", [{}, *CANDIDATES, *(each["features"] for each in CANDIDATES if "features" in each)])
def test_it_is_the_mapping_of_what_was_sent(sent: dict[str, Any]) -> None:
    read = to_object(CANDIDATE if "id" in sent else make_type(get=float, keys=bool, content=str), sent)
    assert issubclass(type(read), Mapping)
    assert {**read} == sent
    assert (read == sent, len(read), bool(read)) == (True, len(sent), bool(sent))
    assert msgspec.to_builtins(read) == sent
    assert list(read) == list(sent), "in the order of the schema, which is that of these"
    assert to_dict(read) == {name: read[name] for name in sent}
    for name in (*sent, "get", "items", "of none"):
        assert (read.get(name, 7), name in read) == (sent.get(name, 7), name in sent)
    with pytest.raises(KeyError):
        read["of none"]


@pytest.mark.parametrize("name", ["id", "content", "features", "of none"])
def test_values_are_listed_of_either_kind(name: str) -> None:
    objects = [to_object(CANDIDATE, each) for each in CANDIDATES]
    expected = [each.get(name, 7) for each in CANDIDATES]
    for given in (CANDIDATES, objects, [*objects[:2], *CANDIDATES[2:]], [*CANDIDATES[:2], *objects[2:]]):
        assert list_values(given, name, 7) == expected
    assert list_values([], name) == []


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize("count", [1, 2])
def test_it_encodes_to_the_same_numbers(requests: int, count: int) -> None:
    contexts, candidates = CONTEXTS[:requests], CANDIDATES[: requests * count]
    of_dictionaries = SCHEMA.encode_requests(contexts, SCHEMA.read_candidates(candidates))
    objects = [to_object(CANDIDATE, each) for each in candidates]
    for given in (objects, [*objects[:-1], candidates[-1]]):
        read = SCHEMA.read_candidates(given)
        x = SCHEMA.encode_requests([to_object(CONTEXT, each) for each in contexts], read)
        assert np.array_equal(x, of_dictionaries)
        assert x.tobytes() == of_dictionaries.tobytes(), "signs of zero and all"
