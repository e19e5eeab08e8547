"""A file as batches of named columns, or as records: what the readers of all formats make."""

import gzip
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray

ROWS = 8192
"""Rows of a batch: its columns stay in the cache, and OpenBLAS leaves a dot product this short to one thread."""

TextArray = NDArray[np.object_]
"""(n,) of text: a column of names."""

Record = tuple[int, dict[str, Any]]
"""A row's number, and its cells by name, as the file's format has them: text in CSV, JSON values in JSON."""

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Header(NamedTuple):
    """What columns a file has.

    Attributes:
        names: of its columns, each once.
        vectors: of them, those whose cells are lists, or objects by name.
        keys: of those, the names in objects, in order.
        open: whether rows may have columns that the first has not.
    """

    names: tuple[str, ...]
    vectors: frozenset[str] = frozenset()
    keys: Mapping[str, tuple[str, ...]] = {}
    open: bool = False


class Batch(NamedTuple):
    """Rows of a file.

    Attributes:
        columns: by name: numbers of shape (n,), of (n, k) where cells are lists; NaN where a cell is empty.
        locate: what errors call a row, from its index in the batch.
        labels: by name, text of shape (n,): the columns that were requested as labels.
    """

    columns: dict[str, FloatArray]
    locate: Callable[[int], str]
    labels: Mapping[str, TextArray] = {}


class RowTable(Protocol):
    """A file that can be read from its beginning as often as one likes."""

    def read_header(self) -> Header:
        """Return the names of its columns.

        Raises:
            EvaluationError: it has none.
        """

    def read_batches(self, names: Sequence[str], labels: Collection[str] = ()) -> Iterator[Batch]:
        """Read these columns; those of ``labels`` as text.

        Raises:
            EvaluationError: a cell is not a number; names its line and column.
        """

    def read_records(self) -> Iterator[Record]:
        """Read every row with all of its cells.

        Raises:
            EvaluationError: a row cannot be read.
        """

    def format_location(self, number: int) -> str:
        """Say what an error calls the row of this number."""


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, unpacked if it is gzip: in UTF-8, or in UTF-16 where its mark says so, as of spreadsheets.

    Raises:
        EvaluationError: it cannot be read, or is in neither.
    """
    try:
        encoding = "utf-16" if read_start(path, 2) in _UTF16 else "utf-8-sig"
        with (
            gzip.open(path, "rt", encoding=encoding, newline="")
            if _is_packed(path)
            else path.open(encoding=encoding, newline="")
        ) as file:
            yield file
    except UnicodeError:
        raise EvaluationError("it is not UTF-8 text") from None
    except (OSError, EOFError) as error:
        raise EvaluationError(getattr(error, "strerror", None) or str(error)) from None


def read_start(path: Path, size: int) -> bytes:
    """Return a file's first bytes, unpacked if it is gzip.

    Raises:
        OSError: it cannot be read.
        EOFError: it is cut off.
    """
    with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
        return file.read(size)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP or path.suffix.lower() == ".gz"
