"""CSV: a line of names, then a row a line."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray
from bandstand.evaluate.files.table import ROWS, Batch, open_text


class CsvTable:
    """A CSV file; an empty cell is NaN, an empty line is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_header(self) -> list[str]:
        """Return the first line."""
        with open_text(self._path) as file:
            _, header = next(_read_lines(csv.reader(file, strict=True)), (0, []))
        if not header:
            raise EvaluationError("it is empty")
        twice = {name for name in header if header.count(name) > 1}
        if twice:
            raise EvaluationError(f"two columns are named {min(twice)!r}")
        return header

    def read_batches(self, names: Sequence[str]) -> Iterator[Batch]:
        """Read these columns, ``ROWS`` rows at a time."""
        header = self.read_header()
        with open_text(self._path) as file:
            lines = _read_lines(csv.reader(file, strict=True))
            next(lines)
            while batch := list(islice(lines, ROWS)):
                numbers, rows = zip(*batch, strict=True)
                for number, row in batch:
                    if len(row) != len(header):
                        raise EvaluationError(f"line {number} has {len(row)} cells, the first line {len(header)}")
                cells = list(zip(*rows, strict=True))
                read = {name: _parse_numbers(cells[header.index(name)], name, numbers) for name in names}
                yield Batch(read, [f"line {number}" for number in numbers].__getitem__)


def _read_lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of every line that is not empty."""
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise EvaluationError(f"line {reader.line_num}: {error}") from None


def _parse_numbers(cells: Sequence[str], name: str, lines: Sequence[int]) -> FloatArray:
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:  # the usual reason is an empty cell
        return np.array([_parse_number(cell, name, line) for cell, line in zip(cells, lines, strict=True)])


def _parse_number(cell: str, name: str, line: int) -> float:
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        raise EvaluationError(f"line {line}, column {name!r}: not a number") from None
