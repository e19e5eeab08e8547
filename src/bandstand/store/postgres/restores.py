"""Whether the ledger is the one that this process knows: a backup may have been put in its place meanwhile.

Four things tell: the row that this process writes of itself every ten seconds, the table that it is in, the database,
and the server with its timeline; no way to restore leaves all of them as they were. They are looked at on every new
connection before it is used, for most restores end all connections, and once a second; behind a pooler, once a second.
"""

import asyncio
import secrets
from typing import Any, NamedTuple

import asyncpg

from bandstand.store.postgres.errors import RestoredLedgerError

_LOOK = """SELECT (SELECT seen FROM processes WHERE holder = $1) AS seen,
    to_regclass('processes')::oid::bigint AS place,
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database"""
_SERVER = """SELECT (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8)"""
"""Its timeline is the first part of the name of its log's file."""
HAVE_READ_ANEW = "UPDATE processes SET seen = seen - interval '1 microsecond'"
"""Each process takes the ledger for one that was put back, and lets go of all that it has in memory."""


class LedgerMark(NamedTuple):
    """What tells a ledger from one that was put in its place.

    Attributes:
        place: of its table of processes.
        database: that holds it.
        server: that holds this, and the timeline there; ``None`` where the server does not say.
    """

    place: int
    database: int
    server: tuple[int, str] | None


class RestoreWatch:
    """One process's look at its ledger.

    Attributes:
        holder: the name of this process, by chance.
        seen: when this process last wrote that it lives, by the database's clock.
    """

    def __init__(self) -> None:
        self.holder = secrets.token_hex(8)
        self._mark: LedgerMark | None = None
        self._restored = asyncio.Event()
        self.seen: Any = None

    @property
    def is_restored(self) -> bool:
        """Whether the ledger has gone back, and is not used before it is read anew."""
        return self._restored.is_set()

    def stop(self) -> None:
        """Look at nothing, until it is begun again."""
        self._mark = None
        self._restored.clear()

    async def begin(self, session: Any) -> None:
        """Know the ledger as it is now: it is used from here on."""
        self._mark = (await self._look(session))[1]
        self._restored.clear()

    async def check(self, session: Any) -> None:
        """Look whether a connection leads to the ledger that is known.

        Raises:
            RestoredLedgerError: it does not; nothing may be asked of it.
        """
        self.require_same()
        known = self._mark
        if known is None:
            return
        seen, mark = await self._look(session)
        if self._mark is known and (seen is None or seen < self.seen or mark != known):
            self.note_restore()
            self.require_same()

    def require_same(self) -> None:
        """Refuse to use the ledger while it is to be read anew.

        Raises:
            RestoredLedgerError: it is.
        """
        if self.is_restored:
            raise RestoredLedgerError("the ledger was put back to an earlier moment, and is being read anew")

    def note_restore(self) -> None:
        """Have it read anew."""
        self._restored.set()

    async def wait(self) -> None:
        """Wait until the ledger has gone back."""
        await self._restored.wait()

    async def _look(self, session: Any) -> tuple[Any, LedgerMark]:
        row = await session.fetchrow(_LOOK, self.holder)
        try:
            async with session.transaction():  # or what it is in would end with a refusal
                server = tuple(await session.fetchrow(_SERVER))
        except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError):
            server = None
        return row["seen"], LedgerMark(row["place"], row["database"], server)
