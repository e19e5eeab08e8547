"""The encodings: each turns the raw values of one field into columns of numbers.

Every encoding takes a list of raw values and returns one list per column, already centred: for the ten candidates or so
of a request, plain Python over lists is quicker than a numpy call per column. For those of many requests it is not:
what is arithmetic alone is done over arrays there (:func:`bandstand.bandit.encoding_base.encode_arrays`).
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from bandstand.bandit.disjoint import BLOCK_MARKER
from bandstand.bandit.encoding_base import Encoder, Encoding, FieldType, LinearEncoder
from bandstand.bandit.text import hash_text
from bandstand.definition import DefinitionTable, is_integer

MAX_COLUMNS = 256
MAX_TEXT_COLUMNS = 64

_NUMERIC: tuple[FieldType, ...] = ("number", "integer")
_CACHED_BUCKETS = 4096
_CACHED_TEXTS = 2048


@dataclass(frozen=True)
class Cyclic(Encoding):
    """sin(2πv/period), cos(2πv/period): an hour or a weekday, whose last value is next to its first."""

    name = "cyclic"
    period: float

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read ``period``."""
        return cls(table.read_number("period", above=0.0))

    def field_types(self) -> tuple[FieldType, ...]:
        """Return the numeric types."""
        return _NUMERIC

    def label_suffixes(self) -> tuple[str, ...]:
        """Return one suffix for the sine and one for the cosine."""
        return ("_sin", "_cos")

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the sine and the cosine of the angle."""
        del key
        sin, cos, tau, period = math.sin, math.cos, math.tau, self.period
        sin_centre, cos_centre = centre

        def encode(values: list[Any]) -> list[list[float]]:
            angles = [tau * value / period for value in values]
            return [[sin(angle) - sin_centre for angle in angles], [cos(angle) - cos_centre for angle in angles]]

        return encode


@dataclass(frozen=True)
class Flag(Encoding):
    """1 for true, 0 for false."""

    name = "flag"

    def field_types(self) -> tuple[FieldType, ...]:
        """Return boolean."""
        return ("boolean",)

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the flag as a number."""
        del key
        return LinearEncoder(centre[0])


@dataclass(frozen=True)
class Clip(Encoding):
    """(min(max(v, low), high) − low)/(high − low), in [0, 1]."""

    name = "clip"
    low: float
    high: float

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read ``low`` and ``high``."""
        low = table.read_number("low")
        return cls(low, table.read_number("high", above=low))

    def field_types(self) -> tuple[FieldType, ...]:
        """Return the numeric types."""
        return _NUMERIC

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return where the value lies between the limits."""
        del key
        span = self.high - self.low
        return LinearEncoder(self.low + centre[0] * span, span, (self.low, self.high))


@dataclass(frozen=True)
class Scale(Encoding):
    """(v − offset)/divisor, without limits."""

    name = "scale"
    offset: float
    divisor: float

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read ``offset`` and ``divisor``."""
        return cls(table.read_number("offset", 0.0), table.read_number("divisor", above=0.0))

    def field_types(self) -> tuple[FieldType, ...]:
        """Return the numeric types."""
        return _NUMERIC

    def compute_bound(self, minimum: float, maximum: float) -> float:
        """Return the bound of the scaled interval."""
        return max(abs(minimum - self.offset), abs(maximum - self.offset)) / self.divisor

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the value, moved and scaled."""
        del key
        return LinearEncoder(self.offset + centre[0] * self.divisor, self.divisor)


@dataclass(frozen=True)
class Number(Encoding):
    """v itself."""

    name = "number"

    def field_types(self) -> tuple[FieldType, ...]:
        """Return the numeric types."""
        return _NUMERIC

    def compute_bound(self, minimum: float, maximum: float) -> float:
        """Return the bound of the interval."""
        return max(abs(minimum), abs(maximum))

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the value less its centre."""
        del key
        return LinearEncoder(centre[0])


@dataclass(frozen=True)
class Onehot(Encoding):
    """One column per listed value, 1 where it is the value; all zeros for a value that is not listed."""

    name = "onehot"
    values: tuple[str, ...] | tuple[int, ...]

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read ``values``: strings or integers, all different."""
        listed = table.read_sequence("values")
        texts = tuple(value for value in listed if isinstance(value, str))
        integers = tuple(value for value in listed if is_integer(value))
        values = texts or integers
        if len(values) < len(listed):
            table.add_fault("values", "must be all strings or all integers")
        elif len(set(values)) < len(values):
            table.add_fault("values", "must not name anything twice")
        elif len(values) > MAX_COLUMNS:
            table.add_fault("values", f"must be at most {MAX_COLUMNS}")
        return cls(values)

    def field_types(self) -> tuple[FieldType, ...]:
        """Return the type of the listed values."""
        return ("integer",) if any(is_integer(value) for value in self.values) else ("string",)

    def label_suffixes(self) -> tuple[str, ...]:
        """Return the values, each after an equals sign."""
        return tuple(f"={value}" for value in self.values)

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the indicators of the listed values."""
        del key
        column_of = {value: column for column, value in enumerate(self.values)}
        return _build_indicator_encoder(column_of.get, centre)


@dataclass(frozen=True)
class BlockEncoding(Onehot):
    """One column that names which of B blocks of weights a row has: one for each listed value, one for all others.

    No encoding of a feature, but what a schema's ``block`` is; see :mod:`bandstand.bandit.disjoint`.
    """

    name = "block"

    @property
    def block_count(self) -> int:
        """B."""
        return len(self.values) + 1

    def label_suffixes(self) -> tuple[str, ...]:
        """Return one empty suffix."""
        return ("",)

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the blocks of the values."""
        del centre, key
        first = BLOCK_MARKER * self.block_count
        number_of = {value: float(first + place) for place, value in enumerate(self.values)}
        other = float(first + len(self.values))

        def encode(values: list[Any]) -> list[list[float]]:
            return [[number_of.get(value, other) for value in values]]

        return encode


