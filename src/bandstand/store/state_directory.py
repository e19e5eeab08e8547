"""A state directory held by one process: the ledger and its threads, warm profiles in memory, documents as checkpoints.

All methods run on one event loop. What must be atomic (check, number, hand over) happens between two awaits; what
touches the disk happens on the writer's thread, on the readers' threads, or on the one thread that writes documents.
State in memory moves only when the writer reports a commit.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.errors import BandstandError, ConfigurationError, StorageFullError, StorageUnavailableError
from bandstand.store.learners import replay
from bandstand.store.learners.documents import Documents
from bandstand.store.learners.user_cache import CachedUser, UserCache, read_user
from bandstand.store.records import Sequence, StoreStatus, first_seq_at
from bandstand.store.sqlite import retention
from bandstand.store.sqlite.ownership import Ownership
from bandstand.store.sqlite.schema import INSERT_USER, Row, connect, create_tables, find_last_seq
from bandstand.store.sqlite.wal import WriteAheadLog, truncate_log
from bandstand.store.sqlite.writer import (
    CommitObserver,
    Operation,
    SumIncrements,
    Writer,
    make_done_callback,
    to_storage_error,
)
from bandstand.store.tables import decisions, generations
from bandstand.store.tables.policies import PolicyRegistry

T = TypeVar("T")
_Future = asyncio.Future[object]

_TRIM_INTERVAL = 3600.0


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How an embedded store behaves; ``settings`` documents each.

    Attributes:
        sync: rewards, resets, erasures and turns are synced to disk before they are acknowledged.
        max_warm_users: profiles kept in memory.
        max_pending: events that may wait for a commit.
        checkpoint_seconds: between two rounds of writing changed documents.
        retention_days: decisions older than this are trimmed; 0 keeps all.
        close_seconds: how long closing may spend on checkpoints (what is left is replayed at the next start).
    """

    sync: bool = True
    max_warm_users: int = 100_000
    max_pending: int = 10_000
    checkpoint_seconds: float = 30.0
    retention_days: float = 90.0
    close_seconds: float = 10.0


class EventCollisionError(StorageUnavailableError):
    """Another event stands where this one wanted to: under its id, for its decision or under its Idempotency-Key."""


