"""Every request that must be refused, in one place: what is sent, and which problem about which fields comes back.

Bodies are JSON text, since half of what is wrong in the world no JSON library would write. Where a value has words in
it they are the canary, which must never come back.
"""

from typing import NamedTuple

from tests.api.given import CANARY


class Refusal(NamedTuple):
    """A POST and the problem it is answered with."""

    path: str
    body: bytes
    status: int
    code: str
    fields: tuple[str, ...]


def build_candidate(features: str = "{}", identifier: str = '"tip-1"', more: str = "") -> str:
    return f'{{"id": {identifier}, "content": "{CANARY}", "source": "task", "features": {features}{more}}}'


def score(candidates: str = build_candidate(), user: str = '"ada"', more: str = "") -> str:
    return f'{{"user_id": {user}, "candidates": [{candidates}]{more}}}'


def reward(more: str) -> str:
    return f'{{"user_id": "ada", "tip_id": "tip-1", {more}}}'


_STRING = f'"{CANARY}"'
_NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "true", "false", '"0.5"', _STRING, "[]", "{}"]
_HUGE = ["1" + "0" * 400, "-1" + "0" * 400]
_NO_INTEGERS = [*_NO_NUMBERS, *_HUGE, "12.5"]
_WRONG_IDS = ['""', f'"{CANARY * 43}"', '"a\\u0000b"', '"a\\nb"', '"\\u007f"', '"\\u0085"', "1", "true", "[]"]
_NO_IDS = [*_WRONG_IDS, "null"]

_VALUES: list[tuple[str, str, str, list[str]]] = [
    # path, body with one value left open, field, values that do not fit there
    ("/score", score(user="%s"), "user_id", _NO_IDS),
    ("/score", score(build_candidate(identifier="%s")), "candidates.0.id", _NO_IDS),
    ("/score", score(more=', "decision_id": %s'), "decision_id", _WRONG_IDS),
    ("/score", score(more=', "ranking": %s'), "ranking", ["1", '"true"']),
    ("/score", score(more=', "context": %s'), "context", ["[]", "1", _STRING]),
    ("/score", score(more=', "context": {"hour_of_day": %s}'), "context.hour_of_day", [*_NO_INTEGERS, "24", "-1"]),
    ("/score", score(more=', "context": {"day_of_week": %s}'), "context.day_of_week", [*_NO_INTEGERS, "7", "-1"]),
    (
        "/score",
        score(build_candidate('{"hour_of_day": %s}')),
        "candidates.0.features.hour_of_day",
        [*_NO_INTEGERS, "24", "-1"],
    ),
    ("/score", score(build_candidate('{"priority": %s}')), "candidates.0.features.priority", [*_NO_INTEGERS, "0", "5"]),
    (
        "/score",
        score(build_candidate('{"task_age_days": %s}')),
        "candidates.0.features.task_age_days",
        _NO_NUMBERS + _HUGE,
    ),
    (
        "/score",
        score(build_candidate('{"is_overdue": %s}')),
        "candidates.0.features.is_overdue",
        ["0", "1", '"true"', _STRING],
    ),
    ("/score", score(build_candidate("%s")), "candidates.0.features", ["[]", "1", _STRING]),
    ("/score", score(build_candidate(more=', "content": %s')), "candidates.0.content", ["1", "null", "[]"]),
    ("/score", score(build_candidate(more=', "source": %s')), "candidates.0.source", ["1", "null", "[]"]),
    ("/score", score(build_candidate(more=', "source_id": %s')), "candidates.0.source_id", ["1", "true", "[]"]),
    ("/score", score("%s"), "candidates.0", ["null", "1", _STRING, "[]"]),
    ("/score", '{"user_id": "ada", "candidates": %s}', "candidates", ["null", "[]", "{}", _STRING]),
    ("/reward", reward('"features": {}, "reward": %s'), "reward", [*_NO_NUMBERS, *_HUGE, "1.01", "-1.01", "1e300"]),
    ("/reward", '{"decision_id": "d", "reward": %s}', "reward", [*_NO_NUMBERS, "1.0000000000000002"]),
    ("/reward", '{"decision_id": %s, "reward": 1}', "decision_id", _WRONG_IDS),
    ("/reward", '{"user_id": %s, "tip_id": "t", "reward": 1, "features": {}}', "user_id", _NO_IDS),
    ("/reward", '{"user_id": "ada", "tip_id": %s, "reward": 1, "features": {}}', "tip_id", _NO_IDS),
    ("/reward", reward('"reward": 1, "features": %s'), "features", ["null", "[]", "1", _STRING]),
    ("/reward", reward('"reward": 1, "features": {"priority": %s}'), "features.priority", ["0", "5", "true", "NaN"]),
    ("/reward", reward('"reward": 1, "features": {}, "day_of_week": %s'), "day_of_week", [*_NO_INTEGERS, "7", "-1"]),
    ("/reward", reward('"features": {}, "reaction": %s'), "reaction", ["[]", "1", _STRING]),
    (
        "/reward",
        reward('"features": {}, "reaction": {"action": %s}'),
        "reaction.action",
        [_STRING, '"Done"', '""', "null", "1"],
    ),
    (
        "/reward",
        reward('"features": {}, "reaction": {"action": "done", "dwell_ms": %s}'),
        "reaction.dwell_ms",
        ["-1", "-0.001", "NaN", "Infinity", "1e400", "true", '"5"', "[]"],
    ),
    ("/reset", '{"user_id": %s}', "user_id", _NO_IDS),
]

