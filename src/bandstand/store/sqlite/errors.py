"""What a disk or a database raises, as errors of Bandstand."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandstand.errors import BandstandError, StorageFullError, StorageUnavailableError


def to_storage_error(error: BaseException) -> BaseException:
    """The error that a running service answers with, which names no file.

    An error of Bandstand is returned unchanged, and so is an integrity error, which the code that submitted the rows
    interprets.
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
        way_out = "" if get_sqlite_code(error) == sqlite3.SQLITE_BUSY else f"; {find_way_out(error)}"
        raise StorageUnavailableError(f"the ledger in {str(place)!r} cannot be used: {error}{way_out}") from error


_NO_SHARED_MEMORY = frozenset(
    {
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMLOCK,
    }
)
_NOT_WRITABLE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})


def find_way_out(error: sqlite3.Error | OSError) -> str:
    """What to do about a ledger that cannot be opened: a backup is of use only where the file itself is at fault."""
    code = int(getattr(error, "sqlite_errorcode", None) or 0)
    if is_disk_full(error):
        return "make room on the disk"
    if code in _NO_SHARED_MEMORY or code & 0xFF == sqlite3.SQLITE_PROTOCOL:
        return (
            "its file system has no shared memory maps, which the ledger needs (network file systems and folders that "
            "are shared with a virtual machine often lack them); name a STATE_DIR on a local disk, or in a volume"
        )
    if code & 0xFF in _NOT_WRITABLE:
        return "let the user of this process write to the folder and to all files in it, or name a copy of it"
    if code & 0xFF in _DAMAGED:
        return "restore a backup, or name another STATE_DIR"
    return "look at the disk and its file system, or name another STATE_DIR"


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk, or the database on it, had no room."""
    return get_sqlite_code(error) == sqlite3.SQLITE_FULL or (isinstance(error, OSError) and error.errno in _FULL)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def get_sqlite_code(error: BaseException) -> int:
    """The primary result code of an error of SQLite; 0 if there is none."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
