"""The quick reader takes nothing that pydantic refuses and reads nothing otherwise: held to it over damaged bodies."""

import copy
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from bandstand.api.schemas.quick_reader import build_dict_reader, build_object_reader
from bandstand.api.schemas.requests import Wire
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from bandstand.errors import InvalidRequestError

CATALOGUE = load_catalogue(Settings())
WIRE = Wire(CATALOGUE)
READ_SCORE = build_object_reader(WIRE.score.adapter.json_schema())
READ_REWARD = build_dict_reader(WIRE.reward.adapter.json_schema())

SCORE: dict[str, Any] = {
    "user_id": "u",
    "context": {"hour_of_day": 3, "unread": [1, {"a": None}]},
    "candidates": [
        {
            "id": "a",
            "content": "c",
            "source": "task",
            "source_id": None,
            "features": {"priority": 2, "is_overdue": True, "task_age_days": 3.5, "unread": "z"},
        },
        {"id": "b", "content": "", "source": "s"},
    ],
    "decision_id": "d",
    "ranking": True,
    "exclude": ["a"],
    "slots": [{"id": "s", "exclude": [], "baseline": "a"}],
    "unread": {"y": [1.5e3, 0, "q", False]},
}
WHOLE: dict[str, Any] = {
    "user_id": "u",
    "context": {"hour_of_day": 3},
    "candidates": [
        {
            "id": "a",
            "content": "c",
            "source": "task",
            "source_id": None,
            "features": {"priority": 2, "is_overdue": True, "task_age_days": 3.5},
        },
        {"id": "b", "content": "", "source": "s"},
    ],
    "exclude": ["a"],
    "slots": [{"id": "s", "context": {}, "exclude": [], "baseline": "a"}],
}
"""A request of which every field is read."""
REWARD: dict[str, Any] = {
    "decision_id": "d",
    "user_id": "u",
    "tip_id": "t",
    "reward": 0.5,
    "reaction": {"action": "done", "dwell_ms": 3},
    "features": {"priority": 1, "is_overdue": False},
    "turn": {"query_t": "a", "answer_t": "b", "query_t1": "c"},
    "wait": True,
    "day_of_week": 3,
    "unread": [{}],
}
VALUES: tuple[Any, ...] = (
    None,
    0,
    1,
    -1,
    1.0,
    0.5,
    True,
    False,
    "",
    "x",
    [],
    {},
    2**70,
    -(2**65),
    10**400,
    1e300,
    24,
    "a" * 257,
    [1],
)
TEXTS = (
    *("1e5", "1E2", "-0", "01", "1.", ".5", "+1", "NaN", "Infinity", "1e400", "0.1e-400", "2.0", "nul", "truE", "[1,]"),
    *('"a\tb"', '"\x7f"', '"\\n"', '"\\ud83d"', '"ž"', "'a'", "1 2", "1.00000000000000000000000001", '{"id":1}'),
)
PLACE = '"@place@"'


def list_paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from list_paths(inner, (*path, key))


def damage(request: dict[str, Any], rng: random.Random) -> bytes:
    """JSON much like a request's: values left out, replaced by others or by what may be no JSON, letters changed."""
    request = copy.deepcopy(request)
    for _ in range(rng.randrange(3)):
        *way, last = rng.choice(list(list_paths(request)))
        inside: Any = request
        for key in way:
            inside = inside[key]
        if rng.random() < 0.4:
            del inside[last]
        else:
            inside[last] = copy.deepcopy(rng.choice([*VALUES, PLACE[1:-1]]))
    body = json.dumps(request, separators=rng.choice([(",", ":"), (", ", ": ")])).replace(PLACE, rng.choice(TEXTS))
    if rng.random() < 0.3:
        place = rng.randrange(len(body))
        body = body[:place] + rng.choice(["", *'{}[]",:0.eE+-tn \n\x01']) + body[place + rng.randrange(2) :]
    if rng.random() < 0.1:
        body = body.replace('"content"', '"id"', 1)
    return body.encode()


def test_what_it_takes_reads_the_same() -> None:
    rng = random.Random(11)
    taken = refused = 0
    score = build_object_reader(WIRE.score.adapter.json_schema())
    for number in range(6000):
        asked, body, read_quickly = (
            (SCORE, WIRE.score, score),
            (REWARD, WIRE.reward, READ_REWARD),
            (WHOLE, WIRE.score, build_object_reader(WIRE.score.adapter.json_schema()) if number < 900 else score),
        )[number % 3]
        sent = damage(asked, rng)
        read = read_quickly(sent)
        if read is None or not body.is_sound(read):
            refused += 1
            continue
        taken += 1
        try:
            expected = body.adapter.validate_json(sent)
        except ValidationError as error:
            pytest.fail(f"{sent!r} was taken, and is refused: {error}")
        assert to_comparable(read) == to_comparable(expected), sent
    assert min(taken, refused) > 500


def to_comparable(value: object) -> str:
    """Types, signs of zero and all, but for the order of fields."""
    if isinstance(value, Mapping):
        return repr({name: to_comparable(value[name]) for name in sorted(value)})
    return repr([to_comparable(each) for each in value]) if isinstance(value, list) else repr(value)


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_usual_bodies_are_taken_whatever_their_size(count: int) -> None:
    body = json.dumps(SCORE | {"candidates": [SCORE["candidates"][0] | {"id": str(number)} for number in range(count)]})
    read = READ_SCORE(body.encode())
    assert read is not None
    assert len(read["candidates"]) == count


@pytest.mark.parametrize("count", [1, 150])
@pytest.mark.parametrize("depth", [200, 250, 5000])
def test_deep_nesting_is_left_to_pydantic(depth: int, count: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    request = {
        "exclude": ["0"] * 500,
        "candidates": [{"id": str(number), "content": "", "source": "task"} for number in range(count)],
    }
    body = json.dumps({**SCORE, **request, "unread": 1}).encode().replace(b'"unread": 1', b'"unread": ' + nested)
    assert READ_SCORE(body) is None


def test_what_json_schema_cannot_say_is_still_refused() -> None:
    twice = json.dumps(SCORE | {"candidates": [SCORE["candidates"][1]] * 2}).encode()
    with pytest.raises(InvalidRequestError, match="candidate ids must differ"):
        WIRE.score.read(twice)


def test_a_closed_or_an_open_object_is_left_to_pydantic() -> None:
    strict = Wire(CATALOGUE, strict_features=True)
    assert build_object_reader(strict.score.adapter.json_schema())(json.dumps(SCORE).encode()) is None
    open_schema = {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": True}}}
    assert build_dict_reader(open_schema)(b'{"a": {}}') is None
    assert build_dict_reader(open_schema)(b"{}") == {}


@pytest.mark.parametrize("before", [0, 1, 300])
@pytest.mark.parametrize("digits", [4301, 50_000])
def test_long_numbers_are_left_to_pydantic(digits: int, before: int) -> None:
    long = b" " * before + b"1" * digits
    body = json.dumps({**REWARD, "unread": 1}).encode().replace(b'"unread": 1', b'"unread": ' + long)
    assert READ_REWARD(body) is None
    with pytest.raises(InvalidRequestError):
        WIRE.reward.parse(body)


def test_what_came_before_changes_nothing() -> None:
    schema, rng = WIRE.score.adapter.json_schema(), random.Random(5)
    fresh, partly = build_object_reader(schema), build_object_reader(schema)
    taken = 0
    for _ in range(300):
        assert partly(json.dumps(SCORE).encode()) is not None, "it reads as one of which a part is not read from now on"
        sent = damage(WHOLE, rng)
        read = fresh(sent)
        assert to_comparable(read) == to_comparable(partly(sent)), sent
        taken += read is not None
    assert 50 < taken < 250


@pytest.mark.parametrize("digits", [4301, 50_000])
def test_long_numbers_are_left_to_pydantic_also_where_all_is_read(digits: int) -> None:
    body = json.dumps(WHOLE).encode().replace(b"3.5", b"3." + b"5" * digits)
    assert build_object_reader(WIRE.score.adapter.json_schema())(body) is None
