"""What the deployment does as a whole: promotions, experiments, policies in the shadow, and counts over all users."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import StateKey
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.learners import replay
from bandstand.store.records import Decision, PolicyRef, PolicyTotals, to_time
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import decisions, launches, loop_health, memories, promotions, shadows, splits
from bandstand.store.tables.launches import LaunchEvent, number_event
from bandstand.store.tables.loop_health import LoopSums
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import ExperimentStart, Promotion
from bandstand.store.tables.shadows import INSERT_SHADOW, Shadow, ShadowSums
from bandstand.store.tables.splits import HoldoutStart


class EmbeddedDeployment:
    """What a state directory holds of no single user, as :class:`bandstand.store.protocol.DeploymentLog` has it."""

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory

    # ── promotions and experiments ────────────────────────────────────────────────────────────────────────────────

    async def log_promotion(self, promotion: Promotion) -> None:
        """Log a change of the active policy, synced."""
        seq = self._directory.next_seq(promotion.ts)
        await self._directory.run_exclusively(partial(promotions.log_promotion, seq=seq, promotion=promotion))

    async def list_promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""
        return await self._directory.read(promotions.list_promotions)

    async def log_launch(self, event: LaunchEvent) -> LaunchEvent:
        """Log an event of a launch, synced; there is no other process that could have logged one since."""
        seq = self._directory.next_seq(event.ts)
        kept = number_event(event, seq)
        await self._directory.run_exclusively(partial(launches.log_launch, event=kept))
        return kept

    async def list_launches(self) -> Sequence[LaunchEvent]:
        """Every event of every launch, the oldest first."""
        return await self._directory.read(launches.list_launches)

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any; one of the same definition as the last continues."""
        directory = self._directory
        running = await directory.read(promotions.find_running_experiment, definition)
        if running is None and (definition is not None or await directory.read(promotions.is_experiment_running)):
            ts = directory.clock()
            seq = directory.next_seq(ts)
            await directory.run_exclusively(partial(promotions.log_experiment, seq=seq, ts=ts, definition=definition))
            running = None if definition is None else ExperimentStart(seq, ts)
        return running

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return await self._directory.read(promotions.count_enrolled, experiment)

    async def set_holdout(self, definition: str | None) -> HoldoutStart | None:
        """Say who is held out from now on, if anybody; a holdout of the same definition as the last continues."""
        directory = self._directory
        running = await directory.read(splits.find_running_holdout, definition)
        if running is None and (definition is not None or await directory.read(splits.is_holdout_running)):
            ts = directory.clock()
            seq = directory.next_seq(ts)
            await directory.run_exclusively(partial(splits.log_holdout, seq=seq, ts=ts, definition=definition))
            running = None if definition is None else HoldoutStart(seq, ts)
        return running

    # ── shadows ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on."""
        directory, registry = self._directory, self._directory.registry
        if list(policies) != registry.get_shadows():
            ts = directory.clock()
            seq = directory.next_seq(ts)
            policy_ids = [registry.get_id(ref) for ref in policies]
            await directory.run_exclusively(partial(shadows.log_shadow_policies, seq=seq, ts=ts, policy_ids=policy_ids))
            registry.record_shadows(seq, policies)

    async def set_memory(self, change: MemoryChange) -> None:
        """Log that a policy's rewards count differently from now on, and sum everybody's again as they are met."""
        directory = self._directory
        seq = directory.next_seq(change.ts)
        await directory.run_exclusively(partial(memories.log_memory_change, seq=seq, change=change))
        directory.registry.record_memory(change)
        directory.users.drop_all()

    async def list_memory_changes(self) -> list[MemoryChange]:
        """Every change of a policy's memory, the oldest first."""
        return await self._directory.read(memories.list_memory_changes)

    async def list_taught_rewards(self, user_id: str, key: StateKey) -> list[TaughtReward]:
        """What a policy was taught of a user since the last reset, the oldest first."""
        directory = self._directory
        return await directory.read(replay.list_taught_rewards, directory.registry, user_id, key)

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done with a decision that was handed over."""
        registry = self._directory.registry
        registry.has_shadow_rows = True
        rows: list[tuple[str, Row]] = [
            (INSERT_SHADOW, each.build_row(decision.seq, registry.get_id(each.policy))) for each in shadow_picks
        ]

        def on_done(_: object, error: BaseException | None) -> None:
            if error is not None:
                self._directory.record_error(str(error))

        self._directory.submit_rows(rows, on_done)

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""
        return await self._directory.read(shadows.load_shadows, self._directory.registry.get_refs(), decision.seq)

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """The result of it, of every definition of a policy that was ever in the shadow."""
        return await self._directory.read(shadows.load_shadow_sums, self._directory.registry.get_refs())

    # ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return await self._directory.read(decisions.load_policy_totals)

    async def load_loop_sums(self, days: int) -> LoopSums:
        """Sums about the health of the learning loop, by policy, and by day for the newest ``days``."""
        # Numbers may run ahead of a clock that was set back.
        newest = loop_health.to_day(min(to_time(self._directory.last_seq), self._directory.clock()))
        return await self._directory.read(loop_health.load_loop_sums, newest - days + 1)
