"""Gains: summed after the commits by the leading process, a page of events and its position in one transaction.

Events of several processes are not committed in the order of their numbers. So a page ends well before now: what has a
lower number than its last event is committed by then, or never will be.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

from bandstand.errors import BandstandError
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.gain_statements import (
    ADD_ARM_USERS,
    ADD_ARMS,
    ADD_DAYS,
    ADD_USERS,
    DECIDED,
    DELETE_ARM_USERS,
    FIND_ARM_USERS,
    FIND_ENDS,
    FIND_LAST,
    FIND_METRICS,
    KEEP_DAY,
    LOAD_ARM_DAYS,
    LOAD_ARMS,
    LOAD_DAYS,
    LOCK_POSITION,
    LOCK_USERS,
    MARKS,
    METRICS,
    MOVE,
    POSITION,
    TOUCHED,
)
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.records import LAST_SEQ, Array, first_seq_at, to_time
from bandstand.store.tables.arms import (
    REWARD,
    ArmHistory,
    ArmKey,
    ArmSums,
    UserAmounts,
    build_history,
    compute_amounts,
    find_place,
)
from bandstand.store.tables.gains import GainDay, GainPage, GainSums, add_changes, add_decided, to_row
from bandstand.store.tables.loop_health import to_day
from bandstand.store.tables.splits import SPLIT_KINDS, SplitLog

_PAGE_SIZE = 128
_BUSY_SHARE = 0.1


class SharedGains:
    """The gains of a shared ledger, but for their splits, as :class:`bandstand.store.gain_log.GainLog` has them."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger
        self._lock = asyncio.Lock()

    # ── following ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, is_leader: Callable[[], bool]) -> None:
        """Follow what is committed, for as long as the process lives and whenever it leads."""
        pause = usual = self._ledger.options.follow_seconds
        while True:
            await asyncio.sleep(pause)
            pause = usual
            if is_leader():
                try:
                    pause = await self._follow_slowly(usual)
                except BandstandError as error:
                    self._ledger.record_error(error.detail)

    async def follow_gains(self) -> None:
        """Take in what is certain by now."""
        while await self._take_step() is not None:
            pass

    async def follow_until(self, seq: int) -> None:
        """Take in every event up to ``seq``, if that is certain by now."""
        while await self._read_position() < seq and await self._take_step() is not None:
            pass

    async def _follow_slowly(self, usual: float) -> float:
        """Take a step; returns after how many seconds the next one is due."""
        started = time.perf_counter()
        page = await self._take_step()
        return usual if page is None or page.is_last else (time.perf_counter() - started) / _BUSY_SHARE

    async def _take_step(self) -> GainPage | None:
        async with self._lock:
            page = await self._read_page()
            if page is not None:
                await self._ledger.writers.transact(lambda channel, _: _apply(channel, page))
            return page

    async def _read_position(self) -> int:
        return int((await self._ledger.readers.fetch_one(POSITION))[0])

    async def _read_page(self) -> GainPage | None:
        """What the next events add, no more than some of a kind; ``None`` for no event."""
        ledger, readers = self._ledger, self._ledger.readers
        settle, after = ledger.options.settle_seconds, await self._read_position()
        horizon = first_seq_at(ledger.clock() - settle) if settle else LAST_SEQ
        last = (await readers.fetch_one(FIND_LAST, after, horizon))[0]
        if last is None:
            return None
        splits = SplitLog((tuple(row) for row in await readers.fetch(MARKS, list(SPLIT_KINDS))), ledger.secret)
        has_splits = splits.is_any_after(after)
        ends = await readers.fetch_one(FIND_ENDS, after, _PAGE_SIZE - 1, has_splits)
        until = min([last, *(end for end in ends if end is not None)])
        page = GainPage(after, until, is_last=until == last)
        if has_splits:
            add_decided(page, [tuple(row) for row in await readers.fetch(DECIDED, after, until)], splits)
        touched = [tuple(row) for row in await readers.fetch(TOUCHED, after, until)]
        parts = defaultdict[int, list[tuple[int, str]]](list)
        if has_splits:
            for decision, *part in await readers.fetch(METRICS, [each[0] for each in touched], until):
                parts[decision].append(tuple(part))
        add_changes(page, touched, splits, parts.__getitem__)
        return page

    # ── what they come to ─────────────────────────────────────────────────────────────────────────────────────────

    async def load_gain_sums(self) -> GainSums:
        """The sums by day and policy, as far as they have come."""
        days = [GainDay(*row) for row in await self._ledger.readers.fetch(LOAD_DAYS)]
        return GainSums(days, await self._read_position())

    async def load_arms(self, split: int) -> ArmHistory:
        """The result of the users of each arm of a split, as far as that."""
        now: dict[str, dict[str, ArmSums]] = {}
        for row in await self._ledger.readers.fetch(LOAD_ARMS, split):
            now.setdefault(row["metric"], {})[row["arm"]] = ArmSums(*row)
        days: dict[int, dict[str, ArmSums]] = {}
        for day, *sums in await self._ledger.readers.fetch(LOAD_ARM_DAYS, split, REWARD):
            days.setdefault(day, {})[sums[1]] = ArmSums(*sums)
        return build_history(now, list(days.items()))


