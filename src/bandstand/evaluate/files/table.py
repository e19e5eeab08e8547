"""A file as batches of named columns of numbers: what the readers of all formats make."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray

ROWS = 8192
"""Rows of a batch: its columns stay in the cache, and OpenBLAS leaves a dot product this short to one thread."""


class Batch(NamedTuple):
    """Rows of a file.

    Attributes:
        columns: by name, (n,) each; NaN where a cell is empty.
        locate: what errors call a row, from its index in the batch.
    """

    columns: dict[str, FloatArray]
    locate: Callable[[int], str]


class RowTable(Protocol):
    """A file that can be read from its beginning as often as one likes."""

    def read_header(self) -> Sequence[str]:
        """Return the names of its columns.

        Raises:
            EvaluationError: it has none.
        """

    def read_batches(self, names: Sequence[str]) -> Iterator[Batch]:
        """Read these columns.

        Raises:
            EvaluationError: a cell is not a number; names its line and column.
        """


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, unpacked if it ends in ``.gz``.

    Raises:
        EvaluationError: it cannot be read, or is not UTF-8.
    """
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="")
        ) as file:
            yield file
    except UnicodeDecodeError:
        raise EvaluationError("it is not UTF-8 text") from None
    except (OSError, EOFError) as error:
        raise EvaluationError(getattr(error, "strerror", None) or str(error)) from None
