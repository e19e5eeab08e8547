"""Evaluations of a shared ledger: every process lists, cancels and deletes them, and each plays those that it queued.

A run belongs to the process that holds its claim, as in :mod:`bandstand.store.tables.run_table`, by the database's
clock. One that waits for a process that is gone, or whose child has not written for some seconds, is interrupted.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar

from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import Channel, ConnectionPool, Session
from bandstand.store.tables.run_table import MAX_RUN_ID, STALE_SECONDS, RunClaim, RunProgress, RunRecord

EVALUATION_RUNS: Final = "evaluation_runs"
"""The table, which is not there before the first run."""
_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
_TABLE: Final = """CREATE TABLE IF NOT EXISTS evaluation_runs (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    nonce     TEXT NOT NULL UNIQUE,     -- of whoever queued it, so that a lost answer queues nothing twice
    holder    TEXT NOT NULL,            -- the process that is to play it
    state     TEXT NOT NULL,
    origin    TEXT NOT NULL,
    client    TEXT NOT NULL,
    created   DOUBLE PRECISION NOT NULL,
    started   DOUBLE PRECISION,
    ended     DOUBLE PRECISION,
    heartbeat DOUBLE PRECISION,
    claim     TEXT,
    plan      TEXT NOT NULL,
    done      BIGINT NOT NULL DEFAULT 0,
    total     BIGINT NOT NULL,
    summary   TEXT,
    error     TEXT)"""
_IS_THERE: Final = "SELECT to_regclass('evaluation_runs') IS NOT NULL"
_STATE: Final = f"""CASE WHEN r.state = 'queued' AND NOT EXISTS (SELECT 1 FROM processes AS p
            WHERE p.holder = r.holder AND p.seen > clock_timestamp() - interval '60 seconds')
        OR r.state = 'running' AND r.heartbeat < {_NOW} - {STALE_SECONDS}
    THEN 'interrupted' ELSE r.state END AS state"""  # noqa: S608 (constants)
_COLUMNS: Final = (
    f"id, {_STATE}, origin, client, created, started, ended, heartbeat, plan, done, total, {{summary}}, error"
)
_GET: Final = f"SELECT {_COLUMNS.format(summary='summary')} FROM evaluation_runs AS r WHERE id = $1"  # noqa: S608 (constants)
_PAGE: Final = f"""SELECT {_COLUMNS.format(summary="NULL::text AS summary")} FROM evaluation_runs AS r WHERE id < $1
    ORDER BY id DESC LIMIT $2"""  # noqa: S608 (constants)
_ADD: Final = f"""INSERT INTO evaluation_runs (nonce, holder, state, origin, client, created, plan, total)
    VALUES ($1, $2, 'queued', $3, $4, {_NOW}, $5, $6) ON CONFLICT (nonce) DO NOTHING"""  # noqa: S608 (constants)
_QUEUED: Final = "SELECT id FROM evaluation_runs WHERE state = 'queued' AND holder = $1 ORDER BY id"
_CLAIM: Final = f"""UPDATE evaluation_runs SET state = 'running', claim = $2, heartbeat = {_NOW},
        started = coalesce(started, {_NOW}) WHERE id = $1 AND (state = 'queued' OR claim = $2) RETURNING id"""  # noqa: S608 (constants)
_SAVE: Final = f"""UPDATE evaluation_runs SET state = $3, done = $4, total = coalesce($5, total),
        summary = coalesce($6, summary), heartbeat = {_NOW}, error = $7,
        ended = CASE WHEN $3 = 'running' THEN NULL ELSE {_NOW} END
    WHERE id = $1 AND claim = $2 AND state IN ('running', $3) RETURNING id"""  # noqa: S608 (constants)
_END: Final = f"""UPDATE evaluation_runs SET state = $2, claim = NULL, ended = {_NOW}, error = $3
    WHERE state IN ('queued', 'running') AND {{condition}} RETURNING id"""  # noqa: S608 (constants)
_DELETE: Final = "DELETE FROM evaluation_runs WHERE id = $1 RETURNING id"
T = TypeVar("T")


class SharedEvaluationRuns:
    """The evaluations of one loop, as :class:`bandstand.store.run_protocol.EvaluationStore` has them.

    Every call connects for itself, and none may be made on a thread of an event loop. Times are the database's.

    Args:
        address: the loop's schema.
        holder: the name of this process among those that share the ledger; empty for a child, which queues nothing.
    """

    def __init__(self, address: LedgerAddress, holder: str) -> None:
        self._address = address
        self._holder = holder
        self._has_queued = False

    @property
    def exists(self) -> bool:
        """Whether this process has queued any, which it is to play, and to leave in order."""
        return self._has_queued

    def create(self, plan: str, total: int, *, origin: str, client: str, now: float) -> int:
        """Add a run that waits for this process to play it; returns its number."""
        del now
        self._has_queued = True
        nonce = secrets.token_hex(8)

        async def add(session: Session) -> int:
            await session.execute(_ADD, nonce, self._holder, origin, client, plan, total)
            return int(await session.fetchval("SELECT id FROM evaluation_runs WHERE nonce = $1", nonce))

        return self._do(add)

    def get(self, run: int, now: float) -> RunRecord | None:
        """The run of that number."""
        del now
        rows = self._fetch(_GET, run)
        return RunRecord(**rows[0]) if rows else None

    def list_page(self, *, before: int | None, limit: int, now: float) -> list[RunRecord]:
        """Runs of all processes, newest first, from the cursor ``before``; without their summaries."""
        del now
        return [RunRecord(**row) for row in self._fetch(_PAGE, MAX_RUN_ID if before is None else before, limit)]

    def list_queued(self) -> list[int]:
        """Numbers of runs that wait for this process to play them, oldest first."""
        return [row["id"] for row in self._fetch(_QUEUED, self._holder)]

    def claim(self, run: int, *, now: float, only_queued: bool = False) -> RunClaim | None:
        """Take a run that waits, to play it; ``None`` if it does not."""
        del now, only_queued
        claim = RunClaim(run, secrets.token_hex(8))
        return claim if self._fetch(_CLAIM, run, claim.token) else None

    def save(self, claim: RunClaim, progress: RunProgress, now: float) -> bool:
        """Write how far an evaluation is; False where the claim is gone, and nothing was written."""
        del now
        values = (progress.state, progress.done, progress.total, progress.summary, progress.error)
        return bool(self._fetch(_SAVE, claim.run, claim.token, *values))

    def keep_open(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def cancel(self, run: int, now: float) -> bool:
        """End a run, whichever process plays it: its child notices at its next write."""
        del now
        return bool(self._fetch(_END.format(condition="id = $1"), run, "cancelled", None))

    def interrupt_all(self, now: float) -> bool:
        """Mark what this process queued as interrupted."""
        del now
        return bool(self._fetch(_END.format(condition="holder = $1"), self._holder, "interrupted", None))

    def fail(self, run: int, error: str, now: float) -> bool:
        """Mark a run as failed whose child has ended without a word."""
        del now
        return bool(self._fetch(_END.format(condition="id = $1"), run, "failed", error))

    def delete(self, run: int) -> bool:
        """Forget a run; returns whether it was there."""
        return bool(self._fetch(_DELETE, run))

    def _fetch(self, statement: str, *values: object) -> list[dict[str, Any]]:
        async def fetch(session: Session) -> list[dict[str, Any]]:
            return [dict(row) for row in await session.fetch(statement, *values)]

        return self._do(fetch)

    def _do(self, work: Callable[[Session], Awaitable[T]]) -> T:
        async def begin(channel: Channel, _: int) -> T:
            if not await channel.session.fetchval(_IS_THERE):
                await channel.session.execute("SELECT 1 FROM deployment FOR UPDATE")  # one makes it
                await channel.session.execute(_TABLE)
            return await work(channel.session)

        async def run() -> T:
            pool = ConnectionPool(self._address, 1, durable=True)
            try:
                return await pool.transact(begin)
            finally:
                await pool.close()

        return asyncio.run(run())
