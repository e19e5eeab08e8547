"""The write-ahead log: kept short beside the writer, and emptied once it must not remember what was erased.

SQLite would move the log into the database inside some unlucky commit. It can only start over once it has been moved
completely, and no reader may then be in the middle of it.
"""

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from bandstand.errors import BandstandError
from bandstand.store.sqlite.schema import connect
from bandstand.store.sqlite.writer import Writer

_LIMIT = 32 * 1024 * 1024
_INTERVAL = 0.25
_BUSY_TIMEOUT_MS = 20
"""How long the writer, and every commit behind it, waits for readers at a time."""
_MAX_TRIES = 10


class WriteAheadLog:
    """The log of one ledger.

    Args:
        ledger: the ledger's file.
        writer: its writer, which alone can see to it that nothing is added meanwhile.
    """

    def __init__(self, ledger: Path, writer: Writer) -> None:
        self._ledger = ledger
        self._file = ledger.with_name(f"{ledger.name}-wal")
        self._writer = writer
        self._needs_truncation = True  # a process that was killed may have left an erasure's log behind

    async def run_upkeep(self) -> None:
        """Keep it short, and see to it that it gets emptied where readers were in the way."""
        while True:
            with suppress(OSError, sqlite3.Error, BandstandError):
                if self._needs_truncation:
                    await self._try_empty()
                elif self._file.stat().st_size > _LIMIT:
                    await asyncio.to_thread(_checkpoint_separately, self._ledger)
                    await self._writer.call(_checkpoint)
            await asyncio.sleep(_INTERVAL)

    async def empty(self) -> bool:
        """Forget what was deleted; False where readers keep it for now: then it is done once they have finished."""
        self._needs_truncation = True
        for number in range(_MAX_TRIES):
            if number:
                await asyncio.sleep(_BUSY_TIMEOUT_MS / 1000)  # the commits that have gathered behind the writer
            if await self._try_empty():
                return True
        return False

    async def _try_empty(self) -> bool:
        if await self._writer.call(truncate_log):
            self._needs_truncation = False
        return not self._needs_truncation


def _checkpoint_separately(path: Path) -> None:
    # Its own connection: who gives up waiting must not close it under the thread that uses it.
    with closing(connect(path)) as connection:
        _checkpoint(connection)


def _checkpoint(connection: sqlite3.Connection) -> object:
    return connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def truncate_log(connection: sqlite3.Connection) -> bool:
    """Move the whole log into the database and cut it to nothing; False where a reader was in the way."""
    (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual}")
    return not busy
