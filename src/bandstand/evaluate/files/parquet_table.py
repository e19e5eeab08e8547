"""Parquet, through pyarrow, which is an optional dependency."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray
from bandstand.evaluate.files.cells import read_vector, stack_vectors, to_text
from bandstand.evaluate.files.table import ROWS, Batch, Header, Record, TextArray
from bandstand.store.event_files.form import Arrow

_ROWS_READ = 4 * ROWS


class ParquetTable:
    """A Parquet file; a null is NaN. Row groups are read a batch at a time, on one thread.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        arrow = Arrow.load()
        self._path = path
        self._arrow = arrow.core
        self._parquet = arrow.parquet

    def read_header(self) -> Header:
        """Return the names of the columns."""
        with self._open_file() as file:
            schema = file.schema_arrow
        keys = {field.name: tuple(part.name for part in field.type) for field in schema if self._is_struct(field.type)}
        vectors = frozenset(field.name for field in schema if self._is_list(field.type)) | frozenset(keys)
        return Header(tuple(dict.fromkeys(schema.names)), vectors, keys)

    def read_batches(self, names: Sequence[str], labels: Collection[str] = ()) -> Iterator[Batch]:
        """Read these columns."""
        before = 0
        with self._open_file() as file:
            for read in file.iter_batches(_ROWS_READ, columns=list(names), use_threads=False):
                locate = _RowNames(before)
                whole: dict[str, FloatArray] = {}
                called: dict[str, TextArray] = {}
                for name in names:
                    column = read.column(name)
                    if name in labels:
                        called[name] = np.array(list(map(to_text, column.to_pylist())), dtype=object)
                    else:
                        whole[name] = self._parse_numbers(column, name, locate)
                for start in range(0, read.num_rows, ROWS):
                    part = {name: column[start : start + ROWS] for name, column in whole.items()}
                    texts = {name: column[start : start + ROWS] for name, column in called.items()}
                    yield Batch(part, _RowNames(before + start), texts)
                before += read.num_rows

    def read_records(self) -> Iterator[Record]:
        """Read every row; its cells are JSON values, times ISO 8601."""
        before = 0
        with self._open_file() as file:
            for read in file.iter_batches(ROWS, use_threads=False):
                yield from enumerate(read.to_pylist(), start=before)
                before += read.num_rows

    def format_location(self, number: int) -> str:
        """Name a row, counted from 0."""
        return f"row {number}"

    @contextmanager
    def _open_file(self) -> Iterator[Any]:
        try:
            with self._parquet.ParquetFile(self._path) as file:
                yield file
        except (OSError, self._arrow.ArrowException) as error:
            raise EvaluationError(_first_line(error)) from None

    def _is_list(self, kind: Any) -> bool:
        types = self._arrow.types
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))

    def _is_struct(self, kind: Any) -> bool:
        return bool(self._arrow.types.is_struct(kind))

    def _parse_numbers(self, column: Any, name: str, locate: "_RowNames") -> FloatArray:
        kind = column.type
        types = self._arrow.types
        if types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind):
            return np.asarray(column.cast(self._arrow.float64()).to_numpy(zero_copy_only=False))
        if self._is_struct(kind) or self._is_list(kind):
            keys = [part.name for part in kind] if self._is_struct(kind) else None
            return stack_vectors([read_vector(value, keys) for value in column.to_pylist()], name, locate)
        if types.is_null(kind):
            return np.full(len(column), np.nan)
        raise EvaluationError(f"column {name!r} holds {kind}, not numbers")


class _RowNames:
    """Names rows by their number in the file, counted from 0."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __call__(self, index: int) -> str:
        return f"row {self._first + index}"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]
