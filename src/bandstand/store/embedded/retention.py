"""Retention: once an hour, what is past its days is deleted, and users' earlier events become baselines."""

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from bandstand.errors import BandstandError
from bandstand.store.embedded.gain_follower import GainFollower
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.learners import replay
from bandstand.store.records import to_time
from bandstand.store.sqlite import retention
from bandstand.store.sqlite.sweep import Sweeper
from bandstand.store.tables import gains, generations, judgement_queries

_INTERVAL_S = 3600.0
_DAY = 86_400
_MAX_JUMP_S = 3600.0
_LONG_PAUSE_S = 86_400.0


class ClockWatch:
    """Returns whether the wall clock can be believed when it says that something is old.

    It is doubted for a day after it jumped ahead of the machine's monotonic clock by more than an hour; and for the
    first day of a process that finds it more than a day after the newest event, because the clock may not have been set
    yet.

    Args:
        monotonic: seconds that no one sets.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last: tuple[float, float] | None = None  # the wall clock and the count, when last looked at
        self._doubted_until = -math.inf  # by the count

    def is_steady(self, now: float, newest: float | None) -> bool:
        """Whether ``now`` is a time to delete by.

        Args:
            now: seconds since the epoch.
            newest: when the newest event happened; ``None`` for no event.
        """
        counted = self._monotonic()
        if self._last is None:
            jumped = newest is not None and now > newest + _LONG_PAUSE_S
        else:
            jumped = now - self._last[0] > counted - self._last[1] + _MAX_JUMP_S
        self._last = now, counted
        if jumped:
            self._doubted_until = counted + _DAY
        return counted >= self._doubted_until


class EmbeddedRetention:
    """Retention of a state directory, by the days that its options say."""

    def __init__(self, directory: StateDirectory, follower: GainFollower) -> None:
        self._directory = directory
        self._follower = follower
        self._watch = ClockWatch(time.monotonic)

    async def run(self) -> None:
        """Apply retention every hour, unless the clock has just jumped: what is deleted does not come back."""
        while True:
            with suppress(sqlite3.Error, BandstandError):
                newest = to_time(self._directory.last_seq) if self._directory.last_seq else None
                if self._watch.is_steady(self._directory.clock(), newest):
                    await self.apply_retention()
            await asyncio.sleep(_INTERVAL_S)

    async def apply_retention(self) -> int:
        """Apply retention now; returns how many users were touched."""
        directory, options = self._directory, self._directory.options
        now = directory.clock()
        spent = partial(judgement_queries.delete_old_spending, today=int(now // _DAY))
        while await directory.run_exclusively(spent, durable=False):
            pass
        if options.turn_retention_days:
            cutoff = await directory.read(retention.find_cutoff, now - options.turn_retention_days * _DAY, now)
            await directory.sweep(judgement_queries.build_text_sweeper(cutoff))
        while await directory.run_exclusively(partial(retention.delete_old_keys, now=now), durable=False):
            pass
        await directory.sweep(retention.build_key_sweeper())
        if not options.retention_days:
            return 0
        cutoff = await directory.read(retention.find_cutoff, now - options.retention_days * _DAY, now)
        await self._follower.follow_until(cutoff)  # what goes is in the sums before
        directory.horizon = max(directory.horizon, cutoff)  # what has gone stays gone, whichever run ends last
        await directory.sweep(generations.build_sweeper(cutoff))
        return await self._trim_users(cutoff, now)

    async def delete_log(self) -> None:
        """Delete every decision and reward until now; what was learned stays."""
        directory = self._directory
        now = directory.clock()
        directory.horizon = cutoff = directory.last_seq
        await directory.sweep(generations.build_sweeper(cutoff))
        while await self._trim_users(cutoff, now) == retention.USERS_PER_ROUND:
            pass

    async def _trim_users(self, cutoff: int, now: float) -> int:
        """Replace decisions up to ``cutoff`` by baselines; returns of how many users."""
        directory = self._directory
        uids = await directory.read(retention.find_overdue_users, cutoff)
        for uid, user_id in uids:
            state = await directory.read(replay.rebuild_profile, directory.registry, uid, user_id, cutoff)
            seq = directory.next_seq(directory.clock())
            begin = partial(retention.begin_trim, uid=uid, state=state, cutoff=cutoff, seq=seq, ts=now)
            await directory.run_exclusively(begin)
            await directory.sweep(retention.build_trim_sweeper(uid, cutoff))
            await directory.sweep(Sweeper([gains.TRIM_SWEEP], owner=uid, until=cutoff))
        if uids and directory.options.shared_user is not None:  # the events were its; the parts are the people's
            for uid in await directory.read(gains.find_overdue_users, cutoff):
                await directory.sweep(Sweeper([gains.TRIM_SWEEP], owner=uid, until=cutoff))
        return len(uids)
