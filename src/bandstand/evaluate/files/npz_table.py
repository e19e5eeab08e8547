"""Arrays that numpy saved: the parts of an ``.npz``, or the fields of an ``.npy``, as columns."""

import zipfile
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.cells import to_text
from bandstand.evaluate.files.table import ROWS, Batch, Header, Record

POSITION: Final = "position"
"""Names the slot of each row, where an array has a last axis of slots, (n, k, slots), as the Open Bandit Pipeline's."""

PER_ACTION: Final = "action_context"
"""Has a row for every action, not for every decision, though there may be as many."""

_NUMERIC: Final = "biuf"
_TEXT: Final = "US"
_SLOTTED: Final = 3


class NpzTable:
    """Arrays of equal length by name; one with (n, k) is a column of lists.

    The whole of it is read into memory, as numpy does. Arrays that hold Python objects are never loaded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]] | None = None

    def read_header(self) -> Header:
        """Return the names of the arrays that have as many rows as most have."""
        columns, _ = self._load()
        if not columns:
            raise EvaluationError("it holds no columns of NumPy's; of a spreadsheet, export the sheet as CSV")
        return Header(tuple(columns), frozenset(name for name, array in columns.items() if array.ndim > 1))

    def read_batches(self, names: Sequence[str], labels: Collection[str] = ()) -> Iterator[Batch]:
        """Read these columns, ``ROWS`` rows at a time."""
        columns, _ = self._load()
        for start in range(0, len(columns[names[0]]), ROWS):
            read, called = {}, {}
            for name in names:
                part = columns[name][start : start + ROWS]
                if name in labels:
                    called[name] = np.array(list(map(to_text, part.tolist())), dtype=object)
                elif part.dtype.kind in _NUMERIC:
                    read[name] = part.astype(np.float64, copy=False)
                else:
                    raise EvaluationError(f"array {name!r} holds {part.dtype}, not numbers")
            yield Batch(read, partial(_format_row, start), called)

    def read_records(self) -> Iterator[Record]:
        """Read every row, with what the file holds besides columns.

        Numbers, and arrays of another length, each whole.
        """
        columns, beside = self._load()
        shared = {name: array.tolist() for name, array in beside.items()}
        for number in range(len(next(iter(columns.values()), ()))):
            yield number, shared | {name: array[number].tolist() for name, array in columns.items()}

    def format_location(self, number: int) -> str:
        """Name a row, counted from 0."""
        return f"row {number}"

    def _load(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        if self._read is None:
            arrays = _load_arrays(self._path)
            rows = len(arrays["reward"]) if "reward" in arrays and arrays["reward"].ndim else _find_length(arrays)
            columns = {
                name: array
                for name, array in arrays.items()
                if array.ndim and len(array) == rows and name != PER_ACTION
            }
            beside = {name: array for name, array in arrays.items() if name not in columns}
            self._read = {name: _select_slot(name, array, columns) for name, array in columns.items()}, beside
        return self._read


def _format_row(first: int, index: int) -> str:
    return f"row {first + index}"


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read what numpy can read without unpickling."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.ndarray):
                return {name: array for name in loaded.files if (array := _load_array(loaded, name)) is not None}
        fields = loaded.dtype.names
        if fields is None:
            raise EvaluationError("an array without names; save several with numpy.savez(FILE, reward=…, …)")
        return {name: loaded[name] for name in fields}
    except ValueError as error:
        if isinstance(error, EvaluationError):
            raise
        raise EvaluationError("it holds Python objects, not arrays; save them with numpy.savez(FILE, **log)") from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise EvaluationError(getattr(error, "strerror", None) or str(error)) from None


def _load_array(loaded: Any, name: str) -> NDArray[Any] | None:
    """Return an array of numbers or text; None for one of Python objects, such as a ``None`` that was saved."""
    try:
        array = loaded[name]
    except ValueError:
        return None
    if not isinstance(array, np.ndarray):  # some other file of a zip archive
        return None
    return array if array.dtype.kind in _NUMERIC + _TEXT else None


def _find_length(arrays: dict[str, NDArray[Any]]) -> int:
    lengths = [len(array) for array in arrays.values() if array.ndim]
    return max(lengths, default=0)


def _select_slot(name: str, array: NDArray[Any], columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return (n, k) of an array (n, k, slots): the slot that each row was shown in."""
    if array.ndim == 2 and array.shape[1] == 1:  # noqa: PLR2004 - (n, 1) is a column that numpy did not flatten
        return array[:, 0]
    if array.ndim != _SLOTTED:
        return array
    slots = array.shape[2]
    if slots == 1:
        return array[:, :, 0]
    position = columns.get(POSITION)
    if position is None or position.dtype.kind not in "iu":
        raise EvaluationError(f"array {name!r} has {slots} slots; an array {POSITION!r} must say which each row had")
    if position.min(initial=0) < 0 or position.max(initial=0) >= slots:
        raise EvaluationError(f"{POSITION!r} is not in [0, {slots}) in row {int(position.argmax())}")
    return array[np.arange(len(array)), :, position]