class StateDirectory:
    """One process's hold on ``state_dir``: what the events of a store go through, whatever they say.

    Args:
        state_dir: where everything is kept; made if absent.
        catalogue: the configured policies and schemas.
        clock: seconds since the epoch.
        observe: told of each commit.
    """

    def __init__(
        self,
        state_dir: Path,
        catalogue: Catalogue,
        *,
        options: StoreOptions | None = None,
        clock: Callable[[], float] = time.time,
        observe: CommitObserver | None = None,
    ) -> None:
        self._dir = state_dir
        self._options = options or StoreOptions()
        self._clock = clock
        self._observe = observe
        self._documents = Documents(state_dir)
        self._registry = PolicyRegistry(catalogue)
        max_users = self._options.max_warm_users
        self._users = UserCache(self._documents, self._read_user, max_users=max_users, on_error=self._record_error)
        self._in_flight: dict[int, _Future] = {}  # by event number: handed over and not yet settled
        self._horizon = 0  # the newest event that retention has taken
        self._state: str = "closed"
        self._last_error: str | None = None
        self.secret = b""

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Own the directory, open the ledger and start the writer.

        Raises:
            ConfigurationError: the directory is another's, cannot be written, or does not fit the configuration.
        """
        self._ownership = Ownership(self._dir)
        try:
            self._connection = self._open_ledger()
        except BaseException:
            self._ownership.release()
            raise
        self._loop = asyncio.get_running_loop()
        self._reader = decisions.LedgerReader(self._dir / "ledger.db")
        self._users.open()
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="ledger-reader")
        self._writer = Writer(
            self._connection,
            sync=self._options.sync,
            max_pending=self._options.max_pending,
            observe=self._observe,
        )
        self._log = WriteAheadLog(self._dir / "ledger.db", self._writer)
        self._background_tasks = [
            asyncio.create_task(self._users.run_checkpoints(self._options.checkpoint_seconds)),
            asyncio.create_task(self._log.run_upkeep()),
            asyncio.create_task(self._run_retention()),
        ]
        self._state = "ready"

    def _open_ledger(self) -> sqlite3.Connection:
        path = self._dir / "ledger.db"
        try:
            connection = connect(path)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            full = isinstance(to_storage_error(error), StorageFullError)
            way_out = "make room on the disk" if full else "restore a backup, or name another STATE_DIR"
            message = f"{path} cannot be opened: {error}; {way_out}"
            raise ConfigurationError(message) from error
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        create_tables(connection)
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # done beside the writer: see the WriteAheadLog
        self._registry.load(connection)
        self._registry.require_unchanged(connection)
        self._registry.register(connection)
        self.secret = bytes(connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])
        self._sequence = Sequence(find_last_seq(connection))
        self._next_uid = connection.execute("SELECT coalesce(max(uid), 0) + 1 FROM users").fetchone()[0]

    async def close(self) -> None:
        """Commit what was accepted, write the checkpoints, let the directory go."""
        if self._state == "closed":
            return
        self._state = "draining"
        for task in self._background_tasks:
            task.cancel()
        await asyncio.gather(*self._background_tasks, return_exceptions=True)
        await self._writer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.close_seconds):
                await self._users.write_changed()
        await asyncio.to_thread(self._readers.shutdown)
        await self._users.close()
        self._reader.close()
        with suppress(sqlite3.Error):
            truncate_log(self._connection)
        self._connection.close()
        self._ownership.release()
        self._state = "closed"

    def status(self) -> StoreStatus:
        """How the store is doing now."""
        state = {"ready": "ready", "draining": "draining"}.get(self._state, "failed")
        return StoreStatus(
            state=state,  # type: ignore[arg-type]  # the three literals above
            durability="full" if self._options.sync else "process",
            warm_users=len(self._users),
            pending=len(self._in_flight),
            quarantined=self._documents.quarantined,
            last_error=self._last_error,
        )

    # ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_cached_profile(self, user_id: str) -> Profile | None:
        """The user's profile if it is in memory now."""
        user = self._users.get(user_id)
        return None if user is None else user.profile

    async def load_profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""
        return (await self._users.get_or_load(user_id)).profile

    async def _read_user(self, user_id: str) -> CachedUser:
        return await self._read(read_user, self._documents, self._registry, self.secret, user_id)

    def _record_error(self, reason: str) -> None:
        self._last_error = reason

    # ── the ways to the threads ───────────────────────────────────────────────────────────────────────────────────

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be handed over."""
        return self._sequence.next(ts)

    async def _read(self, query: Callable[..., T], *args: Any) -> T:
        try:
            return await self._loop.run_in_executor(self._readers, self._reader.run_query, query, *args)
        except sqlite3.Error as error:
            raise to_storage_error(error) from error
        except RuntimeError as error:  # the executor has been shut down
            message = "the service is shutting down"
            raise StorageUnavailableError(message) from error

    def _ensure_uid(self, user: CachedUser) -> int:
        if not user.uid:
            user.uid = self._next_uid
            self._next_uid += 1
        return user.uid

    def _submit(
        self,
        user: CachedUser,
        seq: int,
        rows: list[tuple[str, Row]],
        on_committed: Callable[[], None],
        on_rejected: Callable[[], None],
        *,
        durable: bool,
        tally: tuple[int, int, int, int, int, float] | None = None,
        sums: SumIncrements = (),
    ) -> _Future:
        """Give rows of one event to the writer; after the commit fold them in, and settle the returned future."""
        if not user.registered:
            rows.append((INSERT_USER, (user.uid, user.profile.user_id)))
        future: _Future = self._loop.create_future()
        settle_future = make_done_callback(future)

        def on_done(result: object, error: BaseException | None) -> None:
            user.pending -= 1
            del self._in_flight[seq]
            if isinstance(error, sqlite3.IntegrityError):
                error = EventCollisionError("the event collided with another; try again")
            try:
                if error is None:
                    user.registered = True
                    on_committed()
                    user.changed = user.profile.seq > 0  # a generation alone moves nothing that a document holds
                else:
                    self._last_error = str(error)
                    on_rejected()
            finally:
                self._users.drop_if_stale(user)
                settle_future(result, error)

        try:
            self._writer.submit(Operation(rows, on_done, durable=durable, tally=tally, sums=sums))
        except BaseException:
            on_rejected()
            raise
        user.pending += 1
        self._in_flight[seq] = future
        return future

    async def _wait_committed(self, seq: int) -> None:
        """Wait for the commit of an event in flight; raises what its commit raised."""
        if (flying := self._in_flight.get(seq)) is not None:
            await asyncio.wait([flying])
            flying.result()

    # ── retention ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run_retention(self) -> None:
        while True:
            with suppress(sqlite3.Error, BandstandError):
                await self.apply_retention()
            await asyncio.sleep(_TRIM_INTERVAL)

    async def apply_retention(self) -> int:
        """Apply retention now: replace decisions past their days by baselines; returns how many users were touched."""
        now = self._clock()
        await self._writer.call(partial(retention.delete_old_keys, now=now))
        if not self._options.retention_days:
            return 0
        cutoff = self._horizon = first_seq_at(now - self._options.retention_days * 86_400)
        while await self._writer.call(partial(generations.delete_expired, cutoff=cutoff)):
            pass
        uids = await self._read(retention.find_overdue_users, cutoff)
        for uid, user_id in uids:
            state = await self._read(replay.rebuild_profile, self._registry, uid, user_id, cutoff)
            seq = self._sequence.next(self._clock())
            await self._writer.call(partial(retention.trim_user, uid=uid, state=state, cutoff=cutoff, seq=seq, ts=now))
        return len(uids)
