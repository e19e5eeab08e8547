"""A transaction is all or nothing, whatever ends it; a snapshot sees one moment."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bandstand.store.sqlite.transaction import snapshot, transaction


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.db"
    with closing(open_store(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
    return path


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(database)) as connection:
        yield connection


def open_store(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


def test_all_of_it_is_committed(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.executemany("INSERT INTO numbers (n) VALUES (?)", [(1,), (2,)])
    assert not connection.in_transaction
    assert numbers(connection) == [1, 2]


@pytest.mark.parametrize("failure", [ValueError(), KeyboardInterrupt()])
def test_an_error_takes_all_of_it_back(connection: sqlite3.Connection, failure: BaseException) -> None:
    def fail() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO numbers (n) VALUES (1)")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert not connection.in_transaction
    assert numbers(connection) == []


def test_what_sqlite_has_rolled_back_itself_is_no_second_error(connection: sqlite3.Connection) -> None:
    def collide() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO numbers (n) VALUES (1)")
            connection.execute("INSERT OR ROLLBACK INTO numbers (n) VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        collide()
    assert numbers(connection) == []


def test_a_trial_commits_nothing(connection: sqlite3.Connection) -> None:
    with transaction(connection, commit=False):
        connection.execute("INSERT INTO numbers (n) VALUES (1)")
        assert numbers(connection) == [1]
    assert numbers(connection) == []


def test_a_snapshot_does_not_see_what_another_commits_meanwhile(database: Path, connection: sqlite3.Connection) -> None:
    with snapshot(connection), closing(open_store(database)) as other:
        assert numbers(connection) == []
        other.execute("INSERT INTO numbers (n) VALUES (1)")
        assert numbers(connection) == []
    assert numbers(connection) == [1]
