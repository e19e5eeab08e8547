"""Feature lists as Personalizer has them, merged into one object each, as an open schema reads it.

A list of objects, whose keys are namespaces or features, becomes one object. If two have the same name, objects are
merged and other values are joined in a list, so that nothing that was sent is lost. A null value says nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bandstand.bandit.json_tokens import find_open_fault


class FeatureListError(ValueError):
    """What is wrong with a list of features, as the end of a sentence."""


def merge_features(parts: object) -> dict[str, Any]:
    """One object of a list of them.

    >>> merge_features([{"user": {"age": 7}}, {"user": {"kind": "new"}, "hour": 9}])
    {'user': {'age': 7, 'kind': 'new'}, 'hour': 9}

    Args:
        parts: the list as JSON has it.

    Raises:
        FeatureListError: it is no list of objects, or says what no feature may.
    """
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        raise FeatureListError("must be a list of objects")
    merged: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, Mapping):
            raise FeatureListError("must hold objects of names and values alone")
        _merge_into(merged, _drop_nulls(part))
    fault = find_open_fault(merged)
    if fault is not None:
        raise FeatureListError(fault)
    return merged


def _drop_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object without nulls.

    Raises:
        FeatureListError: it holds an empty name, or a list of anything but numbers.
    """
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        if not name:
            raise FeatureListError("must not hold the empty string as a name")
        if isinstance(inner, Mapping):
            kept[name] = _drop_nulls(inner)
        elif inner is not None:
            if isinstance(inner, list) and not all(_is_number(each) for each in inner):
                raise FeatureListError("must hold lists of numbers alone")
            kept[name] = inner
    return kept


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _merge_into(merged: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if name not in merged:
            merged[name] = value
        elif isinstance(merged[name], dict) and isinstance(value, Mapping):
            _merge_into(merged[name], value)
        elif merged[name] != value:
            merged[name] = [*_to_list(merged[name]), *_to_list(value)]


def _to_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
