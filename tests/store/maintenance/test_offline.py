"""A state directory opened for maintenance: one owner, any number of readers, errors in one sentence."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError, StorageFullError, StorageUnavailableError
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.sqlite.errors import storage_errors
from tests.store.given import ledger_of
from tests.store.populated import Served, catalogue_of, serve_users

CATALOGUE = catalogue_of()


async def test_an_owner_keeps_others_out_and_lets_readers_in(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna")
    with open_owned(tmp_path, CATALOGUE) as state:
        with (
            pytest.raises(ConfigurationError, match="in use by another process; stop it"),
            open_owned(tmp_path, CATALOGUE),
        ):
            pass
        with pytest.raises(ConfigurationError, match="in use by another process"):
            await Served(tmp_path).store.open()
        with open_read_only(tmp_path, CATALOGUE) as reader:
            assert list(reader.iter_users()) == list(state.iter_users())
    await serve_users(tmp_path, "bob")  # and lets go


async def test_an_owner_who_fails_lets_go(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna")
    with pytest.raises(KeyError), open_owned(tmp_path, CATALOGUE):
        raise KeyError
    with open_owned(tmp_path, CATALOGUE):
        pass


async def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna")
    ledger = tmp_path / "ledger.db"
    before = ledger.read_bytes()
    with pytest.raises(StorageUnavailableError, match="readonly"), open_read_only(tmp_path, CATALOGUE) as state:
        state.connection.execute("DELETE FROM users")
    assert ledger.read_bytes() == before
    assert not ledger.with_name("ledger.db-wal").read_bytes()


async def test_users_are_read_a_page_at_a_time_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [f"user-{number}" for number in range(7)]
    await serve_users(tmp_path, *users)
    for size in (1, 3, 7, 8):
        monkeypatch.setattr("bandstand.store.maintenance.offline._PAGE_SIZE", size)
        with open_read_only(tmp_path, CATALOGUE) as state:
            assert [user_id for _, user_id in state.iter_users()] == users
            assert state.count_users() == 7


async def test_a_snapshot_is_one_moment(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna")
    with open_read_only(tmp_path, CATALOGUE) as state:
        with state.snapshot():
            before = state.count_users()
            with ledger_of(tmp_path) as ledger:
                ledger.execute("INSERT INTO users VALUES (99, 'late')")
            assert state.count_users() == before
        assert state.count_users() == before + 1


async def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna")
    with open_owned(tmp_path, CATALOGUE) as state:
        insert = "INSERT INTO users VALUES (?, ?)"
        with pytest.raises(sqlite3.IntegrityError), state.transaction():
            state.connection.executemany(insert, [(98, "failed"), (98, "too")])
        with state.transaction(commit=False):
            state.connection.execute(insert, (98, "tried"))
        with state.transaction():
            state.connection.execute(insert, (98, "done"))
        assert [user_id for _, user_id in state.iter_users()] == ["anna", "done"]


def test_what_is_committed_is_synced(tmp_path: Path) -> None:
    with open_owned(tmp_path, CATALOGUE, new=True) as state:
        assert state.connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert state.connection.execute("PRAGMA secure_delete").fetchone() == (1,)


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StorageFullError, "the disk of 'x' is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "x/users"),
            StorageUnavailableError,
            "'x/users': Permission",
        ),
        (sqlite3.OperationalError("locked"), StorageUnavailableError, "the ledger in 'x' cannot be used: locked"),
    ],
)
def test_what_a_disk_raises_becomes_one_sentence(error: Exception, expected: type[Exception], said: str) -> None:
    with pytest.raises(expected, match=said), storage_errors(Path("x")):
        raise error


def test_a_full_disk_is_called_so_by_the_ledger_too() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StorageFullError), storage_errors(Path("x")):
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()


def test_a_reader_of_our_output_who_has_had_enough_is_no_error_of_the_storage() -> None:
    with pytest.raises(BrokenPipeError), storage_errors(Path("x")):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
