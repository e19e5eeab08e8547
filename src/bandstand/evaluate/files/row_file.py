"""Rows of a file, CSV, JSON Lines or Parquet, made by whatever logged and whatever is to be evaluated."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.chunk import Chunk
from bandstand.evaluate.estimators.logged_rows import FloatArray, RowLocator
from bandstand.evaluate.files.columns import Columns, Layout
from bandstand.evaluate.files.log_table import open_table
from bandstand.evaluate.files.propensities import check_picks
from bandstand.evaluate.files.table import Batch, RowTable, TextArray

_MAX_LISTED = 12


def read_rows(path: Path, columns: Columns | None = None, *, model: bool = False) -> Iterator[Chunk]:
    """Read a log of rows, a bounded number at a time.

    Args:
        path: the file, a folder of files, or a pattern that files match.
        columns: what its columns are called; if left out, the usual names, or those of the tool that wrote it.
        model: read ``q_hat`` too, for estimators with a model.

    Raises:
        EvaluationError: the file cannot be read, or a column or a cell is not as it must be. ``named`` says which file.
        ConfigurationError: it is Parquet and pyarrow is not installed.
    """
    table = open_table(path)
    yield from RowReader.build(table, columns, model=model).read_chunks(table)


@dataclass(frozen=True, slots=True)
class RowReader:
    """How the rows of a log are read, the same in all of its files.

    Attributes:
        columns: what they are called.
        layout: which are read, by the columns of the first file.
    """

    columns: Columns
    layout: Layout

    @classmethod
    def build(cls, table: RowTable, columns: Columns | None = None, *, model: bool = False) -> Self:
        """Find out what a log has; the arguments and errors are those of :func:`read_rows`."""
        header = table.read_header()
        columns = columns or Columns.recognise(header.names)
        return cls(columns, columns.find_layout(header, model=model))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"columns": asdict(self.columns), "layout": self.layout._asdict()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        layout: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document["layout"].items()
        }
        return cls(Columns(**document["columns"]), Layout(**layout))

    def count_rows(self, table: RowTable) -> tuple[int, int]:
        """Count the rows of a log, or of a part of it, and those with a reward.

        Raises:
            EvaluationError: the column is missing, or a cell is not as it must be.
        """
        rows = rewarded = 0
        for batch in table.read_batches([self.layout.reward]):
            reward = batch.columns[self.layout.reward]
            rows, rewarded = rows + len(reward), rewarded + int(np.count_nonzero(~np.isnan(reward)))
        return rows, rewarded

    def read_chunks(self, table: RowTable) -> Iterator[Chunk]:
        """Read a log, or a part of it.

        Raises:
            EvaluationError: a column is missing, or a cell is not as it must be.
        """
        columns, layout = self.columns, self.layout
        labels = () if layout.action is None or not layout.names else (layout.action,)
        try:
            for batch in table.read_batches(layout.column_names, labels):
                yield _build_chunk(batch, layout, columns)
        except EvaluationError as error:
            if layout.action is None or layout.names or f"column {layout.action!r}" not in error.detail:
                raise
            hint = f"actions that have names are those of columns {columns.target}_NAME"
            raise EvaluationError(f"{error.detail}; {hint}", error.errors) from None


@contextmanager
def name_file_in_errors(name: str, columns: Columns | None = None) -> Iterator[None]:
    """Put the file's name before what is wrong with it, and its own names for our columns into it."""
    try:
        yield
    except EvaluationError as error:
        detail = error.detail
        if columns is not None and error.errors:
            field = error.errors[0].field
            detail = columns.describe_column(field) + detail.removeprefix(field)
        raise EvaluationError(f"{name}: {detail}", error.errors) from None


def _build_chunk(batch: Batch, layout: Layout, columns: Columns) -> Chunk:
    read = batch.columns
    propensity = read[layout.propensity]
    action = q_hat = None
    target = read[layout.target[0]]
    if layout.action is not None:
        if layout.names:
            action = _find_names(batch.labels[layout.action], layout, batch.locate)
        else:
            action = _to_indexes(read[layout.action], columns.describe_column("action"), batch.locate)
        if layout.propensities:
            check_picks(propensity, action, _stack(read, layout.propensities), batch.locate)
    if layout.q_hat:
        q_hat = _stack(read, layout.q_hat)
    if len(layout.target) > 1 or target.ndim > 1:
        target = _stack(read, layout.target)
    else:
        action = None  # it was needed for the check alone
    return Chunk(
        reward=read[layout.reward],
        propensity=propensity,
        target=target,
        action=action,
        q_hat=q_hat,
        locate=batch.locate,
    )


def _stack(read: dict[str, FloatArray], names: tuple[str, ...]) -> FloatArray:
    """Return (n, k) of the k columns, or of the one that holds lists."""
    columns = [read[name] for name in names]
    return columns[0] if columns[0].ndim > 1 else np.stack(columns, axis=1)


def _find_names(column: TextArray, layout: Layout, locate: RowLocator) -> NDArray[np.intp]:
    indexes = {name: index for index, name in enumerate(layout.names)}
    found = np.array([indexes.get(name, -1) for name in column], dtype=np.intp)
    if found.min(initial=0) < 0:
        row = int(found.argmin())
        known = ", ".join(layout.names[:_MAX_LISTED]) + (", …" if len(layout.names) > _MAX_LISTED else "")
        raise EvaluationError(f"{locate(row)}, column {layout.action!r}: {column[row]!r} is none of {known}")
    return found


def _to_indexes(column: FloatArray, name: str, locate: RowLocator) -> NDArray[np.intp]:
    with np.errstate(invalid="ignore"):
        indexes = column.astype(np.intp)
    other = indexes != column
    if other.any():
        raise EvaluationError(f"{name} is not a whole number in {locate(int(other.argmax()))}")
    return indexes
