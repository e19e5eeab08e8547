"""A new ledger's file, filled in one go: in a folder of its own until it is complete, then moved to its place."""

import os
import shutil
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bandstand.errors import ConfigurationError
from bandstand.store.sqlite.schema import connect, create_tables

_LEDGER = "ledger.db"
_UNFINISHED = ".moving"
_ARRIVAL_KEY = "arrival"
_DERIVED = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('index', 'trigger')"


class LedgerDraft:
    """The file that is made.

    Args:
        directory: the state directory, which its maker owns.
    """

    def __init__(self, directory: Path) -> None:
        self._place = directory / _LEDGER
        self._folder = directory / _UNFINISHED

    def require_room(self) -> None:
        """Refuse a directory that has a ledger.

        Raises:
            ConfigurationError: it has.
        """
        if self._place.exists():
            raise ConfigurationError(f"{str(self._place.parent)!r} holds a ledger: name a new directory")

    def create(self) -> sqlite3.Connection:
        """Begin again, in autocommit mode; nothing is on the disk before :meth:`finish`."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)
        connection = connect(self._folder / _LEDGER)
        create_tables(connection)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def read_arrival(self) -> str | None:
        """The random token of a file that was finished but not moved to its place, if there is one."""
        return self._read_arrival(self._folder / _LEDGER)

    def has_arrived(self, arrival: str) -> bool:
        """Whether the ledger in its place is the one with that word."""
        return self._read_arrival(self._place) == arrival

    @staticmethod
    def _read_arrival(path: Path) -> str | None:
        if not path.is_file():
            return None
        connection = connect(path, read_only=True)
        try:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (_ARRIVAL_KEY,)).fetchone()
        except sqlite3.DatabaseError:  # torn
            return None
        finally:
            connection.close()
        return None if row is None else bytes(row[0]).decode()

    def finish(self, connection: sqlite3.Connection, arrival: str) -> None:
        """Sync all of it to the disk; the connection is closed."""
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_ARRIVAL_KEY, arrival.encode()))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        for path in (self._folder / _LEDGER, self._folder):
            _sync(path)

    def put_in_place(self) -> None:
        """Let services open it."""
        (self._folder / _LEDGER).rename(self._place)
        shutil.rmtree(self._folder, ignore_errors=True)
        _sync(self._place.parent)

    def discard(self) -> None:
        """Let nothing of it stay."""
        shutil.rmtree(self._folder, ignore_errors=True)


def read_columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """The declared types of a table's columns, by name, but for keys that count up by themselves."""
    return {name: kind for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})") if name != "id"} | (
        {"id": "INTEGER"} if table in {"policies", "prompts"} else {}
    )


def insert_rows(
    connection: sqlite3.Connection, table: str, names: Iterable[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Insert rows unchanged."""
    columns = tuple(names)
    places = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)  # noqa: S608 (constants)


def drop_derived(connection: sqlite3.Connection) -> Mapping[str, str]:
    """Drop triggers and indexes, which rows that are copied have no use for; returns their definitions by name."""
    found = connection.execute(_DERIVED).fetchall()
    for kind, name, _ in found:
        connection.execute(f"DROP {kind} {name}")
    return {name: definition for _, name, definition in found}


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
