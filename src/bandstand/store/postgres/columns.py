"""A group of events as the arrays that a statement takes."""

from typing import Any


def to_columns(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The columns of rows, for ``unnest``: one without values is sent as an empty array, and filled with NULL again.

    The driver looks at each element of an array for longer than it takes to encode it.
    """
    columns = zip(*rows, strict=True)
    return [() if each[0] is None and each.count(None) == len(each) else each for each in columns]
