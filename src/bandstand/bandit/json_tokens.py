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
    """Return v/(1 + |v|), in [−1, 1], of any number, however large; 0 of what is none.

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
    count = _Count()
    for key, inner in value.items():
        if key not in skipped and key[:1] != "_":
            fault = count.add_key(key) or count.add_value(inner, 1)
            if fault:
                return fault
    return None


class _Count:
    """Counts the tokens of one object as far as they are allowed."""

    def __init__(self) -> None:
        self.tokens = 0

    def add_key(self, key: str) -> str | None:
        if not key:
            return "must not have the empty string as a name"
        return f"must not have names of more than {MAX_TEXT} characters" if len(key) > MAX_TEXT else None

    def add_value(self, value: object, depth: int) -> str | None:
        kind = type(value)
        if kind in {dict, list}:
            return self._add_container(value, depth)
        if value is None:
            return None
        self.tokens += 1
        if self.tokens > MAX_TOKENS:
            return f"must not hold more than {MAX_TOKENS} values"
        if kind is str:
            text: Any = value
            return f"must not hold strings of more than {MAX_TEXT} characters" if len(text) > MAX_TEXT else None
        if isinstance(value, float) and not math.isfinite(value):
            return "must hold finite numbers alone"
        return None

    def _add_container(self, value: Any, depth: int) -> str | None:
        if depth >= MAX_DEPTH:
            return f"must not be nested deeper than {MAX_DEPTH}"
        if type(value) is list:
            for inner in value:
                fault = self.add_value(inner, depth + 1)
                if fault:
                    return fault
            return None
        for key, inner in value.items():
            if key[:1] != "_":
                fault = self.add_key(key) or self.add_value(inner, depth + 1)
                if fault:
                    return fault
        return None
