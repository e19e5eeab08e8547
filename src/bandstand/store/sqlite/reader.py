"""Read-only connections to the ledger, one for each thread that asks."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from bandstand.store.sqlite.schema import connect
from bandstand.store.sqlite.transaction import snapshot

P = ParamSpec("P")
T = TypeVar("T")


class LedgerReader:
    """Runs queries on read-only connections, one a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def run_query(self, query: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``query(connection, …)`` on this thread's connection; it sees one moment of the ledger."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path, read_only=True)
            self._connections.append(connection)
        with snapshot(connection):
            return query(connection, *args, **kwargs)

    def close(self) -> None:
        """Close every thread's connection; the threads must be idle."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
