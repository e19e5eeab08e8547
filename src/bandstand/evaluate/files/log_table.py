"""Which reader a log has: by its ending, by its first bytes, or, for a folder, by those of its parts."""

import glob
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import RowLocator
from bandstand.evaluate.files.csv_table import CsvTable
from bandstand.evaluate.files.json_table import JsonTable
from bandstand.evaluate.files.npz_table import NpzTable
from bandstand.evaluate.files.parquet_table import ParquetTable
from bandstand.evaluate.files.table import Batch, Header, Record, RowTable, read_start

ENDINGS: Final[dict[str, Callable[[Path], RowTable]]] = {
    ".csv": CsvTable,
    ".tsv": CsvTable,
    ".tab": CsvTable,
    ".jsonl": JsonTable,
    ".ndjson": JsonTable,
    ".dsjson": JsonTable,
    ".json": JsonTable,
    ".parquet": ParquetTable,
    ".pq": ParquetTable,
    ".npz": NpzTable,
    ".npy": NpzTable,
}
"""What a log may end in, in upper or lower case, and all of text with ``.gz`` after it."""

_STARTS: Final[tuple[tuple[bytes, Callable[[Path], RowTable]], ...]] = (
    (b"PAR1", ParquetTable),
    (b"PK\x03\x04", NpzTable),
    (b"\x93NUMPY", NpzTable),
    (b"{", JsonTable),
    (b"[", JsonTable),
)
_START_BYTES: Final = 256
_PART_BITS: Final = 40


def open_table(path: Path) -> RowTable:
    """Choose the reader of a file, or of the parts of a folder or pattern.

    Raises:
        EvaluationError: there is no such file, or a folder has no parts, or no file matches a pattern.
        ConfigurationError: it is Parquet and pyarrow is not installed.
    """
    parts = find_parts(path)
    if list(parts.values()) != [path]:
        return PartedTable({name: open_table(part) for name, part in parts.items()})
    ending = [suffix for suffix in (each.lower() for each in path.suffixes) if suffix != ".gz"][-1:]
    if ending and ending[0] in ENDINGS:
        return ENDINGS[ending[0]](path)
    try:
        start = read_start(path, _START_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, EOFError) as error:
        raise EvaluationError(getattr(error, "strerror", None) or str(error)) from None
    return next((table for first, table in _STARTS if start.startswith(first)), CsvTable)(path)


def find_parts(path: Path) -> dict[str, Path]:
    """Return the files that are parts of a log, in order, by what errors call them.

    A file is its own part. Of a folder, they are its files and those of folders in it; as elsewhere, files and folders
    whose names begin with ``.`` or ``_`` (such as ``_SUCCESS``) are skipped. A path with ``*``, ``?`` or ``[…]`` that
    is no file is a pattern, ``**`` for folders at any depth; of a folder that matches, its files are parts.

    Raises:
        EvaluationError: a folder has no parts, or no file matches a pattern.
    """
    if path.is_dir():
        parts = {str(part.relative_to(path)): part for part in list_log_files(path)}
        if not parts:
            raise EvaluationError("the folder holds no log: no file that ends in " + ", ".join(ENDINGS))
        return parts
    if path.exists() or not glob.has_magic(str(path)):
        return {str(path): path}
    matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    files = [file for match in matches for file in (list_log_files(match) if match.is_dir() else [match])]
    if not files:
        raise EvaluationError("no file matches the pattern")
    return {str(file): file for file in files}


def list_log_files(folder: Path) -> list[Path]:
    """Return the files of a folder, and of folders in it, whose endings are those of logs."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]  # and nothing in them is looked at
        shown = (Path(place, name) for name in files if not name.startswith((".", "_")))
        found.extend(path for path in shown if is_log_name(path) and path.is_file())
    return sorted(found)


def is_log_name(path: Path) -> bool:
    """Return whether the ending is one of a log's, also before that of a compression."""
    return any(suffix.lower() in ENDINGS for suffix in path.suffixes[-2:])


class PartedTable:
    """Several files with the same columns, one after the other.

    Args:
        parts: by name.
    """

    def __init__(self, parts: dict[str, RowTable]) -> None:
        self._names = list(parts)
        self._parts = list(parts.values())

    def read_header(self) -> Header:
        """Return the columns of the first part that has any."""
        for name, part in zip(self._names, self._parts, strict=True):
            try:
                return part.read_header()
            except EvaluationError as error:
                if part is self._parts[-1]:
                    raise EvaluationError(f"{name}: {error.detail}") from None
        raise AssertionError("a log has a part")

    def read_batches(self, names: Sequence[str], labels: Collection[str] = ()) -> Iterator[Batch]:
        """Read these columns of every part."""
        for name, part in zip(self._names, self._parts, strict=True):
            header = self._read_part_header(name, part)
            if header is None:
                continue
            missing = [each for each in names if each not in header.names and not header.open]
            if missing:
                raise EvaluationError(f"{name}: there is no column {missing[0]!r}, which other parts have")
            yield from self._prefix_batches(name, part.read_batches(names, labels))

    def read_records(self) -> Iterator[Record]:
        """Read every row of every part; a number says which part, too."""
        for index, (name, part) in enumerate(zip(self._names, self._parts, strict=True)):
            records = part.read_records()
            while True:
                try:
                    number, record = next(records)
                except StopIteration:
                    break
                except EvaluationError as error:
                    raise EvaluationError(f"{name}: {error.detail}", error.errors) from None
                yield (index << _PART_BITS) + number, record

    def format_location(self, number: int) -> str:
        """Name a row and its part."""
        index, number = divmod(number, 1 << _PART_BITS)
        return f"{self._names[index]}, {self._parts[index].format_location(number)}"

    @staticmethod
    def _read_part_header(name: str, part: RowTable) -> Header | None:
        """Return a part's columns; None for one that is empty."""
        try:
            return part.read_header()
        except EvaluationError as error:
            if error.detail == "it is empty":
                return None
            raise EvaluationError(f"{name}: {error.detail}") from None

    @staticmethod
    def _prefix_batches(name: str, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except EvaluationError as error:
                raise EvaluationError(f"{name}: {error.detail}", error.errors) from None
            yield batch._replace(locate=_prefix(name, batch.locate))


def _prefix(name: str, locate: RowLocator) -> RowLocator:
    return lambda index: f"{locate(index)} of {name}"
