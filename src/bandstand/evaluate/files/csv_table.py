"""CSV and its kin: a line of names, then a row a line, its cells parted by commas, semicolons, tabs or bars."""

import csv
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.cells import CellReader, is_list, to_text
from bandstand.evaluate.files.table import ROWS, Batch, Header, Record, open_text

_DELIMITERS: Final = (",", ";", "\t", "|")
_SEPARATOR_LINE: Final = "sep="
_MAX_CELL_CHARS: Final = 16 * 2**20

_Line = tuple[int, list[str]]


class CsvTable:
    """A CSV file; a cell that says there is no number is NaN, a line without a cell is skipped.

    Its first line may be ``sep=;``, as spreadsheets write it; else the line of names shows what parts its cells.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cells = CellReader()

    def read_header(self) -> Header:
        """Return the first line; the first row shows which columns hold lists."""
        with open_text(self._path) as file:
            lines = _read_lines(file)
            names = self._read_names(lines)
            _, first = next(lines, (0, []))
        vectors = (name for name, cell in zip(names, first, strict=False) if is_list(cell))
        return Header(tuple(names), frozenset(vectors))

    def read_batches(self, names: Sequence[str], labels: Collection[str] = ()) -> Iterator[Batch]:
        """Read these columns, ``ROWS`` rows at a time."""
        header = self.read_header()
        with open_text(self._path) as file:
            lines = _read_lines(file)
            next(lines)
            while batch := list(islice(lines, ROWS)):
                numbers, rows = zip(*batch, strict=True)
                if set(map(len, rows)) != {len(header.names)}:
                    list(_check_rows(batch, header.names))
                cells = dict(zip(header.names, zip(*rows, strict=True), strict=True))
                locate = _LineNames(numbers)
                read, called = {}, {}
                for name in names:
                    if name in labels:
                        called[name] = np.array(list(map(to_text, cells[name])), dtype=object)
                    elif name in header.vectors:
                        read[name] = self._cells.to_vectors(cells[name], name, locate)
                    else:
                        read[name] = self._cells.to_numbers(cells[name], name, locate)
                yield Batch(read, locate, called)

    def read_records(self) -> Iterator[Record]:
        """Read every row; its cells are text."""
        with open_text(self._path) as file:
            lines = _read_lines(file)
            names = self._read_names(lines)
            for line in lines:
                [cells] = _check_rows([line], names)
                yield line[0], dict(zip(names, cells, strict=True))

    def format_location(self, number: int) -> str:
        """Name a line, counted from 1."""
        return f"line {number}"

    @staticmethod
    def _read_names(lines: Iterator[_Line]) -> list[str]:
        _, names = next(lines, (0, []))
        if not names:
            raise EvaluationError("it is empty")
        names = [name.strip() for name in names]
        twice = {name for name in names if name and names.count(name) > 1}
        if twice:
            raise EvaluationError(f"two columns are named {min(twice)!r}")
        return [name or f"unnamed_{number}" for number, name in enumerate(names)]


def _read_lines(file: TextIO) -> Iterator[_Line]:
    """Yield the number and the cells of every line that has a cell which is not blank."""
    csv.field_size_limit(_MAX_CELL_CHARS)
    before, first = 0, ""
    delimiter = None
    for line in file:
        before, first = before + 1, line
        bare = line.strip().strip('"')
        if bare.lower().startswith(_SEPARATOR_LINE) and before == 1:
            delimiter = bare[len(_SEPARATOR_LINE) :].replace("\\t", "\t") or "\t"
        elif bare:
            break
    else:
        return
    if delimiter is None or len(delimiter) != 1:
        delimiter = _find_delimiter(first)
    reader = csv.reader(_put_back(first, file), strict=True, delimiter=delimiter, skipinitialspace=True)
    before -= 1
    try:
        for row in reader:
            if row and ((row[0] and not row[0].isspace()) or any(cell and not cell.isspace() for cell in row)):
                yield before + reader.line_num, row
    except csv.Error as error:
        raise EvaluationError(f"line {before + reader.line_num}: {error}") from None


class _LineNames:
    """Names rows by their lines."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers

    def __call__(self, index: int) -> str:
        return f"line {self._numbers[index]}"


def _put_back(first: str, file: TextIO) -> Iterator[str]:
    yield first
    yield from file


def _find_delimiter(header: str) -> str:
    """Return what parts a line of names into the most cells; the comma where nothing does."""
    outside = "".join(header.split('"')[::2])
    return max(_DELIMITERS, key=outside.count)


def _check_rows(lines: Sequence[_Line], names: Sequence[str]) -> Iterator[list[str]]:
    for number, row in lines:
        if len(row) != len(names):
            raise EvaluationError(f"line {number} has {len(row)} cells, the first line {len(names)}")
        yield row
