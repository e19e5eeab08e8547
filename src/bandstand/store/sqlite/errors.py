"""What a disk or a database raises, as errors of Bandstand."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandstand.errors import StorageFullError, StorageUnavailableError


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn what a disk or a database raises into one sentence.

    Raises:
        StorageFullError, StorageUnavailableError: the disk or the ledger refused.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # the reader of our output has had enough: no error of the storage
        raise _translated(error, place) from error


def _translated(error: sqlite3.Error | OSError, place: Path) -> StorageFullError | StorageUnavailableError:
    if isinstance(error, OSError):
        if error.errno == errno.ENOSPC:
            return StorageFullError(f"the disk of {str(place)!r} is full")
        return StorageUnavailableError(f"{str(error.filename or place)!r}: {error.strerror}")
    if sqlite_code(error) == sqlite3.SQLITE_FULL:
        return StorageFullError(f"the disk of {str(place)!r} is full")
    return StorageUnavailableError(f"the ledger in {str(place)!r} cannot be used: {error}")


def sqlite_code(error: sqlite3.Error) -> int:
    """The primary result code of an error of SQLite; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
