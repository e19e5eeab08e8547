"""A state directory held by one process: the ledger and its threads, and the users in memory.

What the parts of the embedded store go through. All methods run on one event loop. What must be atomic (check, number,
submit) happens between two awaits; what touches the disk happens in the writer's commits, on the readers' threads, or
on the one thread that writes documents. State in memory moves only when the writer reports a commit.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import ConfigurationError, StorageFullError, StorageUnavailableError
from bandstand.store.embedded.in_flight import CallbackEvent, UserEvent
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.learners.documents import Documents
from bandstand.store.learners.erasure import UnfinishedErasures, compute_tombstone
from bandstand.store.learners.user_cache import CachedUser, UserCache, read_users
from bandstand.store.records import Sequence, StoreStatus
from bandstand.store.sqlite.disk_room import DiskRoom
from bandstand.store.sqlite.errors import find_way_out, to_storage_error
from bandstand.store.sqlite.joined_writer import JoinedWriter
from bandstand.store.sqlite.log_sync import LogSync
from bandstand.store.sqlite.moved_mark import require_not_moved
from bandstand.store.sqlite.operations import DoneCallback, Operation, SumIncrements, Tally, make_done_callback
from bandstand.store.sqlite.ownership import Ownership
from bandstand.store.sqlite.reader import LedgerReader
from bandstand.store.sqlite.schema import connect, create_tables, find_last_seq, is_kept_scrubbed
from bandstand.store.sqlite.scrub import LedgerFile
from bandstand.store.sqlite.statements import Row
from bandstand.store.sqlite.sweep import Sweeper
from bandstand.store.sqlite.user_levels import UserLevels
from bandstand.store.sqlite.wal import WriteAheadLog, truncate_log
from bandstand.store.sqlite.writer import CommitObserver, Writer
from bandstand.store.tables.event_rows import INSERT_USER, UserInsert
from bandstand.store.tables.generations import PromptIds
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.shadows import has_shadow_sums

_ROUNDS_OF_LOG = 16
"""Rounds of a sweep, some hundred kilobytes of log each, after which the log begins again."""

T = TypeVar("T")
EventT = TypeVar("EventT", bound=UserEvent[Any])


class EventCollisionError(StorageUnavailableError):
    """Another event stands where this one wanted to: under its id, for its decision or under its Idempotency-Key."""


class StateDirectory:
    """One process's hold on ``state_dir``: what the events of a store go through, whatever they say.

    Args:
        state_dir: where everything is kept; made if absent.
        catalogue: the configured policies and schemas.
        clock: seconds since the epoch.
        observe: called after each commit.

    Attributes:
        registry: policies by the ids that rows use.
        prompts: prompts by the ids that rows use.
        users: the users in memory.
        erasures: those that have begun and not ended.
        part: takes what a user, by their key, taught out of a model that is not theirs; ``None`` if all have one.
        horizon: number of the newest event that retention has taken.
        secret: keys the draws and the tombstones of this deployment.
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
        self.options = options or StoreOptions()
        self.clock = clock
        self.registry = PolicyRegistry(catalogue)
        self.prompts = PromptIds()
        self.horizon = 0
        self.secret = b""
        self._dir = state_dir
        self._observe = observe
        self._documents = Documents(state_dir)
        max_users = self.options.max_warm_users
        self.users = UserCache(self._documents, self._read_users, max_users=max_users, on_error=self.record_error)
        self.erasures = UnfinishedErasures(self._sweep_erased, self._part)
        self.part: Callable[[int], Awaitable[None]] | None = None
        self._in_flight: dict[int, UserEvent[Any]] = {}  # by event number: submitted and not yet settled
        self._state: str = "closed"
        self._last_error: str | None = None
        self._room = DiskRoom(self._dir)

    # ── opening and closing ───────────────────────────────────────────────────────────────────────────────────────

    async def open(self, *upkeep: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Own the directory, open the ledger and start the writer.

        Args:
            upkeep: what runs from now on until the directory closes.

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
        self._reader = LedgerReader(self._dir / "ledger.db")
        self.users.open()
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="ledger-reader")
        log_file = self._dir / "ledger.db-wal"  # opening the ledger has written it
        self._writer = Writer(
            self._connection,
            log_sync=LogSync(log_file) if self.options.sync else None,
            max_pending=self.options.max_pending,
            observe=self._observe,
        )
        self.joined_writer = JoinedWriter(self._writer)
        self._log = WriteAheadLog(
            self._dir / "ledger.db", self._file, self._writer, is_scrubbed=is_kept_scrubbed(self._connection)
        )
        self._background_tasks = [
            asyncio.create_task(self.users.run_checkpoints(self.options.checkpoint_seconds)),
            asyncio.create_task(self.erasures.run()),
            asyncio.create_task(self._log.run_upkeep()),
            asyncio.create_task(UserLevels(self._writer).run()),
            *(asyncio.create_task(run()) for run in upkeep),
        ]
        self._state = "ready"

    def _open_ledger(self) -> sqlite3.Connection:
        path = self._dir / "ledger.db"
        try:
            connection = connect(path)
            try:
                self._file = LedgerFile(path)
            except BaseException:
                connection.close()
                raise
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                self._file.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(f"{path} cannot be opened: {error}; {find_way_out(error)}") from error
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._file.scrub_log()  # a process that was killed may have moved these pages; the first write lets them go
        connection.execute("PRAGMA secure_delete = ON")
        create_tables(connection)
        require_not_moved(connection)
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # done beside the writer: see the WriteAheadLog
        self.registry.load(connection)
        self.registry.require_unchanged(connection)
        self.registry.register(connection)
        self.registry.has_shadow_rows = has_shadow_sums(connection)
        self.secret = bytes(connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])
        self._sequence = Sequence(find_last_seq(connection))
        self.prompts.load(connection)
        self.erasures.load(connection)
        query = "SELECT coalesce(max(uid), 0) + 1 FROM (SELECT uid FROM users UNION ALL SELECT uid FROM erasures)"
        self._next_uid = connection.execute(query).fetchone()[0]  # no new user inherits from one who is being erased

    async def close(self) -> None:
        """Commit what was accepted, write the checkpoints, let the directory go."""
        if self._state == "closed":
            return
        self._state = "draining"
        for task in self._background_tasks:
            task.cancel()
        await asyncio.gather(*self._background_tasks, return_exceptions=True)
        await self._writer.close()
        await self._log.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.close_seconds):
                await self.users.write_changed()
        await asyncio.to_thread(self._readers.shutdown)
        await self.users.close()
        self._reader.close()
        with suppress(sqlite3.Error):
            truncate_log(self._connection, self._file)
        self._connection.close()
        self._file.close()
        self._ownership.release()
        self._state = "closed"

    def status(self) -> StoreStatus:
        """How the store is doing now."""
        is_well = not self._writer.has_failed if self._state == "ready" else self._state == "draining"
        state = self._state if is_well else "failed"
        return StoreStatus(
            state=state,  # type: ignore[arg-type]  # the three literals above
            durability="full" if self.options.sync else "process",
            warm_users=len(self.users),
            pending=len(self._in_flight),
            quarantined=self._documents.quarantined,
            last_error=self._last_error,
            disk_is_full=self._room.is_full(),
            disk_free=self._room.count_free(),
        )

    def record_error(self, reason: str) -> None:
        """Take note of what went wrong last, for :meth:`status`."""
        self._last_error = reason

    async def _read_users(self, user_ids: Collection[str]) -> list[CachedUser]:
        if self.erasures:  # nobody is answered about a user whom a process that died was about to erase
            for user_id in user_ids:
                await self.erasures.finish(compute_tombstone(self.secret, user_id))
            if self.options.shared_user in user_ids:
                await self.erasures.finish_all()
        return await self.read(read_users, self._documents, self.registry, self.secret, user_ids)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, query: Callable[..., T], *args: Any) -> T:
        """What ``query(connection, …)`` returns, run on a reader's thread, which sees one moment of the ledger.

        Raises:
            StorageFullError, StorageUnavailableError: the ledger cannot be read.
        """
        try:
            return await self._loop.run_in_executor(self._readers, self._reader.run_query, query, *args)
        except sqlite3.Error as error:
            raise to_storage_error(error) from error
        except RuntimeError as error:  # the executor has been shut down
            message = "the service is shutting down"
            raise StorageUnavailableError(message) from error

    async def _part(self, uid: int) -> None:
        if self.part is not None:
            await self.part(uid)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def last_seq(self) -> int:
        """The number of the newest event."""
        return self._sequence.last

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be submitted."""
        return self._sequence.next(ts)

    def next_seqs(self, ts: float, count: int) -> range:
        """The numbers of as many events about to be submitted."""
        return self._sequence.take(ts, count)

    def ensure_uid(self, user: CachedUser) -> int:
        """The user's key in the ledger; a new one for a user without."""
        if not user.uid:
            user.uid = self._next_uid
            self._next_uid += 1
        return user.uid

    def submit(
        self,
        user: CachedUser,
        seq: int,
        rows: list[tuple[str, Row]],
        on_committed: Callable[[], None],
        on_rejected: Callable[[], None],
        *,
        durable: bool,
        tally: Tally | None = None,
        sums: SumIncrements = (),
    ) -> UserEvent[None]:
        """Give the rows of a user's event to the writer; after the commit move what is in memory and settle the event.

        Args:
            user: whose event it is; not evicted until it is settled.
            seq: the event's number.
            rows: as :class:`bandstand.store.sqlite.operations.Operation` has them; the user's own is added if need be.
            on_committed: moves the state in memory.
            on_rejected: takes back what was noted in memory when the event was submitted.
            durable: synced before the event is settled.
            tally: as in an ``Operation``.
            sums: as in an ``Operation``.

        Raises:
            OverloadedError, StorageUnavailableError: nothing was submitted; ``on_rejected`` was called.
        """
        sums = sums if tally is None else (*sums, tally.to_increment())
        return self.submit_event(
            CallbackEvent(
                directory=self,
                user=user,
                seq=seq,
                rows=rows,
                sums=sums,
                durable=durable,
                on_committed=on_committed,
                on_rejected=on_rejected,
            )
        )

    def submit_event(self, event: EventT) -> EventT:
        """The same of an event that says itself what follows."""
        user = event.user
        if not user.registered:
            event.rows.append((INSERT_USER, UserInsert(user.uid, user.profile.user_id)))
        try:
            self.joined_writer.submit(event)
        except BaseException:
            event.take_back()
            raise
        user.pending += 1
        self._in_flight[event.seq] = event
        return event

    def conclude(self, event: UserEvent[Any], error: BaseException | None) -> BaseException | None:
        """Record that an event is settled; returns the error for its waiters."""
        user = event.user
        user.pending -= 1
        del self._in_flight[event.seq]
        if error is not None:
            if isinstance(error, sqlite3.IntegrityError):
                error = EventCollisionError("the event collided with another; try again")
            self._last_error = str(error)
        self._room.was_full = error is not None and isinstance(error, StorageFullError)
        if user.stale:
            self.users.drop_if_stale(user)
        return error

    def submit_rows(self, rows: list[tuple[str, Row]], on_done: DoneCallback) -> None:
        """Give rows to the writer that are no user's event; not synced.

        Raises:
            OverloadedError, StorageUnavailableError: nothing was submitted.
        """
        self._writer.submit(Operation(rows, on_done, durable=False))

    async def write_rows(self, rows: list[tuple[str, Row]]) -> None:
        """The same, until they are committed."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.submit_rows(rows, make_done_callback(future))
        await future

    async def run_exclusively(self, function: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """Run ``function(connection)`` on a thread, in its turn and in no group; then sync, if ``durable``."""
        return await self._writer.call(function, durable=durable)

    async def sweep(self, sweeper: Sweeper) -> None:
        """Delete everything that a sweeper finds, some milliseconds at a time; others have their turn in between."""
        rounds = 0
        while not await self.run_exclusively(sweeper.run, durable=False):
            rounds += 1
            if rounds % _ROUNDS_OF_LOG == 0:
                await self._log.shorten()

    async def _sweep_erased(self, sweeper: Sweeper) -> None:
        await self.sweep(sweeper)
        self._log.request_emptying()  # whether or not somebody waits for it

    def get_in_flight(self, seq: int) -> UserEvent[Any] | None:
        """The event of that number, if it is in flight."""
        return self._in_flight.get(seq)

    async def wait_committed(self, seq: int) -> None:
        """Wait for the commit of an event if it is in flight; raises what its commit raised."""
        if (event := self._in_flight.get(seq)) is not None:
            await event

    def is_in_flight(self, *seqs: int) -> bool:
        """Whether any of these events is submitted and not yet settled."""
        return not self._in_flight.keys().isdisjoint(seqs)

    async def empty_log(self) -> bool:
        """Let the write-ahead log forget what was deleted; False where readers keep it for now."""
        return await self._log.empty()


def noop() -> None:
    """What is done on a commit or a refusal where nothing in memory has to move."""
