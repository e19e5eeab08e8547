"""A request as the fake reads it, and how it refuses one."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

STATUSES: Mapping[str, int] = {
    "host-refused": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "request-timeout": 408,
    "too-large": 413,
    "unsupported-media-type": 415,
    "invalid-request": 422,
    "unknown-policy": 404,
    "unknown-decision": 404,
    "decision-conflict": 409,
    "decision-held": 409,
    "promotion-refused": 409,
    "already-rewarded": 409,
    "reward-pending": 409,
    "unknown-judgement": 404,
    "judgement-expired": 409,
    "wrong-policy": 422,
    "idempotency-mismatch": 422,
    "unknown-prompt": 404,
    "prompts-kept": 409,
    "judge-off": 409,
    "unknown-simulation": 404,
    "unknown-evaluation": 404,
    "learning-mode": 409,
    "unknown-loop": 404,
    "loop-refused": 409,
    "client-gone": 499,
    "internal": 500,
    "prompt": 500,
    "gateway-error": 502,
    "gateway-not-json": 502,
    "unscored": 502,
    "gateway-unreachable": 503,
    "overloaded": 503,
    "storage-unavailable": 503,
    "not-ready": 503,
    "storage-full": 507,
    "unsupported-by-engine": 501,
}
"""The status of every problem."""

_LONGEST_ID = 256
_CONTROL = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))


class FakeProblem(Exception):  # noqa: N818 (it is what the service calls it, and never leaves the fake)
    """A refusal on its way to the answer that it is."""

    def __init__(self, code: str, detail: str, *faults: tuple[str, str]) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.faults = faults

    def render(self) -> tuple[int, bytes]:
        """Status and body."""
        body: dict[str, Any] = {
            "type": f"urn:bandstand:problem:{self.code}",
            "title": self.code.replace("-", " ").capitalize(),
            "status": STATUSES[self.code],
            "detail": self.detail,
            "request_id": "fake",
        }
        if self.faults:
            body["errors"] = [{"field": field, "message": message} for field, message in self.faults]
        return STATUSES[self.code], json.dumps(body).encode()


@dataclass(frozen=True)
class FakeRequest:
    """A request whose path was found.

    Attributes:
        ids: what the path holds.
        query: parameters, each once.
        body: the JSON object, or an empty one.
        key: the Idempotency-Key.
    """

    ids: tuple[str, ...]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    key: str | None


def refuse_field(field: str, message: str) -> FakeProblem:
    """A field at fault."""
    return FakeProblem("invalid-request", f"{field}: {message}", (field, message))


def read_id(body: Mapping[str, Any], field: str) -> str:
    """Read an id: 1 to 256 characters, none of them a control character."""
    value = body.get(field)
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_ID or _CONTROL & set(value):
        raise refuse_field(field, "must be an id")
    return value


def read_text(body: Mapping[str, Any], field: str) -> str:
    """Read a string."""
    value = body.get(field)
    if not isinstance(value, str):
        raise refuse_field(field, "must be a string")
    return value


def read_integer(body: Mapping[str, Any], field: str, default: int, low: int, high: int, path: str = "") -> int:
    """Read an integer in a range."""
    value = body.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise refuse_field(path + field, f"must be an integer from {low} to {high}")
    return value


def read_number(body: Mapping[str, Any], field: str, low: float, high: float) -> float:
    """Read a finite number in a range."""
    value = body.get(field)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise refuse_field(field, "must be a number")
    if not low <= value <= high:
        raise refuse_field(field, f"must be from {low} to {high}")
    return float(value)


def read_limit(query: Mapping[str, str], most: int, default: int) -> int:
    """Read how long a page is."""
    try:
        return read_integer({"limit": int(query.get("limit", default))}, "limit", default, 1, most)
    except ValueError:
        raise refuse_field("limit", "must be an integer") from None


Handler = Callable[[Any, FakeRequest], Any]
"""Answers a request: a JSON value, or None for an answer without a body."""
