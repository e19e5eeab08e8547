"""What many clients write and no schema of ours names, read as what is meant: one form for all routes.

A byte order mark is skipped. Half a surrogate pair becomes U+FFFD. ``null`` for an optional field leaves it out. 2.0 is
2 where an integer is meant, as JSON Schema has it. All of it follows from the JSON Schema of the body, and nothing of
it is looked at while a body is valid as it stands.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from bandstand.definition import to_integer

Normaliser = Callable[[Any], Any]
"""From a JSON value to what is meant by it, in place where it is an object or a list."""

_BOM = b"\xef\xbb\xbf"
_REPLACEMENT = "\ufffd".encode()
_PAIR_LENGTH = len(rb"\ud83d\ude00")
# Any other escape is matched too, so that the second backslash of two begins none. Last is what others write for a half
# without an escape: its three bytes, which are no UTF-8.
_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
    rb"|\\."
    rb"|\xed[\xa0-\xbf][\x80-\xbf]",
    re.DOTALL,
)


def repair_text(body: bytes) -> bytes:
    r"""JSON without its byte order mark, and with U+FFFD for each half of a surrogate pair.

    >>> repair_text(rb'["\ud83d!", "\ud83d\ude00", "\\ud83d"]').decode()
    '["�!", "\\ud83d\\ude00", "\\\\ud83d"]'
    """
    return _SURROGATE.sub(_replace_half, body.removeprefix(_BOM))


def build_normaliser(schema: Mapping[str, Any]) -> Normaliser:
    """What turns a value into one that the schema means, if there is a way.

    Args:
        schema: the JSON Schema of a body, with its ``$defs``; no schema may hold itself.
    """
    return _build(schema, schema.get("$defs", {})) or _keep


def _keep(value: Any) -> Any:
    return value


def _build(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Normaliser | None:
    """The normaliser of a schema; ``None`` if there is nothing to do in any value."""
    if "$ref" in schema:
        return _build(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return _build_any([_build(each, definitions) for each in schema["anyOf"]])
    if schema.get("type") == "integer":
        return to_integer
    if schema.get("type") == "array":
        items = _build(schema.get("items", {}), definitions)
        return None if items is None else _build_list(items)
    if "properties" in schema:
        return _build_object(schema, definitions)
    return None


def _build_any(choices: list[Normaliser | None]) -> Normaliser | None:
    normalisers = [each for each in choices if each is not None]

    def normalise(value: Any) -> Any:
        for each in normalisers:
            value = each(value)
        return value

    return normalise if normalisers else None


def _build_list(items: Normaliser) -> Normaliser:
    def normalise(value: Any) -> Any:
        return [items(item) for item in value] if isinstance(value, list) else value

    return normalise


def _build_object(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Normaliser:
    properties: Mapping[str, Any] = schema["properties"]
    optional = properties.keys() - set(schema.get("required", ()))
    built = ((name, _build(field, definitions)) for name, field in properties.items())
    normalisers = [(name, normaliser) for name, normaliser in built if normaliser is not None]

    def normalise(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if None in value.values():
            for name in optional & value.keys():
                if value[name] is None:
                    del value[name]
        for name, normaliser in normalisers:
            if name in value:
                value[name] = normaliser(value[name])
        return value

    return normalise


def _replace_half(match: re.Match[bytes]) -> bytes:
    found = match[0]
    if found[:1] == b"\xed" or (found[1:2] == b"u" and len(found) < _PAIR_LENGTH and len(found) > 2):  # noqa: PLR2004 (\u alone)
        return _REPLACEMENT
    return found
