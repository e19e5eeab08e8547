"""The store of many processes: the parts of the PostgreSQL engine behind one protocol."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import Profile, StateKey
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.store.composition import ComposedLogs, ComposedTurns
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.decision_log import SharedDecisions
from bandstand.store.postgres.deployment_log import SharedDeployment
from bandstand.store.postgres.gain_log import SharedGains
from bandstand.store.postgres.generation_log import SharedGenerations
from bandstand.store.postgres.judgement_log import SharedJudgements
from bandstand.store.postgres.ledger import ObserveCommit, SharedLedger, SharedStoreOptions
from bandstand.store.postgres.loop_log import SharedLoops
from bandstand.store.postgres.part_log import SharedRewardParts
from bandstand.store.postgres.prior_log import SharedPriors
from bandstand.store.postgres.reaction_log import SharedReactions
from bandstand.store.postgres.revocation_log import SharedRevocations
from bandstand.store.postgres.reward_log import SharedRewards
from bandstand.store.postgres.silence_log import SharedSilences
from bandstand.store.postgres.turn_queue import SharedTurns
from bandstand.store.postgres.upkeep import Upkeep
from bandstand.store.postgres.user_admin import SharedUsers
from bandstand.store.protocol import Store
from bandstand.store.records import (
    AcceptedReward,
    Decision,
    Erasure,
    PolicyRef,
    PolicyTotals,
    Reward,
    StoreStatus,
    UnreadReward,
    UserPage,
)
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
from bandstand.store.user_protocol import DepartureListener


class SharedStore(ComposedTurns, ComposedLogs, Store):
    """Keeps the events of one deployment in PostgreSQL, for as many processes as there are.

    What each method promises stands in :class:`bandstand.store.protocol.Store`; here stands only which part does it.

    Args:
        address: where the ledger is; its tables are made if absent.
        catalogue: the configured policies and schemas.
        options: how it behaves.
        clock: seconds since the epoch.
        observe: called after each group of events.

    Attributes:
        upkeep: what this process does for all while it leads.
        priors: learned by whoever leads.
    """

    def __init__(
        self,
        address: LedgerAddress,
        catalogue: Catalogue,
        *,
        options: SharedStoreOptions | None = None,
        clock: Callable[[], float] = time.time,
        observe: ObserveCommit | None = None,
    ) -> None:
        options = options or SharedStoreOptions()
        self._ledger = SharedLedger(address, catalogue, options=options, clock=clock, observe=observe)
        self._gains = SharedGains(self._ledger)
        self.upkeep = Upkeep(self._ledger, self._gains)
        self._decisions = SharedDecisions(self._ledger)
        self._revocations = SharedRevocations(self._ledger, self._decisions)
        self._parts = SharedRewardParts(self._ledger, self._decisions, self._revocations)
        self._reactions = SharedReactions(self._ledger, self._parts, self._revocations)
        self._rewards = SharedRewards(self._ledger, self._decisions, self._parts)
        self._lanes = (
            *(self._decisions.lane, self._rewards.lane),
            *(self._decisions.lookups, self._ledger.users.catching_up),
        )
        self._silences = SharedSilences(self._ledger, self.upkeep)
        self._users = SharedUsers(self._ledger)
        self.priors = SharedPriors(self._ledger, self.upkeep)
        self._generations = SharedGenerations(self._ledger)
        self._deployment = SharedDeployment(self._ledger)
        self._loops = SharedLoops(self._ledger)
        self._turns = SharedTurns(self._ledger, self._decisions, self._rewards)
        self._judgements = SharedJudgements(self._ledger, self._decisions, self._revocations)

    # ── opening and closing ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def secret(self) -> bytes:
        return self._ledger.secret

    @secret.setter
    def secret(self, secret: bytes) -> None:
        self._ledger.secret = secret

    def reconfigure(self, catalogue: Catalogue, *, retention_days: int) -> None:
        """Have other policies, and keep events for another time, from the next opening on; it must be closed."""
        self._ledger.policies.reconfigure(catalogue)
        self._ledger.options = replace(self._ledger.options, retention_days=retention_days)

    async def open(self) -> None:
        for lane in self._lanes:
            lane.open()
        await self._ledger.open(*([self.upkeep.run, self._follow] if self._ledger.options.may_lead else []))

    async def _follow(self) -> None:
        await self._gains.run(lambda: self.upkeep.is_leader)

    async def close(self) -> None:
        for lane in self._lanes:
            await lane.close()
        await self._deployment.close()
        await self.upkeep.step_down()
        await self._ledger.close()

    def status(self) -> StoreStatus:
        pending = self._decisions.lane.pending + self._rewards.lane.pending
        return self._ledger.status(pending, is_leader=self.upkeep.is_leader)

    @property
    def ledger(self) -> SharedLedger:
        """What a console's questions go through."""
        return self._ledger

    # ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_cached_profile(self, user_id: str) -> Profile | None:
        return self._users.get_cached_profile(user_id)

    async def load_profile(self, user_id: str) -> Profile:
        return await self._users.load_profile(user_id)

    def is_away(self) -> bool:
        return self._ledger.is_away

    def is_behind(self, user_id: str) -> bool:
        return self._users.is_behind(user_id)

    async def refresh_profile(self, user_id: str) -> int | None:
        return await self._users.refresh_profile(user_id)

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        return await self._users.list_users(prefix, after, limit)

    async def count_users(self) -> int:
        return await self._users.count_users()

    async def reset(self, user_id: str, client: str) -> None:
        await self._users.reset(user_id, client)

    async def erase(self, user_id: str, client: str) -> Erasure:
        return await self._users.erase(user_id, client)

    def subscribe_departures(self, listener: DepartureListener) -> None:
        self._ledger.departures.subscribe(listener)

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_seq(self, ts: float) -> int:
        return self._ledger.next_seq(ts)

    def next_seqs(self, ts: float, count: int) -> Sequence[int]:
        return [self._ledger.next_seq(ts) for _ in range(count)]

    def decide(self, decision: Decision) -> Awaitable[Decision]:
        return self._decisions.decide(decision)

    async def find_decision(self, decision_id: str) -> Decision | None:
        return await self._decisions.find_decision(decision_id)

    async def decide_together(self, decisions: Sequence[Decision]) -> bool:
        return await self._decisions.decide_together(decisions)

    def get_cached_decision(self, decision_id: str) -> Decision | None:
        return self._decisions.get_cached_decision(decision_id)

    async def find_receipt(self, decision_id: str) -> Decision | None:
        return await self._decisions.find_acknowledged(decision_id)

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        return await self._decisions.list_history(user_id, limit)

    async def find_decision_times(
        self, since: float | None = None, until: float | None = None
    ) -> tuple[float, float] | None:
        """When the first and the last decision of a range of time were made; ``None`` if there is none."""
        return await self._decisions.find_times(since, until)

    async def delete_log(self) -> None:
        """Delete every decision and reward until now; what was learned stays."""
        await self.upkeep.delete_log()

    # ── rewards ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def reward(
        self,
        reward: Reward,
        decision: Decision | None = None,  # noqa: ARG002 (another process may have changed it)
    ) -> Awaitable[AcceptedReward]:
        return self._rewards.reward(reward)

    def reward_unread(self, reward: UnreadReward) -> Awaitable[AcceptedReward | None]:
        return self._rewards.reward_unread(reward)

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        return await self._rewards.find_reward_by_key(key)

    async def activate(
        self, decision_id: str, settings: RewardSettings | None, client: str, *, teaches: bool = True
    ) -> Activation:
        return await self._parts.activate(decision_id, settings, client, teaches=teaches)

    async def close_windows(self, limit: int | None = None, *, teaches: bool = True) -> ClosedWindows:
        return await self._silences.close_windows(limit, teaches=teaches)

    async def has_awaiting_windows(self) -> bool:
        return await self._silences.has_awaiting_windows()

    async def load_metric_sums(self) -> list[MetricSums]:
        return await self._parts.load_metric_sums()

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

    async def find_out_of_reach(self, since: float) -> tuple[int, float | None]:
        return await self._revocations.find_out_of_reach(since)

    async def list_reactions(self, after: int, since: float, limit: int) -> list[LoggedReaction]:
        return await self._reactions.list_reactions(after, since, limit)

    async def reapply_reactions(self, found: Sequence[LoggedReaction], settings: RewardSettings, client: str) -> bool:
        return await self._reactions.reapply(found, settings, client)

    # ── the deployment as a whole ─────────────────────────────────────────────────────────────────────────────────────

    def subscribe(self, on_change: Callable[[], Awaitable[None]]) -> None:
        self._deployment.subscribe(on_change)

    def subscribe_restores(self, listener: Callable[[], Awaitable[None]]) -> None:
        self._deployment.subscribe_restores(listener)

    async def log_promotion(self, promotion: Promotion) -> None:
        await self._deployment.log_promotion(promotion)

    async def list_promotions(self) -> list[Promotion]:
        return await self._deployment.list_promotions()

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        return await self._deployment.set_experiment(definition)

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        return await self._deployment.count_enrolled(experiment)

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

    async def announce_change(self) -> None:
        await self._deployment.raise_epoch()

    # ── gains ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set_holdout(self, definition: str | None) -> HoldoutStart | None:
        return await self._deployment.set_holdout(definition)

    async def log_launch(self, event: LaunchEvent, *, after: int) -> LaunchEvent:
        return await self._deployment.log_launch(event, after=after)

    async def list_launches(self) -> Sequence[LaunchEvent]:
        return await self._deployment.list_launches()

    async def follow_gains(self) -> None:
        await self._gains.follow_gains()

    async def load_gain_sums(self) -> GainSums:
        return await self._gains.load_gain_sums()

    async def load_arms(self, split: int) -> ArmHistory:
        return await self._gains.load_arms(split)
