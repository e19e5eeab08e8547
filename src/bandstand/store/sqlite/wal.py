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
_PATIENCE_MS = 20
"""How long the writer, and every commit behind it, waits for readers at a time."""
_TRIES = 10


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
        self._remembers = True  # a process that was killed may have left an erasure's log behind

    async def keep(self) -> None:
        """Keep it short, and see to it that it gets emptied where readers were in the way."""
        while True:
            with suppress(OSError, sqlite3.Error, BandstandError):
                if self._remembers:
                    await self._emptied()
                elif self._file.stat().st_size > _LIMIT:
                    await asyncio.to_thread(_move_beside, self._ledger)
                    await self._writer.call(_move)
            await asyncio.sleep(_INTERVAL)

    async def empty(self) -> bool:
        """Forget what was deleted; False where readers keep it for now: then it is done once they have finished."""
        self._remembers = True
        for number in range(_TRIES):
            if number:
                await asyncio.sleep(_PATIENCE_MS / 1000)  # the commits that have gathered behind the writer
            if await self._emptied():
                return True
        return False

    async def _emptied(self) -> bool:
        if await self._writer.call(truncated):
            self._remembers = False
        return not self._remembers


def _move_beside(path: Path) -> None:
    # Its own connection: who gives up waiting must not close it under the thread that uses it.
    with closing(connect(path)) as connection:
        _move(connection)


def _move(connection: sqlite3.Connection) -> object:
    return connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def truncated(connection: sqlite3.Connection) -> bool:
    """Move the whole log into the database and cut it to nothing; False where a reader was in the way."""
    (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual}")
    return not busy
