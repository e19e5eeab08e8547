"""What to do about a ledger that cannot be opened: a backup is named only where the file is at fault."""

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.embedded import state_directory
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.maintenance.offline import open_read_only
from bandstand.store.sqlite.errors import find_way_out, is_disk_full, storage_errors
from bandstand.store.sqlite.schema import connect
from tests.contract.test_process import small_disk
from tests.project.checkout import tool
from tests.store.given import CATALOGUE


def build_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


NO_MAPS = (sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_PROTOCOL)
NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_CANTOPEN)
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (NO_MAPS, "no shared memory maps"),
        (NOT_WRITABLE, "let the user of this process write"),
        (DAMAGED, "restore a backup"),
        ((sqlite3.SQLITE_FULL,), "make room"),
        ((sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_ERROR), "look at the disk"),
    ],
)
def test_each_kind_has_a_way_out(codes: tuple[int, ...], words: str) -> None:
    for code in codes:
        said = find_way_out(build_error(code))
        assert words in said
        assert ("backup" in said) == (code in DAMAGED)
        with (
            pytest.raises(Exception, match="full" if code == sqlite3.SQLITE_FULL else words),
            storage_errors(Path("x")),
        ):
            raise build_error(code)


def test_a_quota_that_is_used_up_is_a_full_disk() -> None:
    assert is_disk_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not is_disk_full(OSError(errno.EIO, "Input/output error"))


class WithoutMaps(sqlite3.Connection):
    """Answers as SQLite does on a file system that cannot map a file for several processes."""

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if "journal_mode" in statement:
            raise build_error(sqlite3.SQLITE_IOERR_SHMMAP)
        return super().execute(statement, *values)  # type: ignore[arg-type]  # as it is used


async def test_a_file_system_without_shared_maps_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_directory, "connect", lambda path: WithoutMaps(path, isolation_level=None))
    with pytest.raises(ConfigurationError, match="no shared memory maps") as caught:
        await EmbeddedStore(tmp_path / "state", CATALOGUE).open()
    assert "backup" not in caught.value.detail


def test_a_ledger_that_may_only_be_read_is_no_reason_for_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ledger.db").touch()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connect(tmp_path / "ledger.db")
    assert "let the user of this process write" in find_way_out(caught.value)


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Path]:
    """A stopped service's directory on a medium that may only be read."""
    with small_disk(tmp_path / "medium", "4m"):
        yield tmp_path / "medium"


async def test_a_backup_is_read_where_nothing_can_be_written(copied: Path) -> None:
    store = EmbeddedStore(copied, CATALOGUE)
    await store.open()
    await store.close()
    remount(copied, "ro")
    with open_read_only(copied, CATALOGUE) as state:
        assert state.count_users() == 0
    remount(copied, "rw")
    with closing(sqlite3.connect(copied / "ledger.db")) as connection:
        connection.execute("CREATE TABLE more (x)")
        newest = (copied / "ledger.db-wal").read_bytes()
    (copied / "ledger.db-wal").write_bytes(newest)  # part of it is in the log beside, as after a crash
    remount(copied, "ro")
    with pytest.raises(StorageUnavailableError, match="a copy"), open_read_only(copied, CATALOGUE):
        pass


def remount(place: Path, mode: str) -> None:
    subprocess.run([tool("mount"), "-o", f"remount,{mode}", str(place)], check=True)
