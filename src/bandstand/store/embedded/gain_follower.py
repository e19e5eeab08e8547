"""The follower of gains: reads committed events a little later, in small steps, and sums what they earned.

Nobody waits for it, and neither /score nor /reward does anything for it. It takes a bounded share of a core: in a
ledger from before these sums existed, it catches up in minutes, while the service runs.
"""

import asyncio
import sqlite3
import time
from contextlib import suppress
from functools import partial

from bandstand.errors import BandstandError
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.tables import arms, gains
from bandstand.store.tables.arms import ArmHistory
from bandstand.store.tables.gains import GainPage, GainSums

_PAGE_SIZE = 128
"""Rewards in a step: two or three milliseconds, of which about one is the writer's."""
_CPU_SHARE = 0.05


class GainFollower:
    """Keeps the sums of :mod:`bandstand.store.tables.gains` of a state directory."""

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory
        self._lock = asyncio.Lock()
        self._position = -1  # the last event that is in the sums, as far as this process knows

    async def run(self) -> None:
        """Follow what is committed, for as long as the directory is open."""
        usual = self._directory.options.follow_seconds
        pause = usual
        while usual:
            await asyncio.sleep(pause)
            pause = usual
            if self._directory.last_seq > self._position:
                with suppress(sqlite3.Error, BandstandError):
                    pause = await self._follow_slowly(usual)

    async def follow_until(self, seq: int) -> None:
        """Take in every event up to ``seq`` that is committed, in small steps."""
        while await self._directory.read(gains.read_position) < seq and await self._take_step() is not None:
            pass

    async def load(self) -> GainSums:
        """The sums, as far as they have come."""
        return await self._directory.read(gains.load_gain_sums)

    async def load_arms(self, split: int) -> ArmHistory:
        """The arms of a split, as far as they have come."""
        return await self._directory.read(arms.load_arms, split)

    async def _follow_slowly(self, usual: float) -> float:
        """Take a step; returns after how many seconds the next one is due."""
        started = time.perf_counter()
        page = await self._take_step()
        if page is None:
            return usual
        self._position = page.until
        return usual if page.is_last else (time.perf_counter() - started) / _CPU_SHARE

    async def _take_step(self) -> GainPage | None:
        async with self._lock:
            page = await self._directory.read(gains.read_page, _PAGE_SIZE, self._directory.secret)
            if page is not None:
                await self._directory.run_exclusively(partial(gains.apply_page, page=page), durable=False)
            return page
