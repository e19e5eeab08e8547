"""Transactions on a connection in autocommit mode: all of it or nothing, and one moment for several questions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(connection: sqlite3.Connection, *, commit: bool = True) -> Iterator[None]:
    """Commit everything inside at once, or nothing of it: on an error, or where ``commit`` is false."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT" if commit else "ROLLBACK")
    except BaseException:
        _rollback(connection)
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let every question inside see the database as of the first of them."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        _rollback(connection)


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # a full disk may have rolled it back already
        connection.execute("ROLLBACK")
