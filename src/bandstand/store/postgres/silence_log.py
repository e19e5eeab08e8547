"""Windows that end over a shared ledger: a group of them in one transaction, for as many users as they are of.

Whoever leads closes them. Users are locked in the order in which rewards lock them, and only then is it looked which
of the windows still await their end: of two processes that close the same window one finds nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from bandstand.store.ids import format_id
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.decision_statements import SETTLE_SHADOWS
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.silence_statements import (
    CLOSE_WINDOWS,
    FIND_CLOSED,
    FIND_DUE,
    HAS_AWAITING,
    LOCK_SILENT,
    MAX_GROUP,
)
from bandstand.store.postgres.upkeep import Upkeep
from bandstand.store.records import Reward
from bandstand.store.tables.updates import build_updates
from bandstand.store.tables.windows import WINDOW_CLIENT, ClosedWindows

_MIN_GROUP = 8
_BUDGET_S = 0.002
"""What one statement may keep the database's processor for, which decisions wait for too; the next group follows it."""
_REST = 2.0
_FOLDS = 2
"""Between two moments at which the loop is left to others."""
_SWEEP_S = 10.0
"""How long what was passed over is not looked at again: windows that turns hold open, and others that end earlier."""
_START = (float("-inf"), 0)


class SharedSilences:
    """Closes the windows of a shared ledger, as :class:`bandstand.store.protocol.RewardLog` has it.

    Args:
        ledger: whose.
        upkeep: knows whether this process leads.
    """

    def __init__(self, ledger: SharedLedger, upkeep: Upkeep) -> None:
        self._ledger = ledger
        self._upkeep = upkeep
        self._at_once = _MIN_GROUP
        self._after = _START  # where the last window ended that was closed, and its decision
        self._swept_at = 0.0

    async def has_awaiting_windows(self) -> bool:
        """Whether any window is to be closed, now or when it ends."""
        return bool((await self._ledger.readers.fetch_one(HAS_AWAITING))[0])

    async def close_windows(self, limit: int | None, *, teaches: bool) -> ClosedWindows:
        """Look at windows that have ended, in the order of their ends, and teach what silence comes to."""
        lease = self._upkeep.held_lease
        if lease is None and self._ledger.options.may_lead:
            return ClosedWindows()  # whoever leads does
        limit = min(limit or self._at_once, MAX_GROUP)
        if time.monotonic() - self._swept_at >= _SWEEP_S:
            self._after, self._swept_at = _START, time.monotonic()
        due = await self._ledger.readers.fetch(FIND_DUE, self._ledger.clock(), *self._after, limit)
        rows = await self._close(due, lease, teaches=teaches) if due else []
        has_more = len(due) == limit and rows is not None
        self._after = (due[-1]["due"], due[-1]["decision"]) if has_more else _START
        return ClosedWindows(len(due), await self._fold(rows or []), has_more=has_more, rest=_REST)

    async def _close(self, due: list[Any], lease: tuple[str, int] | None, *, teaches: bool) -> list[Any] | None:
        """Close windows in one transaction; ``None`` where this process does not lead any more, or all users are gone.

        A try whose answer was lost is found by the numbers that it gave.
        """
        ledger, given = self._ledger, list[int]()
        users = sorted({row["uid"] for row in due})
        decisions = [row["decision"] for row in due]
        for decision in decisions:
            ledger.observe_seq(decision)
        ts = ledger.clock()

        async def close(channel: Channel, tries: int) -> list[Any] | None:
            session = channel.session
            locked = [row[0] for row in await session.fetch(LOCK_SILENT, users, *(lease or (None, None)))]
            if not locked:
                return None
            stood = []
            if tries:
                stood = await session.fetch(FIND_CLOSED, given)
            seqs = [ledger.next_seq(ts) for _ in due]  # under the locks: what follows has higher numbers
            given.extend(seqs)
            started = time.perf_counter()
            closed = await session.fetch(CLOSE_WINDOWS, locked, decisions, seqs, ts, channel.stripe, teaches)
            self._adapt(len(due), time.perf_counter() - started)
            if shadowed := [row["decision_seq"] for row in closed if row["is_shadowed"]]:
                await session.execute(SETTLE_SHADOWS, shadowed, channel.stripe)
            return [*stood, *closed]

        return await ledger.writers.transact(close)

    def _adapt(self, size: int, seconds: float) -> None:
        """Let the next group be as large as the budget of time allows, and at most twice as large as this one."""
        fitting = int(size * min(_BUDGET_S / seconds, 2.0))
        self._at_once = min(max(fitting, _MIN_GROUP), MAX_GROUP)

    async def _fold(self, rows: Sequence[Any]) -> list[Reward]:
        """What was taught; users in memory are moved on by it."""
        ledger, taught = self._ledger, list[Reward]()
        await ledger.prepare_events([*rows])
        for number, row in enumerate(rows, start=1):
            taught.append(reward := self._to_reward(row))
            if reward.applied and ledger.users.get(reward.user_id) is not None:
                raw = (row["shadow_set"], None, row["picked"], 0)
                (_, reward.x), *also = build_updates(ledger.registry, reward.policy, *raw)
                reward.shadow_updates = tuple(also)
                ledger.users.fold_reward(reward, row["uid"], row["n"])
                if number % _FOLDS == 0:
                    await asyncio.sleep(0)
        return taught

    def _to_reward(self, row: Any) -> Reward:
        own_id, nonce = row["decision_id"], row["nonce"]
        return Reward(
            user_id=row["user_id"],
            policy=self._ledger.registry.get_ref(row["policy"]),
            tip_id=row["tip_id"],
            value=row["value"],
            client=WINDOW_CLIENT,
            ts=row["ts"],
            body_hash=b"",
            x=None,
            decision_seq=row["decision_seq"],
            decision_id=own_id if nonce is None else format_id(row["decision_seq"], nonce),
            source="default",
            applied=row["applied"],
            reason=row["reason"],
            seq=row["seq"],
        )
