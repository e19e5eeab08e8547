"""The memory store: a reference model of what a store promises, for tests; it lives as long as its process."""

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import islice
from time import time

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import Profile, StateKey
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.store.composition import ComposedTurns
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
    to_time,
)
from bandstand.store.tables.generations import LoggedGeneration, PromptTotals, TipOrigin
from bandstand.store.tables.loop_health import LoopSums, to_day
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import ExperimentStart
from bandstand.store.tables.reactions import LoggedReaction
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord
from bandstand.store.tables.windows import Activation, ClosedWindows, MetricSums
from bandstand.testing.memory_deployment import MemoryDeployment
from bandstand.testing.memory_events import MemoryEvents
from bandstand.testing.memory_gains import MemoryGains
from bandstand.testing.memory_loops import MemoryLoops
from bandstand.testing.memory_reactions import MemoryReactions
from bandstand.testing.memory_rewards import MemoryRewards
from bandstand.testing.memory_selection import select_rewards
from bandstand.testing.memory_shadows import MemoryShadowLog
from bandstand.testing.memory_turns import MemoryTurns


class MemoryStore(MemoryLoops, MemoryGains, MemoryShadowLog, ComposedTurns, Store):
    """Profiles and events in dictionaries; every method settles at once.

    Args:
        catalogue: the configured policies.
        clock: seconds since the epoch.
        secret: keys the draws; random if not given.
    """

    _turns: MemoryTurns

    def __init__(self, catalogue: Catalogue, *, clock: Callable[[], float] = time, secret: bytes | None = None) -> None:
        self.secret = secret or secrets.token_bytes(32)
        self._clock = clock
        super().__init__(MemoryEvents(catalogue, clock), clock)
        self._turns = self._judgements = MemoryTurns(self._events)
        self._undos: list[tuple[str | None, UndoRecord]] = []  # beside whose it is, of one decision's reward
        self._erased: dict[str, int] = {}
        self._deployment = MemoryDeployment(self._events, clock)
        self._rewards = MemoryRewards(self._events, clock)
        self._reactions = MemoryReactions(self._events, clock)

    async def open(self) -> None:
        """Nothing to own."""

    async def close(self) -> None:
        """Nothing to write."""

    def status(self) -> StoreStatus:
        """Always ready; nothing is durable."""
        return StoreStatus(durability="memory", warm_users=len(self._events.users))

    def get_cached_profile(self, user_id: str) -> Profile | None:
        """The user's profile if there is one."""
        user = self._events.users.get(user_id)
        return None if user is None else user.profile

    async def load_profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""
        return self._events.get_user(user_id).profile

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be handed over."""
        return self._events.sequence.next(ts)

    def decide(self, decision: Decision) -> Awaitable[Decision]:
        """Log a decision and count it."""
        stands = self._log_decision(decision)

        async def get_standing() -> Decision:
            return stands

        return get_standing()

    async def decide_together(self, decisions: Sequence[Decision]) -> bool:
        """Log decisions, all or none."""
        is_free = self._events.decisions.keys().isdisjoint(each.decision_id for each in decisions)
        for each in decisions if is_free else ():
            self._log_decision(each)
        return is_free

    def _log_decision(self, decision: Decision) -> Decision:
        earlier = self._events.decisions.get(decision.decision_id)
        if earlier is not None:
            return earlier
        user = self._events.register_user(decision.user_id)
        self._events.decisions[decision.decision_id] = decision
        user.decisions.append(decision)
        user.profile.apply_decision(decision.seq, decision.policy.key, decision.ts, exploring=decision.exploring)
        self._deployment.enrol(decision)
        self._events.sums.add_decision(decision)
        return decision

    def reward(
        self,
        reward: Reward,
        decision: Decision | None = None,  # noqa: ARG002 (to look it up is cheap)
    ) -> Awaitable[AcceptedReward]:
        """Log a reward and teach it, once."""
        accepted = self._rewards.log(reward)

        async def get_standing() -> AcceptedReward:
            return accepted

        return get_standing()

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key."""
        return self._rewards.find_by_key(key)

    async def activate(
        self, decision_id: str, settings: RewardSettings | None, client: str, *, teaches: bool = True
    ) -> Activation:
        """Let a decision that was held back count as shown."""
        return self._rewards.activate(decision_id, settings, client, teaches=teaches)

    async def close_windows(self, limit: int | None = None, *, teaches: bool = True) -> ClosedWindows:
        """Teach what silence comes to."""
        return self._rewards.close_windows(limit, teaches=teaches)

    async def load_metric_sums(self) -> list[MetricSums]:
        """Sums over the metrics of the parts that count."""
        return self._rewards.load_metric_sums()

    async def has_awaiting_windows(self) -> bool:
        """Whether any window is to be closed."""
        return self._rewards.has_awaiting_windows()

    async def select_rewards(self, selection: Selection) -> SelectedRewards:
        """The rewards that an operator means, and what of them can be taken back."""
        return select_rewards(self._events, self._turns, selection)

    async def has_revocations_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""
        return self._events.revoked_seq > seq

    async def revoke(
        self,
        reward_seqs: Collection[int],
        *,
        cause: str,  # noqa: ARG002 (there is no ledger to say why in)
        client: str,
        selection: Selection | None = None,
    ) -> list[RevocableReward]:
        """Take rewards back out of sums and counters."""
        revocable = self._events.find_revocable(reward_seqs)
        self._events.revoke(revocable)
        if selection is not None and revocable:
            ts = self._clock()
            record = UndoRecord.from_rewards(self._events.sequence.next(ts), selection, revocable, client=client, ts=ts)
            whose = revocable[0].user_id if selection.decision_id is not None else None
            self._undos.append((whose, record))
        return revocable

    async def list_undos(self, before: int, limit: int) -> list[UndoRecord]:
        """Records of undos, the newest first, from before the event ``before``."""
        return [record for _, record in reversed(self._undos) if record.seq < before][:limit]

    async def find_out_of_reach(self, since: float) -> tuple[int, float | None]:  # noqa: ARG002 (there are no baselines)
        """How many users have later events in a baseline."""
        return 0, None

    async def list_reactions(self, after: int, since: float, limit: int) -> list[LoggedReaction]:
        """Reactions that came at ``since`` or later, in order."""
        return self._reactions.list_reactions(after, since, limit)

    async def reapply_reactions(
        self,
        found: Sequence[LoggedReaction],
        settings: RewardSettings,
        client: str,  # noqa: ARG002 (there is no ledger to name the client in)
    ) -> bool:
        """Take back the old rewards of reactions, and teach the new ones."""
        return self._reactions.reapply(found, settings)

    def get_cached_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id."""
        return self._events.decisions.get(decision_id)

    async def find_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id."""
        return self._events.decisions.get(decision_id)

    async def find_receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id, as logged."""
        return self._events.decisions.get(decision_id)

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        user = self._events.users.get(user_id)
        if user is None:
            return []
        return [decision for decision in user.decisions[-limit:] if decision.seq > user.profile.reset_seq]

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        """Log a generation, unless its user was erased after it began; returns whether it was logged."""
        if self._erased.get(generation.user_id, -1) > generation.seq:
            return False
        self._events.register_user(generation.user_id)
        self._events.sums.prompts.add_generation(generation)
        return True

    async def load_prompt_totals(self) -> list[PromptTotals]:
        """What each prompt earned, in order of first use."""
        return self._events.sums.prompts.get_totals()

    async def find_origin(self, decision: Decision) -> TipOrigin | None:
        """The generation that the decision's pick came from."""
        return self._events.sums.prompts.get_origin(decision)

    async def reset(self, user_id: str, client: str) -> None:  # noqa: ARG002 (there is no ledger to name the client in)
        """Forget what every policy learned about the user. Idempotent."""
        user = self._events.users.get(user_id)
        if user is not None and user.number:
            user.profile.apply_reset(self._events.sequence.next(self._clock()))
            user.marks += 1

    async def erase(self, user_id: str, client: str) -> Erasure:  # noqa: ARG002 (there is no ledger to name the client in)
        """Delete everything about the user. Idempotent."""
        user = self._events.users.pop(user_id, None)
        self._erased[user_id] = self._events.sequence.next(self._clock())
        if user is None:
            return Erasure()
        for decision in user.decisions:
            del self._events.decisions[decision.decision_id]
        for reward in (*user.rewards, *user.parts):
            if reward.idempotency is not None:
                self._events.rewards_by_key.pop(reward.idempotency, None)
        undone = [(whose, record) for whose, record in self._undos if whose != user_id]
        user.marks += len(self._undos) - len(undone)
        self._undos = undone
        decisions = [decision.seq for decision in user.decisions]
        generations = self._events.sums.prompts.remove_user(user_id, decisions)
        shadows = self._events.sums.shadows.remove_decisions(decisions)
        turns, verdicts = self._turns.remove_user(user_id)
        return Erasure(
            len(user.decisions),
            len(user.rewards),
            user.marks,
            generations=generations,
            revocations=len(user.revoked),
            enrolments=self._deployment.remove_user(user_id),
            shadows=shadows,
            turns=turns,
            verdicts=verdicts,
            parts=len(user.parts),
        )

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        page = list(islice(self._events.iter_known_users(prefix, after), limit + 1))
        return UserPage([user_id for user_id, _ in page[:limit]], page[limit - 1][1] if len(page) > limit else None)

    async def count_users(self) -> int:
        """How many users had an event."""
        return sum(1 for _ in self._events.iter_known_users("", 0))

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return dict(self._events.sums.policies)

    async def load_loop_sums(self, days: int) -> LoopSums:
        """Sums from which the health of the learning loop is computed."""
        newest = min(to_time(self._events.sequence.last), self._clock())
        return self._events.sums.load_loop_sums(to_day(newest) - days + 1)

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any."""
        begun = await self._deployment.set_experiment(definition)
        self.record_split("experiment", begun, definition)
        return begun

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return await self._deployment.count_enrolled(experiment)

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on."""
        await self._deployment.set_shadows(policies)

    async def set_memory(self, change: MemoryChange) -> None:
        """Record a policy's memory, and sum everybody's rewards again."""
        await self._deployment.set_memory(change)

    async def list_memory_changes(self) -> list[MemoryChange]:
        """Every change of a policy's memory, the oldest first."""
        return await self._deployment.list_memory_changes()

    async def list_taught_rewards(self, user_id: str, key: StateKey) -> list[TaughtReward]:
        """What a policy was taught of a user since the last reset, the oldest first."""
        return self._events.list_taught_rewards(user_id, key)
