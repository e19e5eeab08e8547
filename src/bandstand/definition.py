"""Definitions as data: reading a TOML table so that *all* its faults come back together, and hashing what was read."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeGuard

from bandstand.errors import ConfigurationError, FieldError

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
"""What a schema or policy may be called: it appears in paths, file names and logs."""

_NAME = re.compile(NAME_PATTERN)
_HASH_DIGITS = 16


def is_name(name: str) -> bool:
    """Return whether ``name`` may name a schema or a policy.

    >>> is_name("tips-v2"), is_name("Tips"), is_name("../tips")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


def hash_definition(definition: object) -> str:
    """Hash a definition: 16 hex digits of SHA-256 over its canonical JSON, whatever the order of its keys.

    >>> hash_definition({"a": 1, "b": 2}) == hash_definition({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_DIGITS]


def describe_unknown(word: str, allowed: Collection[str]) -> str:
    """Say that ``word`` is not one of ``allowed``, and what was probably meant.

    >>> describe_unknown("cycilc", ["cyclic", "flag"])
    "unknown 'cycilc', did you mean 'cyclic'?"
    >>> describe_unknown("x", ["cyclic", "flag"])
    "unknown 'x'; allowed: cyclic, flag"
    >>> describe_unknown("x", [])
    "unknown 'x'; there is none"
    """
    if not allowed:
        return f"unknown {word!r}; there is none"
    close = difflib.get_close_matches(word, allowed, n=1)
    return (
        f"unknown {word!r}, did you mean {close[0]!r}?" if close else f"unknown {word!r}; allowed: {', '.join(allowed)}"
    )


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def to_integer(value: object) -> object:
    """Return a whole number as an integer, as JSON has it: 2.0 is 2. Anything else stays as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number; true and false are not."""
    return is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def to_configuration_error(faults: Sequence[FieldError]) -> ConfigurationError:
    """Join all faults into the one line that ends start-up."""
    return ConfigurationError("; ".join(f"{fault.field}: {fault.message}" for fault in faults), faults)


class DefinitionTable:
    """A TOML table being read; a getter that finds a fault notes it and answers with a stand-in, so reading continues.

    Args:
        entries: the table; anything but a mapping is itself a fault.
        path: where it stands in the file, such as ``schemas.tips-5.features[0]``.
        faults: the list every fault is appended to; who reads the table raises once it is complete.
    """

    def __init__(self, entries: object, path: str, faults: list[FieldError]) -> None:
        self.path = path
        self._faults = faults
        self._keys_read: list[str] = []
        self._entries: Mapping[str, object] = {}
        if isinstance(entries, Mapping):
            self._entries = entries
        else:
            faults.append(FieldError(path, "must be a table"))

    def add_fault(self, key: str, message: str) -> None:
        """Note a fault of one key."""
        self._faults.append(FieldError(f"{self.path}.{key}", message))

    def read_value(self, key: str) -> object:
        """Return the entry as it stands, None if there is none."""
        self._keys_read.append(key)
        return self._entries.get(key)

    def read_text(self, key: str, default: str | None = None, choices: Collection[str] | None = None) -> str:
        """Return a string, one of ``choices`` where they are given; without a default it is required."""
        value = self._read_required(key, default)
        if isinstance(value, str) and value and (choices is None or value in choices):
            return value
        if isinstance(value, str) and choices is not None:
            self.add_fault(key, describe_unknown(value, choices))
        elif value is not None:
            self.add_fault(key, "must be a string that is not empty")
        return default or ""

    def read_number(self, key: str, default: float | None = None, *, above: float = -math.inf) -> float:
        """Return a finite number greater than ``above``; without a default it is required."""
        value = self._read_required(key, default)
        if is_number(value) and value > above:
            return float(value)
        if value is not None:
            self.add_fault(key, "must be a finite number" + (f" > {above:g}" if above > -math.inf else ""))
        return 1.0

    def read_integer(self, key: str, *, minimum: int, maximum: int) -> int:
        """Return a required integer from ``minimum`` to ``maximum``, both included."""
        value = self._read_required(key, None)
        if is_integer(value) and minimum <= value <= maximum:
            return value
        if value is not None:
            self.add_fault(key, f"must be an integer from {minimum} to {maximum}")
        return minimum

    def read_boolean(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._read_required(key, default)
        if not isinstance(value, bool):
            self.add_fault(key, "must be true or false")
        return value is True

    def read_sequence(self, key: str) -> Sequence[object]:
        """Return a required list that is not empty."""
        value = self._read_required(key, None)
        if isinstance(value, list | tuple) and value:
            return value
        if value is not None:
            self.add_fault(key, "must be a list that is not empty")
        return ()

    def read_texts(self, key: str) -> tuple[str, ...] | None:
        """Return an optional list of strings, all different; None if there is none."""
        value = self.read_value(key)
        if value is None:
            return None
        if isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value):
            if len(set(value)) == len(value):
                return tuple(value)
            self.add_fault(key, "must not name anything twice")
        else:
            self.add_fault(key, "must be a list of strings that are not empty")
        return None

    def check_unknown_keys(self) -> None:
        """Note every key that no getter has read."""
        for key in self._entries:
            if key not in self._keys_read:
                self.add_fault(key, describe_unknown(key, self._keys_read))

    def _read_required(self, key: str, default: object) -> object:
        value = self.read_value(key)
        if value is None and default is None:
            self.add_fault(key, "is missing")
        return default if value is None else value
