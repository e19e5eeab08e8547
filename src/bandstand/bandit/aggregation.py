"""Aggregation: one reward of a decision out of all the parts that came for it."""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple, Self

Aggregation = Literal["first", "last", "sum", "mean", "min", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = ("first", "last", "sum", "mean", "min", "max")


class PartSums(NamedTuple):
    """What an aggregate is made from: sums over parts in the order in which they count.

    Sum, mean, least and most are the same in any order, to rounding. First and last are of the order that the ledger
    gave the parts, whoever adds them up again.

    Attributes:
        count: how many parts.
        total: Σ v of their values.
        first: the value of the first; 0 for none.
        last: the value of the last; 0 for none.
        least: the smallest value; ∞ for none.
        most: the largest value; -∞ for none.
    """

    count: int = 0  # type: ignore[assignment]  # hides tuple.count, which nobody asks of sums
    total: float = 0.0
    first: float = 0.0
    last: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    @classmethod
    def from_values(cls, values: Iterable[float]) -> Self:
        """Add up values, in order.

        >>> PartSums.from_values([0.5, -1.0]).aggregate("sum")
        -0.5
        """
        sums = cls()
        for value in values:
            sums = sums.add(value)
        return sums

    def add(self, value: float) -> Self:
        """Return the sums with one more part, the last."""
        return type(self)(
            self.count + 1,
            self.total + value,
            self.first if self.count else value,
            value,
            min(self.least, value),
            max(self.most, value),
        )

    def aggregate(self, aggregation: Aggregation) -> float:
        """Return the aggregate of at least one part.

        Raises:
            ValueError: there is none.
        """
        if not self.count:
            raise ValueError("an aggregate needs a part")
        match aggregation:
            case "first":
                return self.first
            case "last":
                return self.last
            case "sum":
                return self.total
            case "mean":
                return self.total / self.count
            case "min":
                return self.least
            case "max":
                return self.most


NO_PARTS = PartSums()
"""Of no part at all."""
