"""The population priors of a deployment of many processes: whoever leads learns them, and all believe the same.

What is learned from is read from the ledger, not taken from the rewards of one process: of the users who have taught
something, those in the sample, and each again only if their version has moved. A prior that was learned from somebody
who was erased since, or from what was taken back, is asked for anew; whoever asked waits until the leader has made it.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import structlog

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.reservoir import compute_sampling_key
from bandstand.errors import BandstandError
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.learning.prior_pool import PriorPool
from bandstand.store.prior_protocol import PriorLedger, PriorMark
from bandstand.store.protocol import Store
from bandstand.store.records import Reward

_POLL_S = 1.0
_LOOK_S = 0.2
"""Between two looks of somebody who waits."""
_WAIT_S = 30.0
_NEVER = PriorMark(0, 0, 0, is_there=False)

log = structlog.get_logger("bandstand")


class SharedPriorRefresher(PopulationPriorRefresher):
    """The learned priors of all policies that ask for one, the same in every process.

    Args:
        catalogue: the configured policies.
        store: where users' sums come from.
        priors: where priors are kept.
        refresh_rewards: as in the base class.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        priors: PriorLedger,
        *,
        refresh_rewards: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(catalogue, store, refresh_rewards=refresh_rewards, clock=clock)
        self._priors = priors
        self._marks: Mapping[str, PriorMark] = {}
        self._taken_up: dict[str, int] = {}  # generations that are believed here
        self._versions: dict[str, int] = {}  # of the users whose sums were read, as they were
        self._counted = 0  # rewards, as those were read
        self._needed = 0  # more of them, before they are read again

    async def open(self) -> None:
        """Believe what was learned last, and begin to follow; the store must be open."""
        self._forget()
        await super().open()
        self._store.subscribe_restores(self._begin_anew)
        with suppress(BandstandError):
            async with self._fit_lock:
                await self._follow()

    def _forget(self) -> None:
        self._taken_up.clear()
        self._versions.clear()
        self._counted = self._needed = 0

    async def _begin_anew(self) -> None:
        """Believe what the ledger has: it was put back to an earlier moment."""
        async with self._fit_lock:
            self._forget()
            self._pools = {name: PriorPool(pool.policy, self._store.secret) for name, pool in self._pools.items()}
            await self._follow()

    async def _run_refreshes(self, members: dict[str, list[str] | None]) -> None:
        del members
        self._loaded.set()
        while True:
            with suppress(BandstandError):  # the database is away: what is believed stands
                await self.look()
            await asyncio.sleep(_POLL_S)

    async def look(self) -> None:
        """Believe what another process has learned, and learn, if this one leads."""
        async with self._fit_lock:
            await self._follow()
            if self._priors.is_leading:
                await self._lead()

    # ── what the base class is told of ────────────────────────────────────────────────────────────────────────────

    def apply_reward(self, reward: Reward) -> None:
        """Do nothing: it is read from the ledger by whoever leads."""

    def list_members(self) -> set[str]:
        """Nobody: whom a prior was learned from stands in the ledger, and an erasure looks there."""
        return set()

    def apply_reset(self, user_id: str) -> None:
        """Let go of a user who was reset, if this process learns from them."""
        for pool in self._pools.values():
            pool.is_reset |= pool.reservoir.remove(user_id)

    async def apply_erasure(self, user_id: str) -> int:
        """Wait until no prior is one that an erased user had a part in; returns how many were."""
        self.apply_reset(user_id)
        return len(await self._wait_for_others())

    async def apply_revocation(self, user_ids: Collection[str], seq: int) -> list[str]:
        """Have every prior that these users had a part in made again, and wait for it."""
        del seq
        if not await self._priors.mark(users=user_ids):
            return []
        return await self._wait_for_others()

    async def reload_members(self, policy: str) -> None:
        """Have a prior made again from what users have taught, and wait for it."""
        await self.refresh_prior(policy)

    async def refresh_prior(self, policy: str) -> None:
        """The same."""
        if await self._priors.mark(policies=[policy]):
            await self._wait_for_others()

    async def _wait_for_others(self) -> list[str]:
        """Wait until what was asked for up to now is there; some seconds at most, for nobody may lead."""
        wanted = {name: each.wanted for name, each in (await self._priors.list_marks()).items() if each.is_stale}
        deadline = time.monotonic() + _WAIT_S
        while True:
            await self.look()
            if all(self._marks.get(name, _NEVER).settled >= number for name, number in wanted.items()):
                return sorted(wanted)
            if time.monotonic() > deadline:
                log.warning("prior not learned again yet", policies=sorted(wanted))
                return sorted(wanted)
            await asyncio.sleep(_LOOK_S)

    # ── following ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        self._marks = await self._priors.list_marks()
        for name, pool in self._pools.items():
            mark = self._marks.get(name, _NEVER)
            if mark.is_there and mark.generation != self._taken_up.get(name):
                await self._take_up(pool)

    async def _take_up(self, pool: PriorPool) -> None:
        document = await self._priors.load(pool.policy.name)
        if document is None:  # it was taken out meanwhile
            return
        self._taken_up[pool.policy.name] = document["generation"]
        try:
            await asyncio.to_thread(pool.load_document, {**document, "members": (), "former": ()})
        except (ValueError, KeyError, TypeError):  # of another version, or for other features
            log.exception("prior not read", policy=pool.policy.name)

    # ── leading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _lead(self) -> None:
        """Learn what is due: by new rewards, or because what is believed is to be believed no more."""
        stale = {name for name in self._pools if self._marks.get(name, _NEVER).is_stale}
        urgent = bool(stale) or any(pool.is_reset for pool in self._pools.values())
        rewards = await self._priors.count_rewards()
        if not urgent and (rewards - self._counted < self._needed or self._schedule.compute_rest(time.monotonic())):
            return
        if stale:
            self._versions.clear()  # what counts may have changed without a version
        marks = self._marks
        await self._read_sample()
        self._counted, self._needed = rewards, self._schedule.count_needed(0)
        for name, pool in self._pools.items():
            count = sum(state.count for state in pool.reservoir.members().values())
            new = count - (pool.prior.rewards if pool.generation else 0)
            least = self._schedule.count_needed(pool.prior.rewards, pool.policy.refresh_rewards)
            is_anew = name in stale or pool.is_reset
            if is_anew or (count and new >= least):
                await self._learn(pool, marks.get(name, _NEVER), cold=is_anew)
            elif count:
                self._needed = max(1, min(self._needed, least - new))

    async def _learn(self, pool: PriorPool, mark: PriorMark, *, cold: bool) -> None:
        pool.generation = max(pool.generation, mark.generation)  # the next one's number is nobody else's
        await self._fit_prior(pool, cold=cold)

    async def _read_sample(self) -> None:
        """Read the sums of the users with the smallest keys, where they are not those that were read before."""
        capacity = max((pool.capacity for pool in self._pools.values()), default=0)
        sample: list[tuple[int, str, int]] = []
        seq = self._store.next_seq(self._clock())
        async for users in self._priors.iter_rewarded_users():
            keyed = [(compute_sampling_key(self._store.secret, each.user_id), *each) for each in users]
            sample = heapq.nsmallest(capacity, [*sample, *keyed])
        if not self._versions.keys() <= {user_id for _, user_id, _ in sample}:
            self._versions.clear()  # who takes the place of those who left may have been read before
        if not self._versions:
            for pool in self._pools.values():
                for user_id in list(pool.reservoir):
                    pool.reservoir.remove(user_id)
        for _, user_id, version in sample:
            if self._versions.get(user_id) != version:
                profile = await self._store.load_profile(user_id)
                for pool in self._pools.values():
                    pool.update_reservoir(profile)
                self._versions[user_id] = version
        for pool in self._pools.values():
            pool.seq = seq

    async def _write_prior(self, pool: PriorPool) -> None:
        """Let all believe what was learned; if it cannot be written, believe what is there."""
        name, mark = pool.policy.name, self._marks.get(pool.policy.name, _NEVER)
        body: dict[str, Any] = {**pool.build_header(), **pool.prior.to_json()}
        pool.changed = False
        self._taken_up.pop(name, None)
        pool.checksum = await self._priors.write(name, body, pool.learned_from, settled=mark.wanted)
        if pool.checksum is not None:
            self._taken_up[name] = pool.generation
            self._marks = {**self._marks, name: PriorMark(pool.generation, mark.wanted, mark.wanted, is_there=True)}
