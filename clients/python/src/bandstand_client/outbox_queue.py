"""Where rewards wait for the service: in memory, or in a file that survives a crash of the product."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Protocol

from bandstand_client.errors import OutboxError

try:
    import fcntl
except ImportError:  # on Windows several processes may send the same reward, which the service takes once
    fcntl = None  # type: ignore[assignment]

_VERSION = 1
_SCHEMA = """
CREATE TABLE waiting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    decision_id TEXT NOT NULL,
    body BLOB NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0
)
"""
_PUT = "INSERT INTO waiting (key, decision_id, body) VALUES (?, ?, ?)"
_TAKE = "SELECT seq, key, decision_id, body, tries FROM waiting WHERE due <= ? ORDER BY seq LIMIT ?"
_LEFT_TO_PARENT: list[sqlite3.Connection] = []


class Parcel(NamedTuple):
    """A reward on its way: what is sent, and under which Idempotency-Key, however often it is."""

    seq: int
    key: str
    decision_id: str
    body: bytes
    tries: int = 0


class ParcelQueue(Protocol):
    """What an outbox needs of the place where rewards wait. Methods may be called from any thread."""

    def put(self, key: str, decision_id: str, body: bytes) -> bool:
        """Accept a reward; False where there is no room."""

    def take(self, limit: int) -> list[Parcel]:
        """The oldest that are due; they stay until they are removed."""

    def remove(self, parcels: Sequence[Parcel]) -> None:
        """Forget those that are settled."""

    def defer(self, parcel: Parcel, seconds: float) -> None:
        """Let one wait for a while, and others go before it."""

    def count(self) -> int:
        """How many wait."""

    def become_sender(self) -> bool:
        """Whether this process is the one that sends."""

    def close(self) -> None:
        """Let go of files."""

    def reset_after_fork(self) -> None:
        """Forget what is the parent's."""


class MemoryQueue:
    """Rewards that wait in memory, and are lost with the process."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._seq = 0
        self._waiting: dict[int, tuple[Parcel, float]] = {}

    def put(self, key: str, decision_id: str, body: bytes) -> bool:
        """Accept a reward; False where there is no room."""
        with self._lock:
            if len(self._waiting) >= self._capacity:
                return False
            self._seq += 1
            self._waiting[self._seq] = (Parcel(self._seq, key, decision_id, body), 0.0)
            return True

    def take(self, limit: int) -> list[Parcel]:
        """The oldest that are due."""
        now = time.time()
        taken: list[Parcel] = []
        with self._lock:
            for parcel, due in self._waiting.values():
                if len(taken) == limit:
                    break
                if due <= now:
                    taken.append(parcel)
        return taken

    def remove(self, parcels: Sequence[Parcel]) -> None:
        """Forget those that are settled."""
        with self._lock:
            for parcel in parcels:
                self._waiting.pop(parcel.seq, None)

    def defer(self, parcel: Parcel, seconds: float) -> None:
        """Let one wait for a while."""
        with self._lock:
            self._waiting[parcel.seq] = (parcel._replace(tries=parcel.tries + 1), time.time() + seconds)

    def count(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def become_sender(self) -> bool:
        """Memory is one process's own."""
        return True

    def close(self) -> None:
        """There is nothing to let go of."""

    def reset_after_fork(self) -> None:
        """The parent sends what was accepted before the fork."""
        self._lock = threading.Lock()
        self._waiting = {}


class FileQueue:
    """Rewards that wait in a SQLite file, which several processes may share: all put, one of them sends.

    A reward is accepted by a commit. Without ``power_safe`` that survives any death of the process, but not of the
    machine.

    Raises:
        OutboxError: the file cannot be opened, or is no outbox.
    """

    def __init__(self, path: str | PathLike[str], capacity: int, *, power_safe: bool) -> None:
        self._path = Path(path)
        self._capacity = capacity
        self._power_safe = power_safe
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._sender_lock: int | None = None
        self._closed = False
        self._count = 0
        with self._connected() as connection:
            self._count = connection.execute("SELECT count(*) FROM waiting").fetchone()[0]

    def put(self, key: str, decision_id: str, body: bytes) -> bool:
        """Accept a reward; False where there is no room.

        Raises:
            OutboxError: it could not be written, and was not accepted.
        """
        with self._connected() as connection:
            if self._count >= self._capacity:
                return False
            connection.execute(_PUT, (key, decision_id, body))
            self._count += 1
            return True

    def take(self, limit: int) -> list[Parcel]:
        """The oldest that are due, of all processes that share the file."""
        with self._connected() as connection:
            return [Parcel(*row) for row in connection.execute(_TAKE, (time.time(), limit))]

    def remove(self, parcels: Sequence[Parcel]) -> None:
        """Forget those that are settled, in one commit."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM waiting WHERE seq = ?", [(parcel.seq,) for parcel in parcels])
            connection.execute("COMMIT")
            self._recount(connection)

    def defer(self, parcel: Parcel, seconds: float) -> None:
        """Let one wait for a while."""
        with self._connected() as connection:
            due = (time.time() + seconds, parcel.seq)
            connection.execute("UPDATE waiting SET due = ?, tries = tries + 1 WHERE seq = ?", due)

    def count(self) -> int:
        """How many wait, of all processes that share the file."""
        with self._connected() as connection:
            self._recount(connection)
            return self._count

    def become_sender(self) -> bool:
        """Hold the lock that only one process holds at a time, and that the system takes from one that dies."""
        if self._sender_lock is not None or fcntl is None:
            return True
        lock = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._sender_lock = lock
        return True

    def close(self) -> None:
        """Let go of the file and of the lock."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            lock, self._sender_lock = self._sender_lock, None
        if connection is not None:
            connection.close()
        if lock is not None:
            os.close(lock)

    def reset_after_fork(self) -> None:
        """Leave connection and lock to the parent; SQLite must not close, in a child, what its parent has open."""
        self._lock = threading.Lock()
        if self._connection is not None:
            _LEFT_TO_PARENT.append(self._connection)
            self._connection = None
        if self._sender_lock is not None:
            os.close(self._sender_lock)  # the parent's own copy still holds the lock
            self._sender_lock = None

    def _recount(self, connection: sqlite3.Connection) -> None:
        self._count = connection.execute("SELECT count(*) FROM waiting").fetchone()[0]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise OutboxError(f"{self._path} is closed")
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except sqlite3.Error as error:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()
                raise OutboxError(f"{self._path}: {error}") from error
            except OSError as error:
                raise OutboxError(f"{self._path}: {error.strerror}") from error

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # what users said is for nobody else
        connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._power_safe else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == 0 and not tables:
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise OutboxError(f"{self._path} is no outbox of this version")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection
