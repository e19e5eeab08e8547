"""JSON objects as tokens: what an open schema makes of a context and of a candidate.

A token is a name and a number. A string is (``path=value``, 1), true and false are (``path=true``, 1) and
(``path=false``, 1), a number v is (``path``, v/(1 + |v|)), so that no unit swamps the others. A path joins keys with
dots; an array of numbers is one token an index (``path[0]``), and what else an array holds has the array's own path, as
a set. null, the empty object and every key that begins with an underscore say nothing.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

MAX_TOKENS = 256
"""Most tokens of one object, a context or a candidate."""

MAX_DEPTH = 8
"""Most objects and arrays inside each other."""

MAX_TEXT = 256
"""Most characters of a key or a string."""

Tokens = tuple[list[str], list[float]]
"""Names, and as many values."""

_NONE: frozenset[str] = frozenset()
_NAME_FAULT = f"must have names of 1 to {MAX_TEXT} characters"
_TEXT_FAULT = f"must not hold strings of more than {MAX_TEXT} characters"
_NUMBER_FAULT = "must hold finite numbers alone"
_COUNT_FAULT = f"must not hold more than {MAX_TOKENS} values"
_DEPTH_FAULT = f"must not be nested deeper than {MAX_DEPTH}"
_is_finite = math.isfinite


def flatten_object(value: Mapping[str, Any], skipped: Collection[str] = _NONE) -> Tokens:
    """Return the tokens of an object, in its own order.

    Total: what is beyond the limits that :func:`find_open_fault` names is left out.

    >>> flatten_object({"cuisine": "thai", "price": 3, "tags": ["hot", "new"], "_id": 7})
    (['cuisine=thai', 'price', 'tags=hot', 'tags=new'], [1.0, 0.75, 1.0, 1.0])

    Args:
        value: an object as JSON has it.
        skipped: keys of the object itself that are not read.
    """
    names: list[str] = []
    values: list[float] = []
    _flatten_members(value, "", skipped, names, values, 1)
    if len(names) > MAX_TOKENS:
        del names[MAX_TOKENS:], values[MAX_TOKENS:]
    return names, values


def _flatten_members(
    members: Mapping[str, Any], prefix: str, skipped: Collection[str], names: list[str], values: list[float], depth: int
) -> None:
    # What is mostly there is looked for first, and without a call: a request may bring a thousand values.
    for key, value in members.items():
        if key[:1] == "_" or key in skipped:
            continue
        kind = type(value)
        if kind is str:
            names.append(f"{prefix}{key}={value}")
            values.append(1.0)
        elif kind is float or kind is int:
            names.append(prefix + key)
            values.append(squash_number(value))
        else:
            _flatten_other(value, prefix + key, names, values, depth)


def _flatten_other(value: object, path: str, names: list[str], values: list[float], depth: int) -> None:
    if isinstance(value, bool | str):
        names.append(f"{path}={value}" if isinstance(value, str) else f"{path}=true" if value else f"{path}=false")
        values.append(1.0)
    elif isinstance(value, int | float):
        names.append(path)
        values.append(squash_number(value))
    elif depth >= MAX_DEPTH or len(names) > MAX_TOKENS:
        return
    elif isinstance(value, Mapping):
        _flatten_members(value, f"{path}.", _NONE, names, values, depth + 1)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            place = f"{path}[{index}]" if type(inner) in {int, float} else path
            _flatten_other(inner, place, names, values, depth + 1)


def squash_number(value: float) -> float:
    """Return v/(1 + |v|), in [−1, 1], for any number, however large; 0 for anything that is not a number.

    >>> [squash_number(value) for value in (0, 1, -3.0, 10**400, float("inf"))]
    [0.0, 0.5, -0.75, 1.0, 1.0]
    """
    squashed = value / (1 + abs(value))
    if math.isnan(squashed):
        return 0.0 if math.isnan(value) else math.copysign(1.0, value)
    return squashed


def find_open_fault(value: Mapping[str, Any], skipped: Collection[str] = _NONE) -> str | None:
    """Return what is wrong with an object that a request brings, or None.

    Args:
        value: the object.
        skipped: keys of the object itself that are not looked at: fields with rules of their own.
    """
    return _check_members(value, skipped, [0], 1)


def _check_members(  # noqa: C901 (one branch for each kind of value)
    members: Mapping[str, Any], skipped: Collection[str], count: list[int], depth: int
) -> str | None:
    # As in flattening, what is mostly there costs no call; ``count`` is that of all values so far.
    tokens = 0
    for key, value in members.items():
        if key[:1] == "_" or key in skipped:
            continue
        if not 0 < len(key) <= MAX_TEXT:
            return _NAME_FAULT
        kind = type(value)
        if kind is str:
            if len(value) > MAX_TEXT:
                return _TEXT_FAULT
            tokens += 1
        elif kind is float:
            if not _is_finite(value):
                return _NUMBER_FAULT
            tokens += 1
        elif kind is int or kind is bool:
            tokens += 1
        elif value is not None:
            fault = _check_container(value, count, depth)
            if fault is not None:
                return fault
    count[0] += tokens
    return _COUNT_FAULT if count[0] > MAX_TOKENS else None


def _check_container(value: Mapping[str, Any] | list[Any], count: list[int], depth: int) -> str | None:
    if depth >= MAX_DEPTH:
        return _DEPTH_FAULT
    if not isinstance(value, list):
        return _check_members(value, _NONE, count, depth + 1)
    for inner in value:
        # A member of an array is checked as that of an object would be, without a name.
        fault = (
            _check_container(inner, count, depth + 1)
            if isinstance(inner, dict | list)
            else _check_members({"a": inner}, _NONE, count, depth)
        )
        if fault is not None:
            return fault
    return None