@dataclass(frozen=True)
class Hash(Encoding):
    """One column per bucket, 1 in the value's bucket: keyed BLAKE2b of the text, modulo the number of buckets.

    The same in every process and on every machine (Python's own ``hash`` is not), keyed by the feature's name, so that
    two features do not collide on the same values. Weinberger et al. 2009, without the sign.
    """

    name = "hash"
    buckets: int

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read ``buckets``."""
        return cls(table.read_integer("buckets", minimum=1, maximum=MAX_COLUMNS))

    def field_types(self) -> tuple[FieldType, ...]:
        """Return string, or integer."""
        return ("string", "integer")

    def label_suffixes(self) -> tuple[str, ...]:
        """Return the bucket numbers, each after a number sign."""
        return tuple(f"#{bucket}" for bucket in range(self.buckets))

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the indicators of the buckets."""
        buckets, secret = self.buckets, key.encode()

        @lru_cache(_CACHED_BUCKETS, typed=True)
        def find_bucket(value: object) -> int:
            # A lone surrogate is valid in JSON, so it must hash too.
            text = str(value).encode("utf-8", "surrogatepass")
            return int.from_bytes(hashlib.blake2b(text, key=secret, digest_size=8).digest()) % buckets

        return _build_indicator_encoder(find_bucket, centre)


@dataclass(frozen=True)
class Text(Encoding):
    """Words and character n-grams of a text, hashed into columns, the last of which is its length.

    See :func:`bandstand.bandit.text.hash_text`.
    """

    name = "text"
    columns: int

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read ``columns``; 64 if it is not given."""
        if table.read_value("columns") is None:
            return cls(MAX_TEXT_COLUMNS)
        return cls(table.read_integer("columns", minimum=2, maximum=MAX_TEXT_COLUMNS))

    def field_types(self) -> tuple[FieldType, ...]:
        """Return string."""
        return ("string",)

    def label_suffixes(self) -> tuple[str, ...]:
        """Return the column numbers, each after a tilde, and that of the length."""
        return (*(f"~{column}" for column in range(self.columns - 1)), "~length")

    def compute_bound(self, minimum: float, maximum: float) -> float:
        """Return a bound of both the columns and the length: no text has 10¹² characters."""
        del minimum, maximum
        return 4.0

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the hashed columns."""
        columns = self.columns

        @lru_cache(_CACHED_TEXTS)
        def encode_one(text: str) -> tuple[float, ...]:
            hashed = hash_text(text, columns, key)
            return tuple(cell - shift for cell, shift in zip(hashed, centre, strict=True))

        def encode(values: list[Any]) -> list[list[float]]:
            return [list(column) for column in zip(*map(encode_one, values), strict=True)]

        return encode


@dataclass(frozen=True)
class Vector(Encoding):
    """A list of numbers of one length, as it is: an embedding."""

    name = "vector"
    length: int

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read ``length``."""
        return cls(table.read_integer("length", minimum=1, maximum=MAX_COLUMNS))

    def field_types(self) -> tuple[FieldType, ...]:
        """Return vector."""
        return ("vector",)

    def label_suffixes(self) -> tuple[str, ...]:
        """Return the places in the list, each in brackets."""
        return tuple(f"[{place}]" for place in range(self.length))

    def compute_bound(self, minimum: float, maximum: float) -> float:
        """Return the bound of the interval."""
        return max(abs(minimum), abs(maximum))

    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the numbers less their centres."""
        del key

        def encode(values: list[Any]) -> list[list[float]]:
            columns = zip(*values, strict=True) if values else [()] * len(centre)
            return [[value - shift for value in column] for column, shift in zip(columns, centre, strict=True)]

        return encode


def _build_indicator_encoder(column_of: Callable[[Any], int | None], centre: tuple[float, ...]) -> Encoder:
    absent = [0.0 - shift for shift in centre]
    present = [1.0 - shift for shift in centre]

    def encode(values: list[Any]) -> list[list[float]]:
        columns = [[shift] * len(values) for shift in absent]
        for row, value in enumerate(values):
            column = column_of(value)
            if column is not None:
                columns[column][row] = present[column]
        return columns

    return encode


ENCODINGS: dict[str, type[Encoding]] = {
    kind.name: kind for kind in (Cyclic, Flag, Clip, Scale, Number, Onehot, Hash, Text, Vector)
}
"""The encodings of one field; ``interaction``, the product of two features, and ``open`` are the schema's own."""
