"""Connections to the ledger, opened as they are needed and again when they are lost."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from bandstand.errors import ConfigurationError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.errors import REPEATABLE_ERRORS, ROW_ERRORS, to_storage_error
from bandstand.store.postgres.figures import PoolFigures
from bandstand.store.postgres.restores import RestoreWatch

_CONNECT_S = 2.0
_REQUEST_S = 10.0
"""How long a request may wait for a database that does not answer."""
_STATEMENT_S = 3.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
TOUCH_STRIPE = """INSERT INTO rollups_s (hour, policy, stripe, decisions, explores, rewards, reward_sum)
    SELECT -1, 0, $1::smallint, 0, 0, 0, 0
    ON CONFLICT (hour, policy, stripe) DO UPDATE SET decisions = rollups_s.decisions"""
"""Writes, so that its commit waits for all that was committed before it: nothing is acknowledged by a read alone."""
T = TypeVar("T")
Session = Any
"""A connection of asyncpg, whose types stop at ``Any``."""
Work = Callable[["Channel", int], Awaitable[T]]
"""What is done on a channel, and the how many-th try it is, from 0."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A connection for the moment, and the stripe of totals that only it writes."""

    session: Session
    stripe: int


class ConnectionPool:
    """A few connections of one kind.

    Args:
        address: where the ledger is.
        size: how many at most.
        durable: whether a commit waits for the disk (and for synchronous standbys).
        statement_s: seconds after which the server ends a statement; 0 for never.
        first_stripe: stripe of the first connection; the next ones follow.
        reads_only: which of several servers is taken, the URL says, a standby too; else the one that takes writes.
        watch: knows which ledger there is to be; nothing is asked of another one.
    """

    def __init__(
        self,
        address: LedgerAddress,
        size: int,
        *,
        durable: bool,
        statement_s: float = 2.0,
        first_stripe: int = 0,
        reads_only: bool = False,
        watch: RestoreWatch | None = None,
    ) -> None:
        self._watch = watch
        self._reads_only = reads_only
        self._address = address
        self._durable = durable
        self._statement_s = statement_s
        self._idle: deque[tuple[int, Session | None]] = deque((number, None) for number in range(size))
        self._free = asyncio.Semaphore(size)
        self.first_stripe = first_stripe
        self._local_settings = ";".join(
            f"SET LOCAL {name} = '{value}'" for name, value in self._build_settings().items()
        )
        self.last_round_trip_s: float | None = None
        self.figures = PoolFigures()

    async def connect(self) -> Session:
        """A new connection, with the settings that all of its kind have; behind a pooler each transaction has them."""
        settings = {"application_name": "bandstand"}
        if not self._address.has_transaction_pooler:
            settings |= self._build_settings()
        session = await asyncpg.connect(
            self._address.dsn,
            timeout=_CONNECT_S,
            server_settings=settings,
            statement_cache_size=0 if self._address.has_transaction_pooler else 200,
            target_session_attrs=None if self._reads_only else "read-write",
        )
        if self._watch is not None and not self._address.has_transaction_pooler:
            try:
                async with asyncio.timeout(_STATEMENT_S):
                    await self._watch.check(session)
            except BaseException:
                session.terminate()
                raise
        return session

    def require_own_sessions(self) -> None:
        """Refuse to work on connections whose sessions are others' too.

        Raises:
            ConfigurationError: a pooler lends them for one transaction at a time.
        """
        if self._address.has_transaction_pooler:
            raise ConfigurationError("moving a ledger takes a URL without pooler=transaction: go past the pooler")

    def _build_settings(self) -> dict[str, str]:
        settings = {
            "search_path": self._address.schema,
            "synchronous_commit": "on" if self._durable else "off",
            "plan_cache_mode": "force_generic_plan",  # a group of any size is planned once
            "enable_seqscan": "off",  # a plan made while tables were small would stay as they grow
            "jit": "off",
            "timezone": "UTC",
        }
        if self._statement_s:
            settings |= {
                "statement_timeout": str(int(self._statement_s * 1000)),
                "lock_timeout": str(int(self._statement_s * 500)),
                "idle_in_transaction_session_timeout": "10000",
            }
        return settings

    @asynccontextmanager
    async def use(self, deadline: float | None = None) -> AsyncIterator[Channel]:
        """A connection for the block; one that fails in it is closed.

        Args:
            deadline: until when to wait for one, by the monotonic clock; ``None`` for as long as it takes.
        """
        waits = deadline is not None and self._free.locked()
        async with asyncio.timeout(max((deadline or 0) - time.monotonic(), 0)) if waits else nullcontext():
            await self._free.acquire()
        try:
            if self._watch is not None:
                self._watch.require_same()
            number, session = self._idle.popleft()
            kept, was_open = None, session is not None
            self.figures.busy += 1
            try:
                if session is None or session.is_closed():
                    session = await self.connect()
                yield Channel(session, self.first_stripe + number)
                kept = session
            except ROW_ERRORS:
                kept = session  # it has refused a row, and is as good as before
                raise
            finally:
                if kept is None and session is not None:
                    session.terminate()
                self._idle.appendleft((number, kept))
                self.figures.busy -= 1
                self.figures.open += (kept is not None) - was_open
        finally:
            self._free.release()

    async def run(self, work: Work[T], *, is_long: bool = False, is_snapshot: bool = False) -> T:
        """Run a function on a connection; retry it for some seconds while the database is away.

        Args:
            work: the function.
            is_long: whether it may take its time.
            is_snapshot: whether it reads all as of one moment, and writes nothing.

        Raises:
            StorageFullError, StorageUnavailableError: it was not to be.
        """
        deadline, pause, tries = time.monotonic() + _REQUEST_S, _FIRST_PAUSE_S, 0
        while True:
            try:
                async with self.use(None if is_long else deadline) as channel:
                    started = time.perf_counter()
                    async with asyncio.timeout(None if is_long else _STATEMENT_S):
                        result = await self._do(work, channel, tries, is_snapshot=is_snapshot)
                    self.last_round_trip_s = time.perf_counter() - started
                    self.figures.record_call(self.last_round_trip_s)
                    return result
            except ROW_ERRORS:
                raise
            except REPEATABLE_ERRORS as error:
                self.figures.record_error(error)
                if time.monotonic() + pause > deadline:
                    raise to_storage_error(error) from error
            except asyncpg.PostgresError as error:
                self.figures.record_error(error)
                raise to_storage_error(error) from error
            tries += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _do(self, work: Work[T], channel: Channel, tries: int, *, is_snapshot: bool) -> T:
        """Run a function; behind a pooler in a transaction, the only time that a session is this connection's."""
        is_pooled = self._address.has_transaction_pooler
        if not is_pooled and not is_snapshot:
            return await work(channel, tries)
        isolation = "repeatable_read" if is_snapshot else None
        async with channel.session.transaction(isolation=isolation, readonly=is_snapshot):
            if is_pooled:
                await channel.session.execute(self._local_settings)
            return await work(channel, tries)

    async def fetch(self, query: str, *values: object) -> list[Any]:
        """The rows of a question."""

        async def fetch_rows(channel: Channel, _: int) -> list[Any]:
            rows: list[Any] = await channel.session.fetch(query, *values)
            return rows

        try:
            return await self.run(fetch_rows)
        except asyncpg.DataError as error:
            raise to_storage_error(error) from error

    async def fetch_one(self, query: str, *values: object) -> Any:
        """The first row, or ``None``."""
        rows = await self.fetch(query, *values)
        return rows[0] if rows else None

    async def transact(self, work: Work[T], *, is_long: bool = False) -> T:
        """Run a function in a transaction; if the answer to its commit is lost, it is run again.

        So what it does must be harmless when it stands already: see the number of the try. A later try that only finds
        that out commits a write all the same, and so waits for the disk and the standby, as the first did in vain.
        """

        async def begin(channel: Channel, tries: int) -> T:
            is_begun = self._address.has_transaction_pooler
            async with nullcontext() if is_begun else channel.session.transaction():
                if is_long:
                    await channel.session.execute("SET LOCAL statement_timeout = 0")
                result = await work(channel, tries)
                if tries and self._durable:
                    await channel.session.execute(TOUCH_STRIPE, channel.stripe)
                return result

        try:
            return await self.run(begin, is_long=is_long)
        except asyncpg.DataError as error:
            raise to_storage_error(error) from error

    async def close(self) -> None:
        """Close what is open."""
        for _, session in self._idle:
            if session is not None:
                with suppress(*REPEATABLE_ERRORS, asyncpg.PostgresError):
                    await session.close(timeout=1.0)
        self._idle = deque((number, None) for number, _ in self._idle)
        self.figures.open = 0
