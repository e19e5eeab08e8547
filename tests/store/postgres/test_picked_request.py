"""What a reward takes along is cut from what was read of a request only where that is all of it."""

import json
from typing import Any

import msgspec
import pytest

from bandstand.bandit.json_object import ATTRIBUTE, JsonObject
from bandstand.store.postgres.picked_request import cut_request

READ: dict[str, Any] = {
    "user_id": "anna",
    "context": {"hour_of_day": 7},
    "candidates": [
        {"id": "a", "content": "note: at 7:30", "features": {"priority": 1, "label": "x:y"}},
        {"id": "b", "content": "", "features": {"priority": 2}},
        {"id": "c"},
    ],
}


def add_field(*path: str | int) -> bytes:
    """The same request with a field that nobody read."""
    sent: Any = json.loads(json.dumps(READ))
    place = sent
    for key in path:
        place = place[key]
    place["unknown"] = 5
    return json.dumps(sent, indent=1).encode()


@pytest.mark.parametrize("path", [(), ("context",), ("candidates", 1), ("candidates", 0, "features")])
@pytest.mark.parametrize("pick", [0, 1, 2])
def test_a_field_that_nobody_read_is_taken_along(path: tuple[str | int, ...], pick: int) -> None:
    assert cut_request(add_field(*path), pick, READ) == cut_request(add_field(*path), pick)


@pytest.mark.parametrize("pick", [0, 1, 2])
def test_where_all_was_read_the_body_is_not_parsed_again(pick: int) -> None:
    body = json.dumps(READ).encode()
    changed = {**READ, "context": {"hour_of_day": 8}}  # what only a parse of the body would not know
    assert cut_request(body, pick, READ) == cut_request(body, pick)
    assert json.loads(cut_request(body, pick, changed))["context"] == {"hour_of_day": 8}


def make_object_type(**fields: Any) -> Any:
    return msgspec.defstruct(
        "Made",
        [(ATTRIBUTE + name, kind, msgspec.UNSET) for name, kind in fields.items()],
        bases=(JsonObject,),
        rename={ATTRIBUTE + name: name for name in fields},
    )


@pytest.mark.parametrize("pick", [0, 1, 2])
def test_what_was_read_as_structures_is_cut_alike(pick: int) -> None:
    body = json.dumps(READ).encode()
    features = make_object_type(priority=int, label=str)
    candidate = make_object_type(id=str, content=str, features=features)
    context = msgspec.convert(READ["context"], make_object_type(hour_of_day=int))
    objects = [msgspec.convert(each, candidate) for each in READ["candidates"]]
    read = {**READ, "candidates": objects, "context": context}
    assert cut_request(body, pick, read) == cut_request(body, pick)
    read["context"] = {"hour_of_day": 8}  # what only a parse of the body would not know
    assert json.loads(cut_request(body, pick, read))["context"] == {"hour_of_day": 8}
