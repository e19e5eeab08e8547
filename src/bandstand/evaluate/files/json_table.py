"""JSON: an object a line, or one array of objects."""

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray
from bandstand.evaluate.files.cells import read_vector, stack_vectors, to_text
from bandstand.evaluate.files.table import ROWS, Batch, Header, Record, TextArray, open_text

_NUMBERS: Final = {int, float, bool, type(None)}
_CHUNK_CHARS: Final = 65_536
_MAX_ITEM_CHARS: Final = 64 * 2**20
_DECODER: Final = json.JSONDecoder()
_PADDING: Final = " \t\r\n,"


class JsonTable:
    """JSON Lines, or an array; a key that is missing or null is NaN, an empty line is skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unit = "line"
        self._header: Header | None = None

    def read_header(self) -> Header:
        """Return the keys of the first object."""
        if self._header is None:
            _, first = next(self.read_records(), (0, {}))
            if not first:
                raise EvaluationError("it is empty")
            vectors = frozenset(name for name, value in first.items() if isinstance(value, list | dict))
            keys = {name: tuple(value) for name, value in first.items() if isinstance(value, dict)}
            self._header = Header(tuple(first), vectors, keys, open=True)
        return self._header

    def read_batches(self, names: Sequence[str], labels: Collection[str] = ()) -> Iterator[Batch]:
        """Read these columns, ``ROWS`` lines at a time."""
        header, records = self.read_header(), self.read_records()
        while batch := list(islice(records, ROWS)):
            locate = [self.format_location(number) for number, _ in batch].__getitem__
            read: dict[str, FloatArray] = {}
            called: dict[str, TextArray] = {}
            for name in names:
                values = [row.get(name) for _, row in batch]
                if name in labels:
                    called[name] = np.array(list(map(to_text, values)), dtype=object)
                elif name in header.vectors:
                    keys = header.keys.get(name)
                    read[name] = stack_vectors([read_vector(value, keys) for value in values], name, locate)
                else:
                    read[name] = _parse_numbers(values, name, locate)
            yield Batch(read, locate, called)

    def read_records(self) -> Iterator[Record]:
        """Read every object.

        Raises:
            EvaluationError: a line or an item is no JSON object.
        """
        with open_text(self._path) as file:
            start = ""
            while not start.strip() and (read := file.read(1)):
                start += read
            array = start.endswith("[")
            self._unit = "item" if array else "line"
            yield from _read_items(file) if array else _read_lines(_put_back(start, file))

    def format_location(self, number: int) -> str:
        """Name a line or an item of an array, counted from 1."""
        return f"{self._unit} {number}"


def _put_back(start: str, file: TextIO) -> Iterator[str]:
    *empty, begun = start.splitlines(keepends=True) or [""]
    yield from empty
    if begun.strip():
        yield begun + file.readline()
    yield from file


def _read_lines(lines: Iterator[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise EvaluationError(f"line {number}: {error}") from None
        yield number, _check_object(value, f"line {number}")


def _read_items(file: TextIO) -> Iterator[Record]:
    """Yield the items of an array whose bracket has been read; one at a time is in memory."""
    text, at, number, ended = "", 0, 0, False
    while True:
        while at < len(text) and text[at] in _PADDING:
            at += 1
        if text.startswith("]", at):
            if (text[at + 1 :] + file.read(_CHUNK_CHARS)).strip():
                raise EvaluationError("there is more after the array")
            return
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if ended or len(text) - at > _MAX_ITEM_CHARS:
                raise EvaluationError(f"item {number + 1}: {error}") from None
            text, at = text[at:], 0
            more = file.read(max(_CHUNK_CHARS, len(text)))  # as much again each time: a long item costs no square
            text, ended = text + more, not more
            continue
        number += 1
        yield number, _check_object(value, f"item {number}")


def _check_object(value: object, location: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EvaluationError(f"{location}: not a JSON object")
    return value


def _parse_numbers(values: Sequence[Any], name: str, locate: Any) -> FloatArray:
    if set(map(type, values)) <= _NUMBERS:
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            pass
    return np.array([_parse_number(value, name, locate, index) for index, value in enumerate(values)])


def _parse_number(value: object, name: str, locate: Any, index: int) -> float:
    try:
        if isinstance(value, int | float):
            return float(value)
    except OverflowError:
        pass
    if value is None:
        return np.nan
    raise EvaluationError(f"{locate(index)}, column {name!r}: not a number")
