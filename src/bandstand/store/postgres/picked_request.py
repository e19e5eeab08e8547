"""The part of a request that a decision's reward takes along, so that it can be folded without the decision."""

from collections.abc import Mapping
from typing import Any

from msgspec import to_builtins
from pydantic_core import from_json, to_json

_EMPTY: Mapping[str, Any] = {}


def cut_request(body: bytes, pick: int, read: Mapping[str, Any] | None = None) -> bytes:
    """The request that a reward takes along: the same context, and of the candidates the pick alone.

    Args:
        body: the request.
        pick: index of the candidate.
        read: what was read of it, which may lack fields that nobody knew; if it does not, the body is not parsed again.
    """
    given = None if read is None else to_builtins(read)
    request = given if given is not None and _has_all_fields(body, given) else from_json(body)
    return to_json({"context": request.get("context", {}), "candidates": [request["candidates"][pick]]})


def _has_all_fields(body: bytes, read: Mapping[str, Any]) -> bool:
    """Whether every field of a JSON body is in what was read of it: a body has a colon for each, and those in texts.

    Where texts escape a colon, and so on, the answer may be no without need.
    """
    places = [read, read.get("context", _EMPTY), *read["candidates"]]
    places += [each["features"] for each in read["candidates"] if "features" in each]
    colons = body.count(b":") - sum(map(len, places))
    return not colons or colons == sum(
        value.count(":") for place in places for value in place.values() if type(value) is str
    )
