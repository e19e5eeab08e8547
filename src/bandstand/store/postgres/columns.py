"""A group of events as the arrays that a statement takes."""

from collections.abc import Iterable, Sequence
from typing import Any


def to_columns(rows: Sequence[tuple[Any, ...]], alike: Iterable[int] = ()) -> list[tuple[Any, ...]]:
    """The columns of rows, for ``unnest``: one without values is sent as an empty array, and filled with NULL again.

    The driver looks at each element of an array for longer than it takes to encode it.

    Args:
        rows: at least one.
        alike: places of columns of which the first value is sent alone where all are equal; the statement knows.
    """
    size = len(rows)
    columns = [() if each[0] is None and each.count(None) == size else each for each in zip(*rows, strict=True)]
    for place in alike:
        column = columns[place]
        if column.count(column[0]) == size:
            columns[place] = column[:1]
    return columns
