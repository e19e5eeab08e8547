"""Rows of a file, CSV, JSON Lines or Parquet, made by whatever logged and whatever is to be evaluated."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.chunk import Chunk
from bandstand.evaluate.estimators.logged_rows import FloatArray, RowLocator
from bandstand.evaluate.files.columns import Columns, Layout
from bandstand.evaluate.files.csv_table import CsvTable
from bandstand.evaluate.files.jsonl_table import JsonlTable
from bandstand.evaluate.files.parquet_table import ParquetTable
from bandstand.evaluate.files.table import Batch, RowTable

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
"""What a file of rows may end in."""


def read_rows(path: Path, columns: Columns | None = None, *, model: bool = False) -> Iterator[Chunk]:
    """Read a log of rows, a bounded number at a time.

    Args:
        path: the file; its ending says what it is.
        columns: what its columns are called.
        model: read ``q_hat`` too, for estimators with a model.

    Raises:
        EvaluationError: the file cannot be read, or a column or a cell is not as it must be. ``named`` says which file.
        ConfigurationError: it is Parquet and pyarrow is not installed.
    """
    columns = columns or Columns()
    table = open_table(path)
    header = table.read_header()
    if isinstance(table, JsonlTable):  # the first object may be one without a reward
        header = [*header, columns.reward]
    layout = columns.find_layout(header, model=model)
    for batch in table.read_batches(layout.column_names):
        yield _build_chunk(batch, layout, columns)


@contextmanager
def name_file_in_errors(path: Path, columns: Columns | None = None) -> Iterator[None]:
    """Put the file's name before what is wrong with it, and its own names for our columns into it."""
    try:
        yield
    except EvaluationError as error:
        detail = error.detail
        if columns is not None and error.errors:
            field = error.errors[0].field
            detail = columns.describe_column(field) + detail.removeprefix(field)
        raise EvaluationError(f"{path}: {detail}", error.errors) from None


def open_table(path: Path) -> RowTable:
    """Choose the reader by the file's ending.

    Raises:
        EvaluationError: it has none of ``FORMATS``, or there is no such file.
        ConfigurationError: it is Parquet and pyarrow is not installed.
    """
    match [suffix.lower() for suffix in path.suffixes]:
        case [*_, ".csv"] | [*_, ".csv", ".gz"]:
            return CsvTable(path)
        case [*_, ".jsonl"] | [*_, ".jsonl", ".gz"]:
            return JsonlTable(path)
        case [*_, ".parquet"]:
            return ParquetTable(path)
    if not path.exists():
        raise EvaluationError("No such file or directory")
    raise EvaluationError(f"a log is a state directory or a file that ends in {', '.join(FORMATS)}")


def _build_chunk(batch: Batch, layout: Layout, columns: Columns) -> Chunk:
    read = batch.columns
    if layout.action is None:
        action, target = None, read[layout.target[0]]
    else:
        action = _to_indexes(read[layout.action], columns.describe_column("action"), batch.locate)
        target = np.stack([read[name] for name in layout.target], axis=1)
    q_hat: FloatArray | None = np.stack([read[name] for name in layout.q_hat], axis=1) if layout.q_hat else None
    return Chunk(
        reward=read[layout.reward],
        propensity=read[layout.propensity],
        target=target,
        action=action,
        q_hat=q_hat,
        locate=batch.locate,
    )


def _to_indexes(column: FloatArray, name: str, locate: RowLocator) -> NDArray[np.intp]:
    with np.errstate(invalid="ignore"):
        indexes = column.astype(np.intp)
    other = indexes != column
    if other.any():
        raise EvaluationError(f"{name} is not a whole number in {locate(int(other.argmax()))}")
    return indexes
