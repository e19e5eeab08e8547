"""JSON Lines: an object a line."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray
from bandstand.evaluate.files.table import ROWS, Batch, open_text

_NUMBERS = {int, float, bool, type(None)}

Line = tuple[int, dict[str, Any]]
"""A line's number, counted from 1, and its object."""


class JsonlTable:
    """A JSON Lines file; a key that is missing or null is NaN, an empty line is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_header(self) -> list[str]:
        """Return the keys of the first object."""
        with open_text(self._path) as file:
            _, first = next(read_objects(file), (0, {}))
        if not first:
            raise EvaluationError("it is empty")
        return list(first)

    def read_batches(self, names: Sequence[str]) -> Iterator[Batch]:
        """Read these columns, ``ROWS`` lines at a time."""
        with open_text(self._path) as file:
            lines = read_objects(file)
            while batch := list(islice(lines, ROWS)):
                read = {name: _parse_numbers(batch, name) for name in names}
                yield Batch(read, [f"line {number}" for number, _ in batch].__getitem__)


def read_objects(lines: Iterator[str]) -> Iterator[Line]:
    """Yield every line that is not empty.

    Raises:
        EvaluationError: a line is no JSON object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise EvaluationError(f"line {number}: {error}") from None
        if not isinstance(value, dict):
            raise EvaluationError(f"line {number}: not a JSON object")
        yield number, value


def _parse_numbers(batch: Sequence[Line], name: str) -> FloatArray:
    values = [row.get(name) for _, row in batch]
    if set(map(type, values)) <= _NUMBERS:
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            pass
    return np.array([_parse_number(row.get(name), name, line) for line, row in batch])


def _parse_number(value: object, name: str, line: int) -> float:
    try:
        if isinstance(value, int | float):
            return float(value)
    except OverflowError:
        pass
    if value is None:
        return np.nan
    raise EvaluationError(f"line {line}, column {name!r}: not a number")
