"""What a disk or a database raises, as errors of Bandstand."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandstand.errors import BandstandError, StorageFullError, StorageUnavailableError


def to_storage_error(error: BaseException) -> BaseException:
    """The error that a running service answers with, which names no file.

    An error of Bandstand stays itself, and so does an integrity error, for whoever submitted the rows to interpret.
    """
    if isinstance(error, (BandstandError, sqlite3.IntegrityError)):
        return error
    if is_disk_full(error):
        return StorageFullError("the disk is full: nothing new is taken, nothing acknowledged is lost")
    failure = StorageUnavailableError("the ledger cannot be written now")
    failure.__cause__ = error
    return failure


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn what a disk or a database raises into one sentence for a person, which names the file.

    Raises:
        StorageFullError, StorageUnavailableError: the disk or the ledger refused.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # the reader of our output has had enough: no error of the storage
        if is_disk_full(error):
            raise StorageFullError(f"the disk of {str(place)!r} is full") from error
        if isinstance(error, OSError):
            raise StorageUnavailableError(f"{str(error.filename or place)!r}: {error.strerror}") from error
        raise StorageUnavailableError(f"the ledger in {str(place)!r} cannot be used: {error}") from error


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk, or the database on it, had no room."""
    return get_sqlite_code(error) == sqlite3.SQLITE_FULL or (isinstance(error, OSError) and error.errno == errno.ENOSPC)


def get_sqlite_code(error: BaseException) -> int:
    """The primary result code of an error of SQLite; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
