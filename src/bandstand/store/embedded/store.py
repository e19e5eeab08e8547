"""The store that serves from a state directory: the parts of the embedded engine behind one protocol."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import Profile, StateKey
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.store.composition import ComposedLogs, ComposedTurns
from bandstand.store.embedded.decision_log import EmbeddedDecisions
from bandstand.store.embedded.deployment_log import EmbeddedDeployment
from bandstand.store.embedded.gain_follower import GainFollower
from bandstand.store.embedded.generation_log import EmbeddedGenerations
from bandstand.store.embedded.idempotency_keys import IdempotencyKeys
from bandstand.store.embedded.judgement_log import EmbeddedJudgements
from bandstand.store.embedded.loop_log import EmbeddedLoops
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.part_log import EmbeddedParts
from bandstand.store.embedded.reaction_log import EmbeddedReactions
from bandstand.store.embedded.retention import EmbeddedRetention
from bandstand.store.embedded.revocation_log import EmbeddedRevocations
from bandstand.store.embedded.reward_log import EmbeddedRewards
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.embedded.turn_queue import EmbeddedTurns
from bandstand.store.embedded.user_admin import EmbeddedUsers
from bandstand.store.protocol import Store
from bandstand.store.records import (
    AcceptedReward,
    Decision,
    Erasure,
    PolicyRef,
    PolicyTotals,
    Reward,
    StoreStatus,
    UserPage,
)
from bandstand.store.sqlite.writer import CommitObserver
from bandstand.store.tables import windows
from bandstand.store.tables.arms import ArmHistory
from bandstand.store.tables.gains import GainSums
from bandstand.store.tables.launches import LaunchEvent
from bandstand.store.tables.loop_health import LoopSums
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import ExperimentStart, Promotion
from bandstand.store.tables.reactions import LoggedReaction
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.shadows import Shadow, ShadowSums
from bandstand.store.tables.splits import HoldoutStart
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord
from bandstand.store.tables.windows import Activation, ClosedWindows, MetricSums


class EmbeddedStore(ComposedTurns, ComposedLogs, Store):
    """Keeps the events of one deployment under ``state_dir``, in one SQLite ledger that one process owns.

    What each method promises stands in :class:`bandstand.store.protocol.Store`; here stands only which part does it.

    It may be opened again after it was closed; nothing in memory outlives that.

    Args:
        state_dir: where everything is kept; made if absent.
        catalogue: the configured policies and schemas.
        options: how it behaves.
        clock: seconds since the epoch.
        observe: called after each commit.
    """

    def __init__(
        self,
        state_dir: Path,
        catalogue: Catalogue,
        *,
        options: StoreOptions | None = None,
        clock: Callable[[], float] = time.time,
        observe: CommitObserver | None = None,
    ) -> None:
        self._build_directory = partial(StateDirectory, state_dir, clock=clock, observe=observe)
        self._catalogue, self._options = catalogue, options or StoreOptions()
        self._join_parts()
        self._are_parts_fresh = True

    def _join_parts(self) -> None:
        self._directory = self._build_directory(self._catalogue, options=self._options)
        keys = IdempotencyKeys(self._directory)
        self._decisions = EmbeddedDecisions(self._directory)
        self._revocations = EmbeddedRevocations(self._directory)
        self._parts = EmbeddedParts(self._directory, self._decisions, self._revocations, keys)
        self._rewards = EmbeddedRewards(self._directory, self._decisions, self._parts, keys)
        self._reactions = EmbeddedReactions(self._directory, self._parts, self._revocations)
        self._users = EmbeddedUsers(self._directory, self._decisions, self._revocations)
        self._generations = EmbeddedGenerations(self._directory, self._users)
        self._deployment = EmbeddedDeployment(self._directory)
        self._loops = EmbeddedLoops(self._directory)
        self._turns = EmbeddedTurns(self._directory, self._decisions, keys)
        self._judgements = EmbeddedJudgements(self._directory, self._decisions, self._revocations)
        self._gains = GainFollower(self._directory)
        self._retention = EmbeddedRetention(self._directory, self._gains)

    # ── opening and closing ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def secret(self) -> bytes:
        return self._directory.secret

    @secret.setter
    def secret(self, secret: bytes) -> None:
        self._directory.secret = secret

    async def open(self) -> None:
        before = vars(self).copy()
        if not self._are_parts_fresh:
            self._join_parts()  # what the former ones have in memory may be older than the ledger by now
        try:
            await self._directory.open(self._retention.run, self._gains.run)
        except BaseException:
            vars(self).update(before)  # they are closed, and refuse what they are asked
            raise
        self._are_parts_fresh = False

    def reconfigure(self, catalogue: Catalogue, *, retention_days: int) -> None:
        """Have other policies, and keep events for another time, from the next opening on; it must be closed."""
        self._catalogue, self._options = catalogue, replace(self._options, retention_days=retention_days)
        self._are_parts_fresh = False

    async def close(self) -> None:
        await self._directory.close()

    def status(self) -> StoreStatus:
        return self._directory.status()

    async def apply_retention(self) -> int:
        """Apply retention now, which is else done every hour; returns how many users were touched."""
        return await self._retention.apply_retention()

    async def delete_log(self) -> None:
        """Delete every decision and reward until now; what was learned stays."""
        await self._retention.delete_log()

    async def find_decision_times(
        self, since: float | None = None, until: float | None = None
    ) -> tuple[float, float] | None:
        """When the first and the last decision of a range of time were made; ``None`` if there is none."""
        return await self._decisions.find_times(since, until)

    # ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_cached_profile(self, user_id: str) -> Profile | None:
        return self._users.get_cached_profile(user_id)

    async def load_profile(self, user_id: str) -> Profile:
        return await self._users.load_profile(user_id)

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        return await self._users.list_users(prefix, after, limit)

    async def count_users(self) -> int:
        return await self._users.count_users()

    async def reset(self, user_id: str, client: str) -> None:
        await self._users.reset(user_id, client)

    async def erase(self, user_id: str, client: str) -> Erasure:
        return await self._users.erase(user_id, client)

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_seq(self, ts: float) -> int:
        return self._directory.next_seq(ts)

    def next_seqs(self, ts: float, count: int) -> Sequence[int]:
        return self._directory.next_seqs(ts, count)

    def decide(self, decision: Decision) -> Awaitable[Decision]:
        return self._decisions.decide(decision)

    async def decide_together(self, decisions: Sequence[Decision]) -> bool:
        return await self._decisions.decide_together(decisions)

    def get_cached_decision(self, decision_id: str) -> Decision | None:
        return self._decisions.get_cached_decision(decision_id)

    async def find_decision(self, decision_id: str) -> Decision | None:
        return await self._decisions.find_decision(decision_id)

    async def find_receipt(self, decision_id: str) -> Decision | None:
        return await self._decisions.find_receipt(decision_id)

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        return await self._decisions.list_history(user_id, limit)

    # ── rewards ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def reward(self, reward: Reward, decision: Decision | None = None) -> Awaitable[AcceptedReward]:
        return self._rewards.reward(reward, decision)

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        return await self._rewards.find_reward_by_key(key)

    async def activate(
        self, decision_id: str, settings: RewardSettings | None, client: str, *, teaches: bool = True
    ) -> Activation:
        return await self._parts.activate(decision_id, settings, client, teaches=teaches)

    async def close_windows(self, limit: int | None = None, *, teaches: bool = True) -> ClosedWindows:
        return await self._parts.close_windows(limit, teaches=teaches)

    async def load_metric_sums(self) -> list[MetricSums]:
        return await self._directory.read(windows.load_metric_sums)

    async def has_awaiting_windows(self) -> bool:
        return await self._directory.read(windows.has_awaiting)

    # ── undo ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def select_rewards(self, selection: Selection) -> SelectedRewards:
        return await self._revocations.select_rewards(selection)

    async def has_revocations_since(self, seq: int) -> bool:
        return await self._revocations.has_revocations_since(seq)

    async def revoke(
        self, reward_seqs: Collection[int], *, cause: str, client: str, selection: Selection | None = None
    ) -> list[RevocableReward]:
        return await self._revocations.revoke(reward_seqs, cause=cause, client=client, selection=selection)

    async def list_undos(self, before: int, limit: int) -> list[UndoRecord]:
        return await self._revocations.list_undos(before, limit)

    async def list_reactions(self, after: int, since: float, limit: int) -> list[LoggedReaction]:
        return await self._reactions.list_reactions(after, since, limit)

    async def find_out_of_reach(self, since: float) -> tuple[int, float | None]:
        return await self._reactions.find_out_of_reach(since)

    async def reapply_reactions(self, found: Sequence[LoggedReaction], settings: RewardSettings, client: str) -> bool:
        return await self._reactions.reapply(found, settings, client)

    # ── the deployment as a whole ─────────────────────────────────────────────────────────────────────────────────────

    async def log_promotion(self, promotion: Promotion) -> None:
        await self._deployment.log_promotion(promotion)

    async def list_promotions(self) -> list[Promotion]:
        return await self._deployment.list_promotions()

    async def log_launch(self, event: LaunchEvent, *, after: int) -> LaunchEvent:
        del after  # it is the newest: there is no other process
        return await self._deployment.log_launch(event)

    async def list_launches(self) -> Sequence[LaunchEvent]:
        return await self._deployment.list_launches()

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        return await self._deployment.set_experiment(definition)

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        return await self._deployment.count_enrolled(experiment)

    async def set_holdout(self, definition: str | None) -> HoldoutStart | None:
        return await self._deployment.set_holdout(definition)

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        await self._deployment.set_shadows(policies)

    async def set_memory(self, change: MemoryChange) -> None:
        await self._deployment.set_memory(change)

    async def list_memory_changes(self) -> list[MemoryChange]:
        return await self._deployment.list_memory_changes()

    async def list_taught_rewards(self, user_id: str, key: StateKey) -> list[TaughtReward]:
        return await self._deployment.list_taught_rewards(user_id, key)

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        self._deployment.log_shadows(decision, shadow_picks)

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        return await self._deployment.load_shadows(decision)

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        return await self._deployment.load_shadow_sums()

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        return await self._deployment.load_policy_totals()

    async def load_loop_sums(self, days: int) -> LoopSums:
        return await self._deployment.load_loop_sums(days)

    # ── gains ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def follow_gains(self) -> None:
        await self._gains.follow_until(self._directory.last_seq)

    async def load_gain_sums(self) -> GainSums:
        return await self._gains.load()

    async def load_arms(self, split: int) -> ArmHistory:
        return await self._gains.load_arms(split)