_SAME_ESCAPED = '"\\u0074ip-1"'
_MANY = ", ".join(build_candidate(identifier=f'"tip-{number}"') for number in range(1001))

_BODIES: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("no body", b"", ("body",)),
    ("white space", b" \n", ("body",)),
    ("null", b"null", ("body",)),
    ("a list", b"[]", ("body",)),
    ("a number", b"1", ("body",)),
    ("a string", _STRING.encode(), ("body",)),
    ("half an object", b'{"user_id": "%s' % CANARY.encode(), ("body",)),
    ("two objects", score().encode() * 2, ("body",)),
    ("single quotes", f"{{'user_id': '{CANARY}'}}".encode(), ("body",)),
    ("a comment", b"// %s\n" % CANARY.encode() + score().encode(), ("body",)),
    ("a byte order mark alone", b"\xef\xbb\xbf", ("body",)),
    ("two byte order marks", b"\xef\xbb\xbf" * 2 + score().encode(), ("body",)),
    ("UTF-16", score().encode("utf-16"), ("body",)),
    ("Latin-1", score(user='"zoë"').encode("latin-1"), ("body",)),
    ("a byte that is no UTF-8, where nobody looks", score(more=', "x": "\xff"').encode("latin-1"), ("body",)),
    ("a raw control character", score(user='"a\nb"').encode(), ("body",)),
    ("half an escape", score(more=', "x": "\\ud83').encode(), ("body",)),
    ("deep nesting", score(more=', "x": ' + "[" * 5000 + "]" * 5000).encode(), ("body",)),
    ("deep nesting in a field", b'{"user_id": ' + b'{"a":' * 100_000, ("body",)),
    ("a number of 5,000 digits", score(more=', "x": ' + "1" * 5000).encode(), ("body",)),
    ("NaN where nobody looks", score(more=', "x": NaN').encode(), ("body",)),
    ("Infinity where nobody looks", score(more=', "x": {"y": [-Infinity]}').encode(), ("body",)),
    ("nothing", b"{}", ("user_id", "candidates")),
    ("1,001 candidates", score(_MANY).encode(), ("candidates",)),
    ("the same id twice", score(f"{build_candidate()}, {build_candidate()}").encode(), ("candidates",)),
    (
        "the same id twice, escaped",
        score(f"{build_candidate()}, {build_candidate(identifier=_SAME_ESCAPED)}").encode(),
        ("candidates",),
    ),
    (
        "a candidate with nothing",
        score("{}").encode(),
        ("candidates.0.id", "candidates.0.content", "candidates.0.source"),
    ),
    (
        "two faults",
        score(build_candidate('{"priority": 9}'), user='""').encode(),
        ("user_id", "candidates.0.features.priority"),
    ),
]

REFUSED: dict[str, Refusal] = {
    **{
        f"{path} {field} {value[:24]}": Refusal(path, (template % value).encode(), 422, "invalid-request", (field,))
        for path, template, field, values in _VALUES
        for value in values
    },
    **{f"/score {name}": Refusal("/score", body, 422, "invalid-request", fields) for name, body, fields in _BODIES},
    **{
        f"/reward {name}": Refusal("/reward", body, 422, "invalid-request", fields)
        for name, body, fields in _BODIES
        if fields == ("body",)
    },
    "/reward nothing": Refusal("/reward", b"{}", 422, "invalid-request", ("reward", "reaction")),
    "/reward without fields": Refusal(
        "/reward", b'{"reward": 1}', 422, "invalid-request", ("user_id", "tip_id", "features")
    ),
    "/reward null": Refusal(
        "/reward",
        b'{"decision_id": "d", "reward": null, "reaction": null}',
        422,
        "invalid-request",
        ("reward", "reaction"),
    ),
    "/reward null without a decision": Refusal(
        "/reward",
        reward('"decision_id": null, "reward": 1, "features": null').encode(),
        422,
        "invalid-request",
        ("features",),
    ),
    "/reward both": Refusal(
        "/reward",
        b'{"decision_id": "d", "reward": 1, "reaction": {"action": "snooze"}}',
        422,
        "invalid-request",
        ("reward", "reaction"),
    ),
    "/reward done without dwell": Refusal(
        "/reward",
        reward('"features": {}, "reaction": {"action": "done"}').encode(),
        422,
        "invalid-request",
        ("reaction.dwell_ms",),
    ),
    "/reward unknown decision": Refusal(
        "/reward", b'{"decision_id": "%s", "reward": 1}' % CANARY.encode(), 404, "unknown-decision", ()
    ),
    "/score unknown policy": Refusal(f"/score/{CANARY}", score().encode(), 404, "unknown-policy", ()),
    "/reward unknown policy": Refusal(
        f"/reward/{CANARY}", b'{"decision_id": "d", "reward": 1}', 404, "unknown-policy", ()
    ),
    "/score another case": Refusal("/score/LINUCB", score().encode(), 404, "unknown-policy", ()),
    "no route": Refusal(f"/{CANARY}", b"{}", 404, "not-found", ()),
    "no policy": Refusal("/score/", score().encode(), 404, "not-found", ()),
    "no policy to reward": Refusal("/reward/", b"{}", 404, "not-found", ()),
    "one segment too many": Refusal("/score/linucb/more", score().encode(), 404, "not-found", ()),
    "an empty segment": Refusal("//score", score().encode(), 404, "not-found", ()),
    "an encoded route": Refusal("/sc%6Fre", score().encode(), 404, "not-found", ()),
    "the root": Refusal("/", b"{}", 405, "method-not-allowed", ()),
}
"""By a name for the test."""
