"""Drift: once a day, whether what users taught a policy long ago still says what they do now.

Of a policy with ``half_life = "auto"`` the memories of :mod:`bandstand.bandit.memory` are compared over a sample of its
users, from the ledger, in a thread. If another memory predicted their rewards better, the switch is logged as an event,
and what everybody taught is summed again under it. Sums are kept of the memory that serves, and of no other.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from bandstand.asyncio_tasks import cancel_task
from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.memory import (
    MAX_USERS,
    SECONDS_PER_DAY,
    Memory,
    choose_memory,
    list_memories,
    score_memories,
    split_blocks,
)
from bandstand.bandit.policies import Policy
from bandstand.errors import BandstandError
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.store.protocol import Store
from bandstand.store.tables.memories import MemoryChange
from bandstand.times import is_ahead

_LONGEST_WAIT_S = 3600.0

log = structlog.get_logger("bandstand")


class MemoryStatus(NamedTuple):
    """How a policy's memory stands.

    Attributes:
        policy: its name.
        memory: which rewards count.
        change: how that came about; None if it never changed.
        checked_at: when the memories were last compared, seconds since the epoch; None for not yet.
        scores: what came of it.
    """

    policy: str
    memory: Memory
    change: MemoryChange | None
    checked_at: float | None = None
    scores: Sequence[tuple[Memory, float]] = ()


class DriftWatcher:
    """The memories of all policies that adapt theirs.

    Args:
        catalogue: the configured policies.
        store: where rewards come from, and where changes are written down.
        population: the priors that are learned from the sums.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        population: PopulationPriorRefresher,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policies = [policy for policy in catalogue.policies.values() if policy.adapts_memory]
        self._store = store
        self._population = population
        self._clock = clock
        self._changes: dict[str, MemoryChange] = {}
        self._scores: dict[str, tuple[float, list[tuple[Memory, float]]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load what was found before, and begin to compare; the store and the population must be open."""
        for change in await self._store.list_memory_changes():
            self._changes[change.policy] = change
        if self._policies:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            await cancel_task(self._task)
            self._task = None

    def get_memory(self, policy: Policy) -> Memory:
        """Which of a policy's rewards count now."""
        change = self._changes.get(policy.name)
        return policy.memory if change is None or not policy.adapts_memory else change.memory

    def list_statuses(self) -> list[MemoryStatus]:
        """For each policy that adapts its memory: the one in use, and how the others scored."""
        return [
            MemoryStatus(
                policy.name,
                self.get_memory(policy),
                self._changes.get(policy.name),
                *self._scores.get(policy.name, (None, ())),
            )
            for policy in self._policies
        ]

    async def check_policy(self, policy: Policy) -> MemoryChange | None:
        """Compare the memories of one policy, and change to the best; not twice in a day."""
        now, current = self._clock(), self.get_memory(policy)
        if (earlier := self._changes.get(policy.name)) is not None and is_ahead(earlier.ts, now):
            return await self._change_memory(
                MemoryChange(policy.name, now, policy.memory, 0.0)
            )  # no rewards foretold it
        users = await self._population.select_sample(MAX_USERS)
        key = (policy.name, policy.schema.name)
        histories = [await self._store.list_taught_rewards(user_id, key) for user_id in users]
        if policy.schema.block_count:
            histories = split_blocks(histories)
        memories, prior = list_memories(current, now), self._population.get_shared_prior(policy)
        scores = await asyncio.to_thread(score_memories, histories, prior, memories, now)
        self._scores[policy.name] = (now, list(zip(memories, scores.tolist(), strict=True)))
        best = choose_memory(memories, scores)
        if best == current or (earlier is not None and _to_day(earlier.ts) == _to_day(now)):
            return None
        return await self._change_memory(
            MemoryChange(policy.name, now, best, float(scores[memories.index(best)] - scores[0]))
        )

    async def _change_memory(self, change: MemoryChange) -> MemoryChange:
        await self._store.set_memory(change)
        self._changes[change.policy] = change
        memory = change.memory
        log.info(
            "memory changed", policy=change.policy, half_life=memory.half_life, since=memory.since, gain=change.gain
        )
        await self._population.reload_members(change.policy)
        return change

    async def _run(self) -> None:
        checked: int | None = None
        while True:
            now = self._clock()
            if _to_day(now) != checked:
                checked = _to_day(now)
                for policy in self._policies:
                    try:
                        await self.check_policy(policy)
                    except (BandstandError, ValueError, ArithmeticError):
                        log.exception("memory not compared", policy=policy.name)
            await asyncio.sleep(min(_LONGEST_WAIT_S, (_to_day(now) + 1) * SECONDS_PER_DAY - now + 1.0))


def _to_day(ts: float) -> int:
    return int(ts // SECONDS_PER_DAY)
