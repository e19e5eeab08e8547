"""What an encoding is: one way from the raw values of a field to columns of numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

from bandstand.definition import DefinitionTable

FieldType = Literal["integer", "number", "boolean", "string", "vector"]

Encoder = Callable[[list[Any]], list[list[float]]]
"""n raw values -> one list of n floats per column."""


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
