"""The write-ahead log: kept short beside the writer, and emptied once it must not remember what was erased.

SQLite would move the log into the database inside some unlucky commit. It can only start over once it has been moved
completely, and no reader may then be in the middle of it. Whatever is moved is scrubbed before it starts over: see
:mod:`bandstand.store.sqlite.scrub`.
"""

import asyncio
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from bandstand.errors import BandstandError
from bandstand.store.sqlite.schema import SCRUBBED_KEY, connect
from bandstand.store.sqlite.scrub import LedgerFile
from bandstand.store.sqlite.writer import Writer

_LIMIT = 32 * 1024 * 1024
_INTERVAL = 0.25
_BUSY_TIMEOUT_MS = 8
"""How long the writer, and every commit behind it, waits for readers at a time."""
_RETRY_S = 0.02  # for the commits that have gathered behind the writer
_MAX_TRIES = 10
_FEW_FRAMES = 128
"""Frames that the writer moves and scrubs itself, in some milliseconds; more are moved beside it first."""
_MAX_MOVES = 3
_PAGES_PER_STEP = 2048
_PAUSE_S = 0.0005
"""In which whoever scrubs what was moved leaves the interpreter, and the core that it may have, to the loop."""
_NICENESS = 7
"""Of the thread that copies the log into the database: where it has to share a core, the loop has nearly all of it."""


class WriteAheadLog:
    """The log of one ledger.

    Args:
        ledger: the ledger's file.
        file: the same, below SQLite.
        writer: its writer, the only one that can make sure that nothing is added meanwhile.
        is_scrubbed: the file holds nothing outside of what is in use, but on pages that the log names.
    """

    def __init__(self, ledger: Path, file: LedgerFile, writer: Writer, *, is_scrubbed: bool) -> None:
        self._ledger = ledger
        self._file = file
        self._writer = writer
        self._lock = asyncio.Lock()
        self._copying = ThreadPoolExecutor(1, thread_name_prefix="ledger-log", initializer=_lower_priority)
        self._is_scrubbed = is_scrubbed
        self._wanted, self._emptied = 1, 0  # a process that was killed may have left an erasure's log behind

    async def run_upkeep(self) -> None:
        """Keep it short, and make sure that it is emptied if readers were in the way."""
        while True:
            with suppress(OSError, sqlite3.Error, BandstandError):
                async with self._lock:
                    if self._emptied < self._wanted:
                        await self._try_empty()
                    elif self._file.measure_log() > _LIMIT and self._file.count_frames():
                        await self._move()  # else it is short, or begins again with what is written next
            await asyncio.sleep(_INTERVAL)

    async def close(self) -> None:
        """End the thread; nobody may ask for anything any more."""
        await asyncio.to_thread(self._copying.shutdown)

    async def shorten(self) -> None:
        """Start it over in the midst of many deletions, because truncating a long one takes the kernel long."""
        async with self._lock:
            await self._move()

    def request_emptying(self) -> None:
        """Request that it is emptied of what was deleted, as soon as possible."""
        self._wanted += 1

    async def empty(self) -> bool:
        """Forget what was deleted; False where readers keep it for now: then it is done once they have finished."""
        self._wanted = wanted = self._wanted + 1
        for number in range(_MAX_TRIES):
            if number:
                await asyncio.sleep(_RETRY_S)
            async with self._lock:
                if self._emptied < wanted:  # nobody was quicker
                    await self._try_empty()
                if self._emptied >= wanted:
                    return True
        return False

    async def _move(self) -> None:
        await self._move_most()
        await self._writer.call(partial(_move_rest, file=self._file), durable=False)

    async def _move_most(self) -> None:
        """Leave few frames to the writer, unless readers keep more."""
        left = self._file.count_frames()
        for _ in range(_MAX_MOVES):
            if left <= _FEW_FRAMES:
                break
            await asyncio.to_thread(_move_beside, self._ledger, self._file, self._copying)
            before, left = left, self._file.count_frames()
            if left >= before:  # a reader keeps the rest
                break

    async def _try_empty(self) -> None:
        if not self._is_scrubbed:
            await self._scrub_all()
        await self._move_most()
        wanted = self._wanted  # before it is done: who asks meanwhile may have deleted something after it
        if await self._writer.call(partial(truncate_log, file=self._file)):
            self._emptied = wanted

    async def _scrub_all(self) -> None:
        """Scrub a file that was made, or written to, by what did not."""
        first = 1
        while await asyncio.to_thread(_scrub_pages, self._file, first):
            first += _PAGES_PER_STEP
        await self._writer.call(_note_scrubbed)
        self._is_scrubbed = True


def truncate_log(connection: sqlite3.Connection, file: LedgerFile) -> bool:
    """Move the whole log into the database, scrub it and cut the log to nothing; False where a reader was in the way.

    What the connection has in its cache is forgotten too: it would write it again, with what was scrubbed.
    """
    with file.lock, _patience(connection):
        busy, frames, moved = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        file.scrub_log(moved)
        if busy or moved < frames:
            return False
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            return False
        connection.execute("PRAGMA shrink_memory")
    return True


@contextmanager
def _patience(connection: sqlite3.Connection) -> Iterator[None]:
    (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual}")


def _move_beside(ledger: Path, file: LedgerFile, copying: Executor) -> None:
    """Move most of the log while the writer continues.

    On connections of its own: a waiter that gives up must not close them under the thread that uses them. One of them
    reads, so that the log cannot begin again, and forget which pages it named, before these are scrubbed.
    """
    with file.lock, closing(connect(ledger, read_only=True)) as reader, closing(connect(ledger)) as mover:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        moved = copying.submit(_checkpoint, mover).result()
        file.scrub_log(moved, partial(time.sleep, _PAUSE_S))


def _checkpoint(connection: sqlite3.Connection) -> int:
    """Copy what of the log no reader needs into the database; returns how many frames of it are there now."""
    _, _, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(moved)


def _lower_priority() -> None:
    """Let the other threads go first, where a thread has a priority of its own.

    Not for one that runs Python for long: others would wait for the interpreter while it waits for a core.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # as a sandbox may have it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _move_rest(connection: sqlite3.Connection, file: LedgerFile) -> None:
    with file.lock:
        file.scrub_log(_checkpoint(connection))


def _scrub_pages(file: LedgerFile, first: int) -> bool:
    with file.lock:
        return file.scrub_pages(first, _PAGES_PER_STEP)


def _note_scrubbed(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (SCRUBBED_KEY, b"\1"))
