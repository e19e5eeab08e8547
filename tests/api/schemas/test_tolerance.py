"""What many clients write is read as what is meant, on every route alike: the schemas say where that may be."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from bandstand.api.openapi import OTHER_BODIES
from bandstand.api.schemas.requests import RequestBody, Wire
from bandstand.api.schemas.tolerance import build_normaliser, repair_text
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from bandstand.errors import InvalidRequestError
from tests.api.given import TWO, Service, read_ok, read_problem

BODIES = {body.name: body for body in (*Wire(load_catalogue(Settings())).bodies, *OTHER_BODIES)}
DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"
HALF, REPLACEMENT = "\ud83d", "\ufffd"

Steps = tuple[str | int, ...]


def read_outcome(body: RequestBody, value: object) -> object:
    """What a body is read as, a null that its schema allows left out; or which fields are at fault."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    try:
        request = json.loads(json.dumps(to_builtins(body.parse(text)), default=str))
    except InvalidRequestError as error:
        return error.errors
    return build_normaliser(body.adapter.json_schema())(request)


def iter_fields(schema: dict[str, Any], value: Any, definitions: dict[str, Any], path: Steps = ()) -> Iterator[Any]:
    """Every field that a schema names where a value of it is: path, the field's schema, whether it may be left out."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        yield from iter_fields(choice, value, definitions, path)
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from iter_fields(schema.get("items", {}), item, definitions, (*path, position))
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            yield (*path, name), field, name not in schema.get("required", ())
            yield from iter_fields(field, value.get(name), definitions, (*path, name))


def change(value: Any, path: Steps, new: object) -> Any:
    changed = copy.deepcopy(value)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = new
    return changed


def remove(value: Any, path: Steps) -> Any:
    changed = change(value, path, None)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return changed


def iter_cases(body: RequestBody) -> Iterator[tuple[Any, Steps, dict[str, Any], bool]]:
    schema = body.adapter.json_schema()
    for example in body.examples.values():
        for path, field, is_optional in iter_fields(schema, example["value"], schema.get("$defs", {})):
            yield example["value"], path, field, is_optional


def list_types(field: dict[str, Any]) -> set[str]:
    return {choice.get("type", "") for choice in field.get("anyOf", [field])}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_null_is_an_optional_field_left_out(body: RequestBody) -> None:
    tried = 0
    for value, path, _, is_optional in iter_cases(body):
        if is_optional:
            tried += 1
            assert read_outcome(body, change(value, path, None)) == read_outcome(body, remove(value, path)), path
    assert tried or body.name in {"ResetRequest", "OverrideRequest", "ReapplyRequest"}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_null_for_a_required_field_is_refused(body: RequestBody) -> None:
    for value, path, _, is_optional in iter_cases(body):
        if not is_optional:
            outcome = read_outcome(body, change(value, path, None))
            assert not isinstance(outcome, dict), path


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_whole_number_is_an_integer_however_it_is_written(body: RequestBody) -> None:
    for value, path, field, _ in iter_cases(body):
        if "integer" in list_types(field):
            whole = field.get("minimum", 1)
            as_integer = read_outcome(body, change(value, path, whole))
            assert read_outcome(body, change(value, path, float(whole))) == as_integer, path
            for wrong in (True, str(whole), whole + 0.5, f"{whole}.0", [whole]):
                assert not isinstance(read_outcome(body, change(value, path, wrong)), dict), (path, wrong)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_half_a_surrogate_pair_becomes_the_replacement_character(body: RequestBody) -> None:
    for value, path, field, _ in iter_cases(body):
        if "string" in list_types(field) and "format" not in field:
            for text in ("ab{}", "{}ab", "{}{}", "a{}\\u00e9{}", "\\\\{}"):
                half = read_outcome(body, change(value, path, text.replace("{}", HALF)))
                assert half == read_outcome(body, change(value, path, text.replace("{}", REPLACEMENT))), path


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_byte_order_mark_is_passed_over(body: RequestBody) -> None:
    for example in body.examples.values():
        text = json.dumps(example["value"]).encode()
        assert read_outcome(body, b"\xef\xbb\xbf" + text) == read_outcome(body, text)


def test_every_body_of_every_route_is_read_here() -> None:
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    names = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for operations in document["paths"].values()
        for operation in operations.values()
        if "requestBody" in operation
    }
    assert names == set(BODIES)


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        (r'"\ud83d\ude00"', r'"\ud83d\ude00"'),
        (r'"\ude00\ud83d"', '"\ufffd\ufffd"'),
        (r'"\ud83d\ud83d\ude00"', '"\ufffd' + r'\ud83d\ude00"'),
        (r'"\\ud83d"', r'"\\ud83d"'),
        (r'"\\\ud83d"', '"' + r"\\" + '\ufffd"'),
        (r'"\u00e9\uD83D\n"', r'"\u00e9' + "\ufffd" + r'\n"'),
        (r'"\u', r'"\u'),
    ],
)
def test_only_halves_are_replaced(text: str, repaired: str) -> None:
    assert repair_text(text.encode()) == repaired.encode()


def test_a_half_that_is_written_as_three_bytes_is_replaced_too() -> None:
    assert repair_text(b'"\xed\xa0\xbd!"') == '"\ufffd!"'.encode()
    assert repair_text('"\ud7ff\ue000"'.encode()) == '"\ud7ff\ue000"'.encode()


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_read_is_what_the_ledger_has(service: Service) -> None:
    features = {"priority": 4.0, "is_overdue": None, "task_age_days": 2, "hour_of_day": None}
    candidates = [{**TWO[0], "features": features, "content": f"half {HALF}"}, {**TWO[1], "features": None}]
    request = {
        "user_id": f"ada{HALF}",
        "candidates": candidates,
        "context": {"hour_of_day": 9.0, "day_of_week": None},
        "decision_id": None,
        "ranking": None,
        "unknown": [HALF, None, 2.0],
    }
    answer = read_ok(await service.post("/score", b"\xef\xbb\xbf" + json.dumps(request).encode()))
    receipt = await service.receipt(answer["decision_id"])
    assert (receipt["user_id"], receipt["context"]) == ("ada\ufffd", {"hour_of_day": 9})
    [entry] = await service.history("ada\ufffd")
    assert entry["features"]["hour_of_day"] == 9
    assert entry["features"]["priority"] == (4 if answer["tip_id"] == TWO[0]["id"] else 1)


async def test_what_is_plainly_wrong_stays_refused(service: Service) -> None:
    body = {"user_id": "ada", "candidates": TWO, "decision_id": None}
    for context in ({"hour_of_day": True}, {"hour_of_day": "9"}, {"hour_of_day": 9.5}):
        read_problem(
            await service.post("/score", {**body, "context": context}), 422, "invalid-request", "context.hour_of_day"
        )
    text = json.dumps({**body, "x": 0}).replace('"x": 0', '"x": NaN').encode()
    read_problem(await service.post("/score", text), 422, "invalid-request", "body")


async def test_white_space_round_an_idempotency_key_is_no_part_of_it(service: Service) -> None:
    legacy = {"user_id": "ada", "tip_id": "t", "reward": 0.5, "features": {}}
    for key in (b"k9", b"k9 ", b"\tk9"):
        fields = [(b"content-type", b" application/json "), (b"idempotency-key", key)]
        answer = await service.raw("POST", b"/reward", headers=fields, body=[json.dumps(legacy).encode()])
        assert answer.status == 200
    assert (await service.stats())["reward_count"] == 1
