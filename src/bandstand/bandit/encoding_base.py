"""What an encoding is: one way from the raw values of a field to columns of numbers."""

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import numpy as np

from bandstand.bandit.arrays import FloatArray
from bandstand.definition import DefinitionTable

_REMEMBERED_SIZES = 256

FieldType = Literal["integer", "number", "boolean", "string", "vector"]

Encoder = Callable[[list[Any]], list[list[float]]]
"""n raw values -> one list of n floats per column."""


@dataclass(frozen=True, slots=True)
class LinearEncoder:
    """One column of numbers or flags: (v − origin)/divisor, where v is first brought within limits if there are any.

    Attributes:
        limits: the least and the greatest v; ``None`` for no limits.
    """

    origin: float
    divisor: float = 1.0
    limits: tuple[float, float] | None = None

    def __call__(self, values: list[Any]) -> list[list[float]]:
        """Encode a few values, for which calls of numpy take longer than the work."""
        origin, divisor = self.origin, self.divisor
        if self.limits is None:
            return [[(value - origin) / divisor for value in values]]
        low, high = self.limits
        # Comparisons, for a call of min() costs as much as all the rest.
        return [
            [((low if value < low else high if value > high else value) - origin) / divisor for value in values]  # noqa: FURB136 (see above)
        ]

    def encode_array(self, values: list[Any]) -> FloatArray:
        """Encode many values: bit for bit the same column, shape (n,)."""
        numbers = to_array(values)
        if self.limits is not None:
            low, high = self.limits
            # No maximum and minimum, which may give a zero another sign.
            numbers[numbers < low] = low
            numbers[numbers > high] = high
        numbers -= self.origin
        numbers /= self.divisor
        return numbers


def encode_arrays(encode: Encoder, values: list[Any]) -> Iterable[FloatArray]:
    """Encode many values: one array of shape (n,) for each column, bit for bit what ``encode`` makes of them."""
    if isinstance(encode, LinearEncoder):
        return (encode.encode_array(values),)
    return map(to_array, encode(values))


def to_array(values: Sequence[float]) -> FloatArray:
    """Return numbers, flags among them, as an array of shape (n,)."""
    return np.frombuffer(pack(values)).copy()


def pack(values: Sequence[float]) -> bytes:
    """Return numbers as eight bytes each, which takes half the time of what numpy makes of a list."""
    return _build_packer(len(values))(*values)


@lru_cache(_REMEMBERED_SIZES)
def _build_packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"{count}d").pack


@dataclass(frozen=True)
class Encoding(ABC):
    """One way from raw values to columns; its fields are its options in the schema's definition."""

    name: ClassVar[str]

    @classmethod
    def parse(cls, table: DefinitionTable) -> Self:
        """Read the encoding's own options."""
        del table
        return cls()

    @abstractmethod
    def field_types(self) -> tuple[FieldType, ...]:
        """Return the field types it can encode, the implied one first."""

    def label_suffixes(self) -> tuple[str, ...]:
        """Return what each column's label adds to the feature's name."""
        return ("",)

    def compute_bound(self, minimum: float, maximum: float) -> float:
        """Return the largest absolute value a column can take, before centring, for values in [minimum, maximum]."""
        del minimum, maximum
        return 1.0

    @abstractmethod
    def build_encoder(self, centre: tuple[float, ...], key: str) -> Encoder:
        """Return the function from values to columns, each less its ``centre``; ``key`` is the feature's name."""

    def options(self) -> dict[str, object]:
        """Return the options as they stand in a definition, as JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
