"""The lease of a slot: the right to give out event numbers, for as long as it is renewed by the database's clock."""

import time
from collections.abc import Callable
from typing import Any

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.postgres.connections import Channel, ConnectionPool
from bandstand.store.postgres.numbers import SlotSequence
from bandstand.store.postgres.restores import RestoreWatch
from bandstand.store.records import first_seq_at

LEASE_S = 30.0
RENEWAL_S = 10.0
MAX_SKEW_S = 5.0
REST_S = 10.0
"""How long a slot rests after its lease: a process that was paused may give a few numbers before it looks at it."""
MOVER_PREFIX = "move "
"""Of the holder's name, where somebody holds all slots to move the ledger elsewhere."""

_TAKE = """UPDATE slots AS s SET holder = $1, until = clock_timestamp() + make_interval(secs => $2)
    FROM (SELECT slot, until FROM slots WHERE until IS NULL OR until < clock_timestamp() - make_interval(secs => $3)
        ORDER BY until NULLS FIRST, slot LIMIT 1 FOR UPDATE SKIP LOCKED) AS free WHERE s.slot = free.slot
    RETURNING s.slot, s.last_seq, extract(epoch FROM clock_timestamp())::float8 AS now,
        free.until IS NOT NULL AS was_lost"""
_RENEW = """UPDATE slots SET until = clock_timestamp() + make_interval(secs => $3), last_seq = greatest(last_seq, $4)
    WHERE slot = $1 AND holder = $2 RETURNING extract(epoch FROM clock_timestamp())::float8 AS now"""
_IS_LEAVING = "SELECT 1 FROM slots WHERE holder LIKE $1 AND until > clock_timestamp() LIMIT 1"
_GIVE_BACK = """UPDATE slots SET holder = NULL, until = NULL, last_seq = greatest(last_seq, $3)
    WHERE slot = $1 AND holder = $2"""
_NOTE_PROCESS = """INSERT INTO processes (holder, slot, seen, software, config_hash)
    VALUES ($1, $2, clock_timestamp(), $3, $4) ON CONFLICT (holder) DO UPDATE
    SET seen = excluded.seen, slot = excluded.slot RETURNING seen"""
_NOTE_AGAIN = "UPDATE processes SET seen = clock_timestamp() WHERE holder = $1 AND seen >= $2 RETURNING seen"
_COUNT_PROCESSES = """SELECT count(*), count(DISTINCT config_hash) FROM processes
    WHERE seen > clock_timestamp() - interval '30 seconds'"""
_FORGET_PROCESSES = "DELETE FROM processes WHERE holder = $1 OR seen < clock_timestamp() - interval '60 seconds'"


class LostLeaseError(StorageUnavailableError):
    """Another process has the slot by now."""


class SlotLease:
    """One process's slot.

    Args:
        pool: durable connections.
        watch: is told what this process has written of itself.
        software: this version of Bandstand.
        config_hash: of the settings that all processes should share.
        clock: seconds since the epoch, by which events are dated.
        monotonic: seconds that no one sets.

    Attributes:
        holder: the name of this process.
        sequence: gives the numbers.
        skew_s: by how much this clock is ahead of the database's.
        processes: how many share the ledger, as of the last renewal.
        configurations: how many different settings these have.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        watch: RestoreWatch,
        *,
        software: str,
        config_hash: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._watch = watch
        self._software = software
        self._config_hash = config_hash
        self._clock = clock
        self._monotonic = monotonic
        self._valid_until = 0.0
        self.holder = watch.holder
        self.sequence = SlotSequence(0)
        self.skew_s = 0.0
        self.processes = self.configurations = 1

    async def take(self, pool: ConnectionPool | None = None) -> None:
        """Take a slot that nobody holds.

        Args:
            pool: other connections than usual.

        Raises:
            ConfigurationError: all are taken, or held because the ledger is being moved.
        """
        asked = self._monotonic()

        async def take(channel: Channel, _: int) -> Any:
            values = (self.holder, LEASE_S, REST_S)
            row = await channel.session.fetchrow(_TAKE, *values)
            if row is None:
                return None
            noted = (self.holder, row["slot"], self._software, self._config_hash)
            return row, await channel.session.fetchval(_NOTE_PROCESS, *noted)

        pool = pool or self._pool
        taken = await pool.transact(take)
        if taken is None:
            if await pool.fetch_one(_IS_LEAVING, f"{MOVER_PREFIX}%"):
                raise ConfigurationError("the ledger of STATE_URL is being moved into a directory: let that end")
            raise ConfigurationError("256 processes use this ledger already, or have until half a minute ago")
        (slot, last_seq, now, was_lost), self._watch.seen = taken
        # Who died may have given numbers that nobody wrote down, none of them after their lease.
        last = max(last_seq, self.sequence.last)
        self.sequence = SlotSequence(slot, max(last, first_seq_at(now)) if was_lost else last)
        self._note(asked, now)

    async def renew(self) -> None:
        """Renew the lease, and write down which numbers are spent.

        Raises:
            LostLeaseError: another process has it by now.
            StorageUnavailableError: the ledger has gone back, or cannot be reached.
        """
        asked = self._monotonic()

        async def renew(channel: Channel, _: int) -> tuple[float | None, Any]:
            values = (self.sequence.slot, self.holder, LEASE_S, self.sequence.last)
            now: float | None = await channel.session.fetchval(_RENEW, *values)
            seen = await channel.session.fetchval(_NOTE_AGAIN, self.holder, self._watch.seen)
            if seen is None:
                self._watch.note_restore()
                self._watch.require_same()
            self.processes, self.configurations = await channel.session.fetchrow(_COUNT_PROCESSES)
            return now, seen

        now, self._watch.seen = await self._pool.transact(renew)
        if now is None:
            self.invalidate()
            raise LostLeaseError("this process was away for too long, and needs another slot")
        self._note(asked, now)

    def invalidate(self) -> None:
        """Give no numbers until a slot is taken again."""
        self._valid_until = 0.0

    async def give_back(self) -> None:
        """Let another have the slot, from the numbers that are spent on."""

        async def give_back(channel: Channel, _: int) -> None:
            await channel.session.execute(_GIVE_BACK, self.sequence.slot, self.holder, self.sequence.last)
            await channel.session.execute(_FORGET_PROCESSES, self.holder)

        self.invalidate()
        await self._pool.transact(give_back)

    @property
    def remaining_s(self) -> float:
        """Seconds that the lease has left."""
        return self._valid_until - self._monotonic()

    @property
    def is_valid(self) -> bool:
        """Whether numbers may be given."""
        return self._monotonic() < self._valid_until

    def next_seq(self, ts: float) -> int:
        """The next number.

        Raises:
            StorageUnavailableError: the lease could not be renewed in time.
        """
        if not self.is_valid:
            raise StorageUnavailableError("the database has not been reached for too long to number events")
        return self.sequence.next(ts)

    def _note(self, asked: float, now: float) -> None:
        self._valid_until = asked + LEASE_S
        self.skew_s = self._clock() - now
