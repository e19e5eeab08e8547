"""The population priors of a running deployment: fed by rewards, refitted beside the requests, kept on disk.

A reward hands the user's new sums to a reservoir, which costs a look-up. After enough of them a thread refits the prior
of that policy from the reservoir alone; no document is read for it. When is enough, and how much of a core it may take,
:class:`~bandstand.learning.refit_schedule.RefitSchedule` says. A new prior is a new object, by which every cached
posterior notices at its next use that it is out of date. What users have taught is stored without any prior.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from bandstand.asyncio_tasks import cancel_task
from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.disjoint import compute_block_prior
from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.bandit.reservoir import compute_sampling_key
from bandstand.bandit.ridge import Prior
from bandstand.errors import BandstandError
from bandstand.learning.prior_pool import PriorPool
from bandstand.learning.refit_schedule import RefitSchedule
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.protocol import Store
from bandstand.store.records import PolicyRef, Reward

_PAGE_SIZE = 1000
_LOADED_TOGETHER = 16
"""Users whose sums a start reads in one go."""

log = structlog.get_logger("bandstand")


class PopulationPriorRefresher:
    """The learned priors of all policies that have one (``prior = "auto"`` or ``"population"``).

    Args:
        catalogue: the configured policies.
        store: where users' sums come from at a start.
        files: where priors are kept; without, they live as long as the process.
        refresh_rewards: rewards after which a prior is refitted, at the least; if it is not given, as they grow.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        files: PriorFiles | None = None,
        *,
        refresh_rewards: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.reconfigure(catalogue)
        self._store = store
        self._files = files
        self._schedule = RefitSchedule(refresh_rewards)
        self._clock = clock
        self._pools: dict[str, PriorPool] = {}
        self._refresh_due = asyncio.Event()
        self._loaded = asyncio.Event()
        self._fit_lock = asyncio.Lock()
        self._refresh_task: asyncio.Task[None] | None = None

    def reconfigure(self, catalogue: Catalogue) -> None:
        """Learn for other policies from the next opening on; it must be closed."""
        self._policies = [policy for policy in catalogue.policies.values() if policy.learns_prior]

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Load the stored priors, and begin to learn; the store must be open."""
        self._loaded.clear()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="population")
        self._pools = {policy.name: PriorPool(policy, self._store.secret) for policy in self._policies}
        self._store.subscribe_departures(self)
        members = {name: self._load_prior(pool) for name, pool in self._pools.items()}
        self._refresh_task = asyncio.create_task(self._run_refreshes(members))

    async def close(self) -> None:
        """Stop learning, and keep who was in the reservoirs; the store must still be open."""
        if self._refresh_task is None:
            return
        await cancel_task(self._refresh_task)
        self._refresh_task = None
        async with self._fit_lock:
            for pool in self._pools.values():
                if pool.generation and pool.changed:
                    await self._write_prior(pool)
        await asyncio.to_thread(self._thread.shutdown)
        self._pools = {}

    async def _run_refreshes(self, members: dict[str, list[str] | None]) -> None:
        try:
            await self._fill_reservoirs(members)
        finally:
            self._loaded.set()
        while True:
            await self._refresh_due.wait()
            await asyncio.sleep(self._schedule.compute_rest(time.monotonic()))
            self._refresh_due.clear()
            due = [pool for pool in self._pools.values() if self._is_due(pool)]
            for pool in due:
                async with self._fit_lock:
                    await self._fit_prior(pool, 1 / len(due))

    # ── the hot path ──────────────────────────────────────────────────────────────────────────────────────────────

    def get_prior(self, policy: Policy, user_id: str) -> Prior:
        """What is believed of a user before their first reward."""
        return self.get_priors(policy, (user_id,))[0]

    def get_priors(self, policy: Policy, user_ids: Sequence[str]) -> list[Prior]:
        """The same of each of some users."""
        pool = self._pools.get(policy.name)
        return [policy.prior] * len(user_ids) if pool is None else pool.prior.get_priors(user_ids)

    def get_shared_prior(self, policy: Policy) -> Prior:
        """What is believed of a model that nobody has met: of blocks, of one that nothing is known of."""
        return compute_block_prior(self.get_prior(policy, ""))

    def build_summary(self) -> dict[str, dict[str, Any]]:
        """Which prior each policy has now: its generation (0 for none yet), and from what it was learned."""
        return {name: pool.build_entry() for name, pool in self._pools.items()}

    def apply_reward(self, reward: Reward) -> None:
        """Take in what a user has taught, just after they taught it."""
        if not reward.applied:
            return
        self._count_reward(reward.policy, reward)
        for shadow, _ in reward.shadow_updates:
            self._count_reward(shadow, reward)

    def _count_reward(self, policy: PolicyRef, reward: Reward) -> None:
        pool = self._pools.get(policy.name)
        if pool is not None and (profile := self._store.get_cached_profile(reward.user_id)) is not None:
            pool.new_rewards += pool.update_reservoir(profile)
            pool.seq = reward.seq
            pool.changed = True
            if self._is_due(pool):
                self._refresh_due.set()

    def list_members(self) -> set[str]:
        """The users whom priors were learned from, or will be."""
        pools = self._pools.values()
        return {user_id for pool in pools for members in (pool.reservoir, pool.learned_from) for user_id in members}

    # ── users who go ──────────────────────────────────────────────────────────────────────────────────────────────

    def apply_reset(self, user_id: str) -> None:
        """Release a user who was reset; the priors do with the next refresh, as soon as the schedule allows."""
        for pool in self._pools.values():
            if pool.reservoir.remove(user_id):
                pool.changed = True
                pool.is_reset = True
                self._refresh_due.set()

    async def apply_erasure(self, user_id: str) -> int:
        """Make every prior that the user had a part in again without them; returns how many those were.

        A file that names the user and cannot be written, or belongs to no prior in use, goes; the prior is then learned
        from the users at the next start.
        """
        if self._refresh_task is not None:
            await self._loaded.wait()
        left = {name for name, pool in self._pools.items() if pool.reservoir.remove(user_id)}
        affected = 0
        for name, pool in self._pools.items():
            async with self._fit_lock:  # a fit under way may be learning from them still
                if pool.generation and (name in left or user_id in pool.learned_from or user_id in pool.on_disk):
                    await self._fit_prior(pool, cold=True)
                    affected += 1
        unlearned = 0
        if self._files is not None:
            kept_policies = {pool.policy.name for pool in self._pools.values() if user_id not in pool.on_disk}
            unlearned = await asyncio.to_thread(_delete_files, self._files, kept_policies, user_id)
        return affected + unlearned

    async def apply_revocation(self, user_ids: Collection[str], seq: int) -> list[str]:
        """Make every prior that these users had a part in again, from what is left of their sums.

        Where nothing is open yet, the next start will: a prior that is older than what was taken back is not believed.

        Args:
            user_ids: users of whom rewards were taken back.
            seq: an event number from after that.

        Returns:
            The policies whose prior was made again.
        """
        if self._refresh_task is not None:
            await self._loaded.wait()
        again = []
        for name, pool in self._pools.items():
            async with self._fit_lock:
                members = [user_id for user_id in user_ids if user_id in pool.reservoir]
                for user_id in members:
                    pool.update_reservoir(await self._find_profile(user_id))
                pool.seq, pool.changed = max(pool.seq, seq), True
                if pool.generation and not (pool.learned_from.isdisjoint(user_ids) and not members):
                    await self._fit_prior(pool, cold=True)
                    again.append(name)
        return again

    async def reload_members(self, policy: str) -> None:
        """Read what the reservoir's users taught again, and learn the prior from it: what counts has changed."""
        await self._loaded.wait()
        pool = self._pools.get(policy)
        if pool is None:
            return
        async with self._fit_lock:
            for user_id in list(pool.reservoir):
                pool.update_reservoir(await self._store.load_profile(user_id))
            pool.changed = True
            if pool.generation:
                await self._fit_prior(pool, cold=True)

    async def refresh_prior(self, policy: str) -> None:
        """Learn one policy's prior again from its reservoir, from the base prior until it converges."""
        await self._loaded.wait()
        async with self._fit_lock:
            await self._fit_prior(self._pools[policy], cold=True)

    # ── beside it ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_due(self, pool: PriorPool) -> bool:
        prior, known = pool.prior, pool.needed
        if known is None or known[0] is not prior:
            known = prior, self._schedule.count_needed(prior.rewards, pool.policy.refresh_rewards)
            pool.needed = known
        return pool.is_reset or pool.new_rewards >= known[1]

    async def _fit_prior(self, pool: PriorPool, share: float = 1.0, *, cold: bool = False) -> None:
        """Replace the prior by what the reservoir supports now; if that fails the old one stands."""
        members, seq = pool.start_refresh(), pool.seq
        earlier = None if cold else pool.prior
        fit = partial(pool.policy.fit_prior, members, earlier, share=share)
        began = time.perf_counter()
        try:
            prior = await asyncio.get_running_loop().run_in_executor(self._thread, self._schedule.measure_refit, fit)
        except (ValueError, ArithmeticError):  # numpy's LinAlgError is a ValueError
            log.exception("prior not learned", policy=pool.policy.name, users=len(members))
            return
        learned_at = datetime.fromtimestamp(self._clock(), UTC).isoformat()
        pool.replace_prior(prior, frozenset(members), seq, learned_at)
        log.info(
            "prior learned",
            policy=pool.policy.name,
            generation=pool.generation,
            users=prior.users,
            rewards=prior.rewards,
            seconds=round(time.perf_counter() - began, 3),
        )
        await self._write_prior(pool)

    async def _write_prior(self, pool: PriorPool) -> None:
        if self._files is None:
            return
        files, name, header, prior = self._files, pool.policy.name, pool.build_header(), pool.prior
        members, former = frozenset(pool.reservoir), pool.learned_from.difference(pool.reservoir)
        pool.changed = False  # whoever joins while it is written is not in it

        def write() -> str:  # in the thread, because there may be many numbers
            return files.write(
                name, {**header, **prior.to_json(), "members": sorted(members), "former": sorted(former)}
            )

        try:
            pool.checksum = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._schedule.measure_write, write
            )
        except OSError:
            log.exception("prior not kept", policy=pool.policy.name)
            pool.changed = True
            return
        except asyncio.CancelledError:  # the service stops, and writes it then
            pool.changed = True
            raise
        pool.on_disk = members | former

    def _load_prior(self, pool: PriorPool) -> list[str] | None:
        """Believe the kept prior; returns the users it was learned from, ``None`` if there is no such file."""
        if self._files is None or (document := self._files.load(pool.policy.name)) is None:
            return None
        try:
            return pool.load_document(document)
        except (ValueError, KeyError, TypeError):
            self._files.set_aside(pool.policy.name)
            return None

    async def _fill_reservoirs(self, members: dict[str, list[str] | None]) -> None:
        """Fill each reservoir: with the users it held, or where nobody knows, with the sample it would have held."""
        unknown = [pool.capacity for name, pool in self._pools.items() if members[name] is None]
        sample: list[str] = []
        try:
            sample = await self.select_sample(max(unknown)) if unknown else []
        except BandstandError as error:  # as below
            log.warning("no sample of users", error=error.detail)
        for name, pool in self._pools.items():
            await self._fill_reservoir(pool, members[name], sample[: pool.capacity])

    async def _fill_reservoir(self, pool: PriorPool, members: list[str] | None, sample: list[str]) -> None:
        """Fill a reservoir with the users it held, or with a sample."""
        began = self._store.next_seq(self._clock())
        user_ids = sample if members is None else members
        try:
            for start in range(0, len(user_ids), _LOADED_TOGETHER):
                chunk = user_ids[start : start + _LOADED_TOGETHER]
                for profile in await asyncio.gather(*map(self._find_profile, chunk)):
                    if profile.user_id not in pool.reservoir:
                        pool.update_reservoir(profile)
                        pool.seq = max(pool.seq, profile.seq)
                await asyncio.sleep(0)
            revoked = pool.generation > 0 and await self._store.has_revocations_since(pool.learned_seq)
            if revoked:
                pool.seq = max(pool.seq, began)  # what was taken back by then is out of what was read
            former = pool.on_disk.difference(members or ())
            gone = [user_id for user_id in former if not (await self._store.load_profile(user_id)).policies]
        except BandstandError as error:  # the store is closing, or its disk fails: rewards fill the reservoir too
            log.warning("reservoir not filled", policy=pool.policy.name, error=error.detail)
            return
        gone += [user_id for user_id in members or () if user_id not in pool.reservoir]
        anew = bool(gone) or revoked
        rewards = sum(state.count for state in pool.reservoir.members().values())
        if anew or (not pool.generation and rewards >= self._schedule.count_needed(0)):
            async with self._fit_lock:
                await self._fit_prior(pool, cold=anew)

    async def select_sample(self, count: int) -> list[str]:
        """The ids that a reservoir of all known users would hold."""
        smallest: list[tuple[int, str]] = []  # in order
        async for user_ids in self._iter_user_ids():
            keyed = [(compute_sampling_key(self._store.secret, user_id), user_id) for user_id in user_ids]
            if len(smallest) == count:
                keyed = [entry for entry in keyed if entry < smallest[-1]]  # soon a few of each page
            smallest = sorted([*smallest, *keyed])[:count]
        return [user_id for _, user_id in smallest]

    async def _find_profile(self, user_id: str) -> Profile:
        return self._store.get_cached_profile(user_id) or await self._store.load_profile(user_id)

    async def _iter_user_ids(self) -> AsyncIterator[list[str]]:
        after: int | None = 0
        while after is not None:
            page = await self._store.list_users("", after, _PAGE_SIZE)
            yield page.users
            after = page.next


def _delete_files(files: PriorFiles, kept_policies: set[str], user_id: str) -> int:
    """Delete the files that name a user, but for the policies in ``kept_policies``; returns how many went."""
    documents = ((name, files.read(name) or {}) for name in files.list_policies() - kept_policies)
    named = [name for name, it in documents if user_id in {*it.get("members", ()), *it.get("former", ())}]
    return sum(files.delete(name) for name in named)
