"""The schema that a ledger is moved into: emptied, filled in one transaction, and served only once it is released.

Until then a row of ``meta`` says whose it is: a service does not open it, and a move that was cut short empties it and
begins again. What anything else has made is never touched.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from bandstand.errors import ConfigurationError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import ConnectionPool, Session
from bandstand.store.postgres.errors import REPEATABLE_ERRORS, describe, to_storage_error
from bandstand.store.postgres.moved_rows import TABLES, ColumnTypes
from bandstand.store.postgres.schema import MOVING_KEY, require_server, run_scripts

_OBJECTS = """SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = to_regnamespace($1)
        AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY c.relkind = 'S', c.relname"""
_TABLES = """SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = to_regnamespace($1)
        AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
_FUNCTIONS = "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace($1)"
_INDEXES = """SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE c.relnamespace = to_regnamespace($1) AND NOT c.relispartition AND NOT i.indisunique"""
_COLUMNS = """SELECT column_name, data_type FROM information_schema.columns
    WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position"""
_IDENTITIES = (("users", "uid"), ("policies", "id"), ("prompts", "id"))
_NAMED = 5
_TOLD = ("host", "port", "dbname")


def compute_token(secret: bytes) -> bytes:
    """A token that identifies the deployment whose rows are moved in, without revealing its secret."""
    return hashlib.sha256(b"move " + secret).hexdigest()[:32].encode()


def describe_target(url: str, schema: str | None = None) -> str:
    """Where a ledger goes, in words that hold no secret: no user, no password, no parameter but these.

    Args:
        url: of the database.
        schema: if it is another one than the URL names.
    """
    parts, schema = urlsplit(url), schema or LedgerAddress.parse(url).schema
    hosts = parts.netloc.rpartition("@")[2]
    told = [(name, value) for name, value in parse_qsl(parts.query) if name in _TOLD]
    return f"postgresql://{hosts}{parts.path}?{urlencode([*told, ('schema', schema)], safe='/')}"


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What stands in the ledger of no table of rows.

    Attributes:
        secret: the deployment's.
        last_seq: no event number up to this one may be used again.
        shadow_set: number of the mark that says which policies are in the shadow; 0 for none ever.
        followed: the last event that is in the sums of gains.
    """

    secret: bytes
    last_seq: int
    shadow_set: int
    followed: int


class Arrival:
    """A schema to move into.

    Args:
        address: where it is.
        token: of :func:`compute_token`.
    """

    def __init__(self, address: LedgerAddress, token: bytes) -> None:
        self._schema = address.schema
        self._pool = ConnectionPool(address, 1, durable=True, statement_s=0)
        self._token = token

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Session]:
        """A connection for the block.

        Raises:
            ConfigurationError: there is no way to the database.
            BandstandError: it failed in the block.
        """
        self._pool.require_own_sessions()
        try:
            session = await self._pool.connect()
        except (*REPEATABLE_ERRORS, asyncpg.PostgresError, ValueError) as error:
            raise ConfigurationError(f"the database of --to cannot be used ({describe(error)})") from None
        try:
            yield session
        except asyncpg.InsufficientPrivilegeError:
            raise ConfigurationError(
                f"the role of --to may not make the schema {self._schema!r} or tables in it: grant it CREATE"
            ) from None
        except (*REPEATABLE_ERRORS, asyncpg.PostgresError) as error:
            raise to_storage_error(error) from error
        finally:
            await session.close(timeout=5.0)

    async def require_room(self, session: Session) -> None:
        """Refuse a schema that holds anything but what a move of this ledger has left there.

        Raises:
            ConfigurationError: it does.
        """
        await require_server(session)
        names = [row[0] for row in await session.fetch(_OBJECTS, self._schema)]
        if names and not await self._is_own(session, names):
            named = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            raise ConfigurationError(
                f"the schema {self._schema!r} of that database holds other data ({named}): name an empty one, with "
                "?schema=NAME"
            )

    async def is_filled(self, session: Session) -> bool:
        """Whether rows of this ledger stand there and are not released."""
        return await self._is_own(session, [row[0] for row in await session.fetch(_OBJECTS, self._schema)])

    async def _is_own(self, session: Session, names: Iterable[str]) -> bool:
        if "meta" not in names:
            return False
        query = f"SELECT value FROM {self._schema}.meta WHERE key = $1"  # noqa: S608 (a checked name)
        try:
            return bool(await session.fetchval(query, MOVING_KEY) == self._token)
        except asyncpg.PostgresError:  # a table of that name, and not ours
            return False

    async def begin(self, session: Session) -> list[str]:
        """Make the tables in the emptied schema, in the transaction that fills them.

        Returns:
            The definitions of the indexes that are to be made once the rows are there.
        """
        schema = self._schema
        if not await session.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema):
            await session.execute(f"CREATE SCHEMA {schema}")
        await session.execute(f"SET LOCAL search_path TO {schema}")
        await self.require_room(session)
        if tables := [row[0] for row in await session.fetch(_TABLES, schema)]:
            await session.execute(f"DROP TABLE {', '.join(tables)} CASCADE")
        for (function,) in await session.fetch(_FUNCTIONS, schema):
            await session.execute(f"DROP FUNCTION {function}")
        await run_scripts(session)
        await session.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", MOVING_KEY, self._token)
        indexes = await session.fetch(_INDEXES, schema)
        for index in indexes:
            await session.execute(f"DROP INDEX {index['name']}")
        return [index["definition"].replace(" ON ONLY ", " ON ") for index in indexes]

    async def read_columns(self, session: Session, table: str) -> ColumnTypes:
        """The columns of a table."""
        return ColumnTypes(dict(await session.fetch(_COLUMNS, self._schema, table)))

    async def copy(
        self,
        session: Session,
        table: str,
        names: Sequence[str],
        rows: Iterable[tuple[Any, ...]],
        tick: Callable[[], None],
    ) -> int:
        """Copy rows into a table; returns how many there were."""
        copied = 0

        def count() -> Iterable[tuple[Any, ...]]:
            nonlocal copied
            for row in rows:
                copied += 1
                tick()
                yield row

        await session.copy_records_to_table(table, records=count(), columns=list(names), schema_name=self._schema)
        return copied

    async def finish(self, session: Session, state: LedgerState, indexes: Iterable[str]) -> None:
        """Say what stands in no row, and make the indexes."""
        await session.execute("UPDATE meta SET value = $1 WHERE key = 'secret'", state.secret)
        await session.execute("UPDATE slots SET last_seq = $1", state.last_seq)
        await session.execute("UPDATE deployment SET shadow_set = $1", state.shadow_set)
        await session.execute("UPDATE followers SET seq = $1 WHERE name = 'gains'", state.followed)
        for table, column in _IDENTITIES:
            await session.execute(
                f"""SELECT setval(pg_get_serial_sequence('{self._schema}.{table}', '{column}'),
                    coalesce(max({column}), 0) + 1, false) FROM {table}"""  # noqa: S608 (constants)
            )
        for index in indexes:
            await session.execute(index)
        await session.execute(f"ANALYZE {', '.join(TABLES)}")

    async def count(self, session: Session, table: str) -> int:
        """How many rows a table has."""
        return int(await session.fetchval(f"SELECT count(*) FROM {self._schema}.{table}"))  # noqa: S608 (constants)

    async def release(self, session: Session) -> None:
        """Let services open it."""
        await session.execute(f"DELETE FROM {self._schema}.meta WHERE key = $1", MOVING_KEY)  # noqa: S608 (a checked name)
