"""From the JSON of an answer to the frozen dataclass that describes it.

Fields that the class does not know are kept in ``extra``: the service may be newer than the client. A field that may be
null may also be missing: it may be older.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from typing import Any, TypeVar, Union

Reader = Callable[[Any], Any]
_EMPTY: Mapping[str, Any] = types.MappingProxyType({})
_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True)
class Answer:
    """What every answer has.

    Attributes:
        extra: fields that this client does not know, as they came.

    Example:
        >>> from bandstand_client.answers import KnownUser
        >>> from bandstand_client.reading import parse_answer
        >>> parse_answer(KnownUser, {"user_id": "ada", "born": 1815}).extra["born"]
        1815
    """

    extra: Mapping[str, Any] = field(default_factory=lambda: _EMPTY, kw_only=True, repr=False)


A = TypeVar("A", bound=Answer)


def parse_answer(kind: type[A], value: Any) -> A:
    """Read a JSON object.

    Raises:
        TypeError, KeyError: it is no such answer.
    """
    if not isinstance(value, dict):
        raise TypeError(f"{kind.__name__} is an object")
    readers = _build_readers(kind)
    known: dict[str, Any] = {}
    for name, (read, has_default) in readers.items():
        if name in value:
            known[name] = read(value[name])
        elif not has_default:
            raise KeyError(name)
    extra = {name: each for name, each in value.items() if name not in readers}
    return kind(**known, extra=types.MappingProxyType(extra)) if extra else kind(**known)


def _build_readers(kind: type[Answer]) -> dict[str, tuple[Reader, bool]]:
    readers = _READERS.get(kind)
    if readers is None:
        hints = typing.get_type_hints(kind)
        readers = _READERS[kind] = {
            each.name: (_build_reader(hints[each.name]), each.default is not MISSING)
            for each in fields(kind)
            if each.name != "extra"
        }
    return readers


def _build_reader(hint: Any) -> Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        (inner,) = (each for each in arguments if each is not type(None))
        return _optional(_build_reader(inner))
    if origin is tuple:
        return _sequence(_build_reader(arguments[0]))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_build_reader(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, Answer):
        return partial(parse_answer, hint)
    return _SCALARS.get(hint, _read_as_it_is)


def _optional(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _sequence(read: Reader) -> Reader:
    def read_all(value: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError("a list was expected")
        return tuple(read(each) for each in value)

    return read_all


def _mapping(read: Reader) -> Reader:
    def read_all(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError("an object was expected")
        return {name: read(each) for name, each in value.items()}

    return read_all


def _read_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("a number was expected")
    return float(value)


def _read_integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("an integer was expected")
    return value


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a string was expected")
    return value


def _read_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false was expected")
    return value


def _read_as_it_is(value: Any) -> Any:
    return value


_SCALARS: dict[Any, Reader] = {float: _read_number, int: _read_integer, str: _read_text, bool: _read_flag}
_READERS: dict[type[Answer], dict[str, tuple[Reader, bool]]] = {}
