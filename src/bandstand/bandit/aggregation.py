"""Aggregation: one reward of a decision out of all the parts that came for it."""

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Final, Literal, NamedTuple, Self

Aggregation = Literal["first", "last", "sum", "mean", "median", "min", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = ("first", "last", "sum", "mean", "median", "min", "max")

_FLOAT: Final = "d"  # type code of a double


class PartSums(NamedTuple):
    """What an aggregate is made from: sums over parts in the order in which they count.

    First and last follow the order that the ledger gave the parts, also when they are added up again. All others are
    the same in any order, to rounding.

    Attributes:
        count: how many parts.
        total: Σ v of their values.
        first: the value of the first; 0 for none.
        last: the value of the last; 0 for none.
        least: the smallest value; ∞ for none.
        most: the largest value; -∞ for none.
        packed: all values as they came, for the median alone: packed, so that one more costs next to nothing.
    """

    count: int = 0  # type: ignore[assignment]  # hides tuple.count, which nobody asks of sums
    total: float = 0.0
    first: float = 0.0
    last: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    packed: bytes = b""

    @classmethod
    def from_values(cls, values: Iterable[float]) -> Self:
        """Add up values, in order.

        >>> PartSums.from_values([0.5, -1.0]).aggregate("sum")
        -0.5
        """
        packed = array(_FLOAT, values)
        if not packed:
            return cls()
        total = 0.0
        for value in packed:  # one after the other, as parts are added: the same to the last bit
            total += value
        return cls(len(packed), total, packed[0], packed[-1], min(packed), max(packed), packed.tobytes())

    def add(self, value: float) -> Self:
        """Return the sums with one more part, the last."""
        return type(self)(
            self.count + 1,
            self.total + value,
            self.first if self.count else value,
            value,
            min(self.least, value),
            max(self.most, value),
            self.packed + array(_FLOAT, (value,)).tobytes(),
        )

    def aggregate(self, aggregation: Aggregation) -> float:
        """Return the aggregate of at least one part.

        Raises:
            ValueError: there is no part.
        """
        if not self.count:
            raise ValueError("an aggregate needs a part")
        return _COMPUTE[aggregation](self)


_COMPUTE: Final[Mapping[Aggregation, Callable[[PartSums], float]]] = {
    "first": lambda parts: parts.first,
    "last": lambda parts: parts.last,
    "sum": lambda parts: parts.total,
    "mean": lambda parts: parts.total / parts.count,
    "median": lambda parts: median(array(_FLOAT, parts.packed)),
    "min": lambda parts: parts.least,
    "max": lambda parts: parts.most,
}

NO_PARTS = PartSums()
"""Of no part at all."""
