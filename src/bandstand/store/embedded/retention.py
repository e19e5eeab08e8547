"""Retention: once an hour, what is past its days is deleted, and users' earlier events become baselines."""

import asyncio
import sqlite3
from contextlib import suppress
from functools import partial

from bandstand.errors import BandstandError
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.learners import replay
from bandstand.store.records import first_seq_at
from bandstand.store.sqlite import retention
from bandstand.store.tables import generations, judgement_queries

_INTERVAL_S = 3600.0
_DAY = 86_400


class EmbeddedRetention:
    """Retention of a state directory, by the days that its options say."""

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory

    async def run(self) -> None:
        """Apply retention every hour."""
        while True:
            with suppress(sqlite3.Error, BandstandError):
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
            cutoff = first_seq_at(now - options.turn_retention_days * _DAY)
            await directory.sweep(judgement_queries.build_text_sweeper(cutoff))
        while await directory.run_exclusively(partial(retention.delete_old_keys, now=now), durable=False):
            pass
        await directory.sweep(retention.build_key_sweeper())
        if not options.retention_days:
            return 0
        cutoff = directory.horizon = first_seq_at(now - options.retention_days * _DAY)
        await directory.sweep(generations.build_sweeper(cutoff))
        return await self._trim_users(cutoff, now)

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
        return len(uids)
