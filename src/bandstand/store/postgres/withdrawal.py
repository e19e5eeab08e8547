"""A shared ledger that is left: no process numbers events in it meanwhile, and none opens it afterwards.

The move that takes the ledger away holds every slot, by leases like those of processes. So no process can begin to
serve in the middle; if the move dies, the ledger can be served again half a minute later, as if nothing had been tried.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import ConnectionPool, Session
from bandstand.store.postgres.errors import REPEATABLE_ERRORS, describe, to_storage_error
from bandstand.store.postgres.returned_rows import MACHINERY, RETURNED_TABLES, NumberedEvent, order_events
from bandstand.store.postgres.schema import FORMAT, MOVED_KEY, MOVING_KEY, STRIPED, require_server
from bandstand.store.postgres.slots import LEASE_S, MOVER_PREFIX, REST_S

_RENEWAL_S = 5.0
_SERVING = """SELECT count(*) FROM slots
    WHERE holder IS NOT NULL AND holder <> $1 AND until > clock_timestamp() - make_interval(secs => $2)"""
_SEIZE = "UPDATE slots SET holder = $1, until = clock_timestamp() + make_interval(secs => $2)"
_LOCK = "SELECT count(*) FROM (SELECT 1 FROM slots ORDER BY slot FOR UPDATE) AS locked"
_RENEW = """UPDATE slots SET until = clock_timestamp() + make_interval(secs => $2)
    WHERE holder = $1 AND until > clock_timestamp()"""
_GIVE_BACK = "UPDATE slots SET holder = NULL, until = NULL WHERE holder = $1"
_SLOTS = 256
_OTHER_TABLES = """SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = to_regnamespace($1)
    AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> ALL ($2::text[]) ORDER BY c.relname"""
_NUMBERED = """SELECT uid, seq, n, false AS is_reset FROM rewards UNION ALL SELECT uid, seq, n, false FROM revocations
    UNION ALL SELECT uid, seq, n, kind = 'reset' FROM marks WHERE n IS NOT NULL"""
_MISORDERED = f"""SELECT DISTINCT uid FROM (SELECT uid, seq, max(seq) OVER (
        PARTITION BY uid ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newest FROM ({_NUMBERED}) AS e
    ) AS o WHERE seq <= newest
    UNION SELECT m.uid FROM marks AS m WHERE m.kind = 'reset' AND m.n IS NOT NULL AND EXISTS (
        SELECT 1 FROM decisions AS d WHERE d.uid = m.uid AND (d.seq > m.seq) = (d.version < m.n))"""  # noqa: S608 (constants)
_OF_USER = f"SELECT n, seq, is_reset FROM ({_NUMBERED}) AS e WHERE uid = $1"  # noqa: S608 (constants)
_DECISIONS = "SELECT seq, version FROM decisions WHERE uid = $1"
_NUMBERS = " UNION ALL ".join(
    f"SELECT seq FROM {table} WHERE seq = ANY ($1::bigint[])"  # noqa: S608 (constants)
    for table in (
        *("decisions", "rewards", "revocations", "marks", "reward_parts", "judgements", "verdicts", "conclusions"),
        *("generations", "tombstones", "judge_spending"),
    )
)


@dataclass(frozen=True, slots=True)
class ReturnMark:
    """Where a shared ledger went.

    Attributes:
        directory: the state directory, from the root.
        arrival: a word by chance that stands in both ledgers.
        ts: when, in seconds since the epoch.
    """

    directory: str
    arrival: str
    ts: float


@dataclass(frozen=True, slots=True)
class Renumbering:
    """What becomes of events that are not in the order of their numbers.

    Attributes:
        moved: new numbers by old ones.
        misplaced: resets that stand after decisions which came after them, by user.
    """

    moved: Mapping[int, int]
    misplaced: Mapping[int, int]


class Withdrawal:
    """A shared ledger to leave.

    Args:
        address: where it is.
        directory: where it goes.
    """

    def __init__(self, address: LedgerAddress, directory: Path) -> None:
        self._schema = address.schema
        self._pool = ConnectionPool(address, 2, durable=True, statement_s=0)
        self._holder = MOVER_PREFIX + hashlib.sha256(str(directory).encode()).hexdigest()[:16]
        self._keeper: Session = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Session]:
        """A connection for the block.

        Raises:
            ConfigurationError: there is no way to the database, or no ledger there that this version reads.
            BandstandError: it failed in the block.
        """
        self._pool.require_own_sessions()
        try:
            session, self._keeper = await self._pool.connect(), await self._pool.connect()
        except (*REPEATABLE_ERRORS, asyncpg.PostgresError, ValueError) as error:
            raise ConfigurationError(f"the database of --from cannot be used ({describe(error)})") from None
        try:
            await self._require_ledger(session)
            yield session
        except asyncpg.InsufficientPrivilegeError:
            raise ConfigurationError(f"the role of --from may not read the schema {self._schema!r}") from None
        except (*REPEATABLE_ERRORS, asyncpg.PostgresError) as error:
            raise to_storage_error(error) from error
        finally:
            for each in (session, self._keeper):
                with suppress(*REPEATABLE_ERRORS, asyncpg.PostgresError):
                    await each.close(timeout=5.0)

    async def _require_ledger(self, session: Session) -> None:
        await require_server(session)
        for each in (session, self._keeper):
            await each.execute(f"SET search_path TO {self._schema}; SET enable_seqscan = on; RESET plan_cache_mode")
        if not await session.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{self._schema}.meta"):
            raise ConfigurationError(f"the schema {self._schema!r} of that database holds no ledger")
        meta: dict[str, bytes] = dict(await session.fetch("SELECT key, value FROM meta"))
        if MOVING_KEY in meta:
            raise ConfigurationError("a ledger is being moved to that database: let that end, or run it again")
        if int(meta["format"]) != FORMAT:
            raise ConfigurationError(
                f"the ledger of --from has format {int(meta['format'])}; this version of Bandstand reads {FORMAT}"
            )

    # ── holding it ────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Keep all processes from serving for the block; if it ends without a mark, they may serve again.

        Raises:
            ConfigurationError: some serve now.
        """
        async with self._keeper.transaction():
            await self._keeper.fetchval(_LOCK)
            if serving := await self._keeper.fetchval(_SERVING, self._holder, REST_S):
                raise ConfigurationError(
                    f"{serving} processes serve this ledger, or were killed less than a minute ago: stop them all first"
                )
            await self._keeper.execute(_SEIZE, self._holder, LEASE_S)
        renewal = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            with suppress(*REPEATABLE_ERRORS, asyncpg.PostgresError):
                await self._keeper.execute(_GIVE_BACK, self._holder)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            async with asyncio.timeout(_RENEWAL_S):
                await self._keeper.execute(_RENEW, self._holder, LEASE_S)

    async def mark(self, mark: ReturnMark) -> None:
        """Close it for ever.

        Raises:
            StorageUnavailableError: the leases ran out, and a process may have served meanwhile.
        """
        async with self._pool.use() as channel, channel.session.transaction():
            await channel.session.execute(f"SET LOCAL search_path TO {self._schema}")
            await channel.session.fetchval(_LOCK)
            tag: str = await channel.session.execute(_RENEW, self._holder, LEASE_S)
            if int(tag.rsplit(maxsplit=1)[-1]) != _SLOTS:
                raise StorageUnavailableError("the ledger could not be held while it was copied: move again")
            document = json.dumps(asdict(mark)).encode()
            await channel.session.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", MOVED_KEY, document)
        await self._pool.close()

    async def read_mark(self, session: Session) -> ReturnMark | None:
        """The mark, or ``None`` if it is served."""
        document = await session.fetchval("SELECT value FROM meta WHERE key = $1", MOVED_KEY)
        return None if document is None else ReturnMark(**json.loads(document))

    # ── what is in it ─────────────────────────────────────────────────────────────────────────────────────────────

    async def require_returnable(self, session: Session) -> None:
        """Refuse tables with rows that a directory does not know.

        Raises:
            ConfigurationError: there is one; the sentence names it.
        """
        known = [*RETURNED_TABLES, *MACHINERY, *(f"{name}_s" for name in STRIPED)]
        for (table,) in await session.fetch(_OTHER_TABLES, self._schema, known):
            if await session.fetchval(f"SELECT EXISTS (SELECT 1 FROM {table})"):  # noqa: S608 (from the catalogue)
                raise ConfigurationError(f"the table {table!r} has rows, for which a directory has no place")

    async def read_secret(self, session: Session) -> bytes:
        """The deployment's."""
        return bytes(await session.fetchval("SELECT value FROM meta WHERE key = 'secret'"))

    async def find_renumbering(self, session: Session) -> Renumbering:
        """New numbers for events that are not in order."""
        moved: dict[int, int] = {}
        misplaced: dict[int, int] = {}
        for (uid,) in await session.fetch(_MISORDERED):
            events = [NumberedEvent(*row) for row in await session.fetch(_OF_USER, uid)]
            decisions = [(seq, version) for seq, version in await session.fetch(_DECISIONS, uid)]
            taken = {*moved.values(), *(each.seq for each in events), *(seq for seq, _ in decisions)}
            while True:
                found, stuck = order_events(events, decisions, taken)
                others = {row[0] for row in await session.fetch(_NUMBERS, list(found.values()))} - taken
                if not others:
                    break
                taken |= others
            moved |= found
            if stuck:
                misplaced[uid] = stuck
        return Renumbering(moved, misplaced)
