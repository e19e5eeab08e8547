"""One process's hold on a ledger that it shares: connections, its slot, the policies, and the users in memory."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from bandstand import __version__
from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import BandstandError, ConfigurationError, StorageUnavailableError
from bandstand.store.postgres import schema
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import TOUCH_STRIPE, ConnectionPool
from bandstand.store.postgres.departures import Departures
from bandstand.store.postgres.errors import REPEATABLE_ERRORS, describe
from bandstand.store.postgres.figures import LedgerFigures
from bandstand.store.postgres.profiles import ProfileCache
from bandstand.store.postgres.registry import LedgerPolicies
from bandstand.store.postgres.restores import RestoreWatch
from bandstand.store.postgres.schema import create_tables, require_readable
from bandstand.store.postgres.slots import MAX_SKEW_S, RENEWAL_S, LostLeaseError, SlotLease
from bandstand.store.records import StoreStatus, first_seq_at

_CONNECTIONS = 2
"""Of each kind: six a process."""
_POLL_S = 1.0
_SILENCE_S = 5.0
"""Seconds without a successful poll after which the process is not ready."""
_STRIPES = 8
_STANDBYS = """SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN (
    SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) END"""
_DEPLOYMENT = "SELECT epoch, shadow_set FROM deployment"
_RAISE_EPOCH = "UPDATE deployment SET epoch = greatest(epoch, $1) + 1"
ObserveCommit = Callable[[int, float, bool], None]
"""Told of each group: events in it, seconds it took, whether it was synced."""


@dataclass(frozen=True, slots=True)
class SharedStoreOptions:
    """How a store over PostgreSQL behaves; ``settings`` documents each.

    Attributes:
        durability: ``full`` syncs what operators and users did, ``strict`` decisions too, ``process`` nothing.
        max_warm_users: profiles kept in memory.
        max_pending: events that may wait for a connection.
        retention_days: decisions and rewards older than this are trimmed; 0 keeps all.
        turn_retention_days: the texts of turns older than this are deleted; 0 keeps them.
        config_hash: of the settings that all processes should share.
        follow_seconds: between two looks of the leader at what was committed, for the sums behind it.
        settle_seconds: how old an event is before it is taken into them: none with a lower number comes any more.
        has_one_model: whether decisions may be made for somebody by another's model.
        may_lead: whether it does what one process does for all, where no other does.
    """

    durability: str = "full"
    max_warm_users: int = 100_000
    max_pending: int = 10_000
    retention_days: float = 0.0
    turn_retention_days: float = 0.0
    config_hash: str = ""
    follow_seconds: float = 1.0
    settle_seconds: float = 60.0
    has_one_model: bool = False
    may_lead: bool = True


class SharedLedger:
    """What the parts of the store go through.

    Args:
        address: where the ledger is.
        catalogue: the configured policies and schemas.
        options: how it behaves.
        clock: seconds since the epoch.
        observe: called after each group.

    Attributes:
        address: as above.
        decisions: connections that log decisions.
        writers: connections that log everything else, synced.
        readers: connections that read.
        policies: policies by the ids that rows use, and which of them are in the shadow.
        users: the users in memory.
        departures: notifies a listener of users that other processes reset or erase.
        lease: the slot that numbers come from.
        watch: notices that the ledger was put back to an earlier moment.
        forget_decisions: called then.
        epoch: what decisions are made under.
        has_real_clock: whether the clock may be compared with the database's.
        stale_scores: decisions that were made again because their user had been rewarded elsewhere.
        refreshed_scores: decisions before which the newer rewards of other processes were read.
        secret: keys the draws and the tombstones of this deployment.
    """

    def __init__(
        self,
        address: LedgerAddress,
        catalogue: Catalogue,
        *,
        options: SharedStoreOptions,
        clock: Callable[[], float],
        observe: ObserveCommit | None,
    ) -> None:
        self.options = options
        self.clock = clock
        self.has_real_clock = clock is time.time
        self.secret = b""
        self.epoch = 0
        self.address = address
        self._observe = observe
        self._is_synced = options.durability != "process"
        self.watch = watch = RestoreWatch()
        self.decisions = ConnectionPool(address, _CONNECTIONS, durable=options.durability == "strict", watch=watch)
        self.writers = ConnectionPool(address, _CONNECTIONS, durable=self._is_synced, watch=watch)
        self.readers = ConnectionPool(address, _CONNECTIONS, durable=False, watch=watch)
        self.policies = LedgerPolicies(catalogue)
        self.registry = self.policies.registry
        self.lease = SlotLease(self.writers, watch, software=__version__, config_hash=options.config_hash, clock=clock)
        self.users = ProfileCache(
            self.readers,
            self.decisions,
            self.registry,
            prepare=self.prepare_events,
            observe_seq=self.observe_seq,
            max_users=options.max_warm_users,
            has_one_model=options.has_one_model,
        )
        self.departures = Departures(self.readers)
        self._on_change: Callable[[], Awaitable[None]] | None = None
        self._on_restore: list[Callable[[], Awaitable[None]]] = []
        self.forget_decisions: Callable[[], None] = lambda: None
        self._reload_lock = asyncio.Lock()
        self._state = "closed"
        self._last_error: str | None = None
        self._polled_at = self._answered_at = 0.0
        self._standbys: int | None = None
        self._format = schema.FORMAT  # of this version
        self._outdated: str | None = None  # why this version may not go on
        self.stale_scores = 0
        self.refreshed_scores = 0
        self._background_tasks: list[asyncio.Task[None]] = []

    # ── opening and closing ───────────────────────────────────────────────────────────────────────────────────────

    async def open(self, *upkeep: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Reach the ledger, make its tables if need be, and take a slot.

        Args:
            upkeep: what runs from now on until the ledger closes.

        Raises:
            ConfigurationError: the database cannot be used as it is configured.
        """
        self.users.drop_all()  # who was in memory before it was closed
        self.epoch, self._on_change, self._on_restore = 0, None, []
        self.watch.stop()
        try:
            await self._reach()
            self.secret = await create_tables(self.writers, self.address.schema)
            await self.take_slot()
            await self.policies.register(self.writers)
            await self.reload()
            await self.departures.begin(max(self.lease.sequence.last, first_seq_at(self.clock())))
            await self.readers.run(lambda channel, _: self.watch.begin(channel.session))
        except StorageUnavailableError as error:
            await self._close_pools()
            raise ConfigurationError(f"STATE_URL: {error.detail}") from error
        except BaseException:
            await self._close_pools()
            raise
        self._polled_at = self._answered_at = time.monotonic()
        self._background_tasks = [
            asyncio.create_task(self._poll()),
            asyncio.create_task(self._follow_restores()),
            asyncio.create_task(self.users.run_checkpoints()),
            *(asyncio.create_task(run()) for run in upkeep),
        ]
        self._state = "ready"

    async def take_slot(self, pool: ConnectionPool | None = None) -> None:
        """Take a slot to number events by, and the stripes of totals that go with it."""
        await self.lease.take(pool)
        for each, kind in ((self.decisions, 0), (self.writers, _CONNECTIONS)):
            each.first_stripe = self.lease.sequence.slot * _STRIPES + kind

    async def _reach(self) -> None:
        """Connect once, so that what is wrong with the address is said as what it is."""
        try:
            session = await self.writers.connect()
            await session.close()
        except REPEATABLE_ERRORS as error:
            raise ConfigurationError(f"the database of STATE_URL cannot be reached ({describe(error)})") from None
        except (asyncpg.PostgresError, ValueError) as error:
            raise ConfigurationError(f"the database of STATE_URL refuses this service ({describe(error)})") from None

    async def close(self) -> None:
        """Release the slot and the connections; everything submitted has been waited for."""
        if self._state == "closed":
            return
        self._state = "draining"
        for task in self._background_tasks:
            task.cancel()
        await asyncio.gather(*self._background_tasks, return_exceptions=True)
        self.watch.stop()
        await self.departures.close()
        with suppress(BandstandError):
            await self.lease.give_back()
        await self._close_pools()
        self._state = "closed"

    async def _close_pools(self) -> None:
        for pool in (self.decisions, self.writers, self.readers):
            await pool.close()

    def subscribe(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Register a function to call after another process has changed the state that all decisions depend on."""
        self._on_change = on_change

    def subscribe_restores(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Register a function to call after the ledger was put back to an earlier moment, and was read anew."""
        self._on_restore.append(listener)

    # ── what holds now ────────────────────────────────────────────────────────────────────────────────────────────

    async def reload(self) -> None:
        """Load the deployment's state from the ledger."""
        async with self._reload_lock:
            row = await self.readers.fetch_one(_DEPLOYMENT)
            if row["epoch"] == self.epoch:
                return
            try:
                require_readable(dict(await self.readers.fetch("SELECT key, value FROM meta")), self._format)
            except ConfigurationError as error:  # a later version has taken over
                self._outdated = error.detail
                raise StorageUnavailableError(error.detail) from error
            self.observe_seq(row["shadow_set"])
            await self.policies.load(self.readers)
            if self.policies.take_memory_changes():
                self.users.drop_all()  # what counts has changed: everybody is folded again
            if self.epoch and self._on_change is not None:
                try:
                    await self._on_change()
                except ConfigurationError as error:  # nothing is decided here until it is configured
                    raise StorageUnavailableError(error.detail) from error
            self.epoch = row["epoch"]  # the last: what is decided before is decided under the old one, and refused

    async def prepare_events(self, events: list[Any]) -> None:
        """Load the policies that rows name and this process does not know yet."""
        if not self.policies.has_all(events):
            await self.policies.load(self.readers)

    async def _follow_restores(self) -> None:
        """Whenever the ledger was put back to an earlier moment, read it anew; nobody uses it meanwhile."""
        while True:
            await self.watch.wait()
            self.lease.invalidate()
            try:
                await self._begin_anew()
            except BandstandError as error:
                self.record_error(error.detail)
                await asyncio.sleep(_POLL_S)
                continue
            self._last_error = None  # what failed meanwhile did because of it
            for work in (self.reload, *self._on_restore):
                try:
                    await work()
                except BandstandError as error:
                    self.record_error(error.detail)

    async def _begin_anew(self) -> None:
        """Give up what was known of the ledger and read it again, as at the start, by connections of its own."""
        pool = ConnectionPool(self.address, 1, durable=self._is_synced)
        try:
            self.secret = await create_tables(pool, self.address.schema)
            self.users.drop_all()
            self.forget_decisions()
            await self.policies.register(pool, anew=True)
            await self.take_slot(pool)
            # Above all that anybody has decided under: what is on its way is refused, and decided again.
            await pool.transact(lambda channel, _: channel.session.execute(_RAISE_EPOCH, self.epoch))
            await pool.run(lambda channel, _: self.watch.begin(channel.session))
        finally:
            await pool.close()

    async def _poll(self) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await self.readers.run(lambda channel, _: self.watch.check(channel.session))
                self._answered_at = time.monotonic()
                await self.reload()
                await self.departures.notify_departed(self.secret)
                if time.monotonic() - renewed >= RENEWAL_S:
                    renewed = time.monotonic()
                    await self._renew_slot()
                    self._standbys = (await self.readers.fetch_one(_STANDBYS))[0]
                self._polled_at = time.monotonic()
            except BandstandError as error:
                self.record_error(error.detail)

    async def _renew_slot(self) -> None:
        try:
            await self.lease.renew()
        except LostLeaseError:  # it was away for so long that another has the slot
            await self.take_slot()

    # ── numbers and status ────────────────────────────────────────────────────────────────────────────────────────

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be submitted."""
        if self._outdated is not None:
            raise StorageUnavailableError(self._outdated)
        return self.lease.next_seq(ts)

    def observe_seq(self, seq: int) -> None:
        """Number everything from here on after an event of the ledger."""
        self.lease.sequence.observe(seq)

    def observe_group(self, size: int, seconds: float, *, synced: bool) -> None:
        """Report a committed group to the measurements."""
        if self._observe is not None:
            self._observe(size, seconds, synced)

    async def harden(self) -> None:
        """Wait until whatever was read just now is as durable as what this process writes.

        A commit whose wait for its standby was given up is there to be read, and may be gone after a fail-over.
        """
        if self._is_synced:
            await self.writers.run(lambda channel, _: channel.session.execute(TOUCH_STRIPE, channel.stripe))

    def record_error(self, reason: str) -> None:
        """Take note of what went wrong last, for :meth:`status`."""
        self._last_error = reason

    def status(self, pending: int, *, is_leader: bool) -> StoreStatus:
        """How the store is doing now."""
        state = {"ready": "ready", "draining": "draining"}.get(self._state, "failed")
        if state == "ready" and self._find_trouble() is not None:
            state = "failed"
        return StoreStatus(
            state=state,  # type: ignore[arg-type]  # the three literals above
            durability=self.options.durability,
            warm_users=len(self.users),
            pending=pending,
            last_error=self._find_trouble() or self._last_error,
            details=self._build_figures(is_leader=is_leader).to_details(),
        )

    def _build_figures(self, *, is_leader: bool) -> LedgerFigures:
        lease = self.lease
        return LedgerFigures(
            slot=lease.sequence.slot,
            is_leader=is_leader,
            processes=lease.processes,
            configurations=lease.configurations,
            format=self._format,
            round_trip_s=self.writers.last_round_trip_s,
            skew_s=lease.skew_s,
            lease_s=lease.remaining_s,
            synchronous_standbys=self._standbys,
            stale_scores=self.stale_scores,
            refreshed_scores=self.refreshed_scores,
            due_checkpoints=self.users.due_checkpoints,
            pools={
                "decisions": self.decisions.figures,
                "writers": self.writers.figures,
                "readers": self.readers.figures,
            },
        )

    @property
    def is_away(self) -> bool:
        """Whether the database has not answered for some seconds, and nothing else stands in the way."""
        is_served = self._state == "ready" and self._outdated is None and not self.watch.is_restored
        return is_served and time.monotonic() - self._answered_at > _SILENCE_S

    def _find_trouble(self) -> str | None:
        if self._outdated is not None:
            return self._outdated
        if self.is_away:
            return "the database has not answered for five seconds"
        if time.monotonic() - self._polled_at > _SILENCE_S:
            return "what the processes share could not be followed for five seconds"
        if not self.lease.is_valid:
            return "the lease of this process's numbers has run out"
        if abs(self.lease.skew_s) > MAX_SKEW_S and self.has_real_clock:
            return "the clock of this machine is more than five seconds from the database's"
        return None