async def _apply(channel: Channel, page: GainPage) -> None:
    """Add a page to the sums and move on, unless another process was quicker.

    A user who was erased since the page was read adds nothing: no word of them may come back.
    """
    session = channel.session
    uids = {uid for uid, _, _ in page.amounts} | {uid for _, uid, *_ in page.arms}
    # Users before sums, as an erasure has it: neither waits for the other.
    present = {row["uid"] for row in await session.fetch(LOCK_USERS, sorted(uids))}
    if await session.fetchval(LOCK_POSITION) != page.after:
        return
    days: dict[tuple[int, int], Array] = {}
    users = []
    for (uid, day, policy), amounts in page.amounts.items():
        if uid in present:
            users.append((uid, day, policy, *to_row(amounts)))
            so_far = days.get((day, policy))
            days[day, policy] = amounts if so_far is None else so_far + amounts
    await session.executemany(ADD_USERS, users)
    await session.executemany(ADD_DAYS, [(*key, *to_row(amounts)) for key, amounts in sorted(days.items())])
    await _apply_arms(channel, page, present)
    await session.execute(MOVE, page.until)


async def _apply_arms(channel: Channel, page: GainPage, present: set[int]) -> None:
    session = channel.session
    changes = sorted(page.arms.items(), key=lambda each: each[1].first_seq)
    changes = [(key, change) for key, change in changes if key[1] in present and change]
    splits, uids = sorted({key[0] for key in page.arms}), sorted({key[1] for key, _ in changes})
    found = {tuple(row)[:4]: tuple(row)[4:] for row in await session.fetch(FIND_ARM_USERS, splits, uids)}
    known = defaultdict[int, set[str]](set)
    for split, metric in await session.fetch(FIND_METRICS, splits):
        known[split].add(metric)
    after, sums = dict[ArmKey, UserAmounts | None](), dict[tuple[int, str, str], list[float]]()
    for (split, uid, arm, metric), change in changes:
        key = (split, uid, arm, metric if metric == REWARD else find_place(metric, known[split]))
        after[key], amounts = compute_amounts(key, after.get(key, found.get(key)), change)
        so_far = sums.get((split, *key[2:]))
        added = amounts if so_far is None else [a + b for a, b in zip(so_far, amounts, strict=True)]
        sums[split, arm, key[3]] = list(added)
    await session.executemany(DELETE_ARM_USERS, sorted(key for key, now in after.items() if now is None))
    await session.executemany(ADD_ARM_USERS, sorted((*key, *now) for key, now in after.items() if now is not None))
    await session.executemany(ADD_ARMS, [(*key, *amounts) for key, amounts in sorted(sums.items())])
    for split in splits:
        await session.execute(KEEP_DAY, to_day(to_time(page.until)), split)
