"""Parquet, through pyarrow, which is an optional dependency."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bandstand.errors import ConfigurationError
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray
from bandstand.evaluate.files.table import ROWS, Batch

_ROWS_READ = 4 * ROWS


class ParquetTable:
    """A Parquet file; a null is NaN. Row groups are read a batch at a time, on one thread.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 (it ships no types, and is optional)
            from pyarrow import parquet  # noqa: PLC0415 (as above)
        except ImportError:
            raise ConfigurationError("Parquet needs pyarrow: pip install 'bandstand[parquet]'") from None
        self._path = path
        self._arrow: Any = pa
        self._parquet: Any = parquet

    def read_header(self) -> list[str]:
        """Return the names of the columns."""
        with self._open_file() as file:
            return list(file.schema_arrow.names)

    def read_batches(self, names: Sequence[str]) -> Iterator[Batch]:
        """Read these columns."""
        before = 0
        with self._open_file() as file:
            for read in file.iter_batches(_ROWS_READ, columns=list(names), use_threads=False):
                whole = {name: self._parse_numbers(read.column(name), name) for name in names}
                for start in range(0, read.num_rows, ROWS):
                    part = {name: column[start : start + ROWS] for name, column in whole.items()}
                    yield Batch(part, _RowNames(before + start))
                before += read.num_rows

    @contextmanager
    def _open_file(self) -> Iterator[Any]:
        try:
            with self._parquet.ParquetFile(self._path) as file:
                yield file
        except (OSError, self._arrow.ArrowException) as error:
            raise EvaluationError(_first_line(error)) from None

    def _parse_numbers(self, column: Any, name: str) -> FloatArray:
        kind = column.type
        types = self._arrow.types
        if not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind)):
            raise EvaluationError(f"column {name!r} holds {kind}, not numbers")
        return np.asarray(column.cast(self._arrow.float64()).to_numpy(zero_copy_only=False))


class _RowNames:
    """Names rows by their number in the file, counted from 0."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __call__(self, index: int) -> str:
        return f"row {self._first + index}"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]
