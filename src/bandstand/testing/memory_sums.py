"""What the ledger's sums and triggers count, counted in memory: totals, draws, arrivals, prompts and shadows."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from operator import add
from typing import Any

from bandstand.bandit.arms import RewardSums
from bandstand.store.records import Decision, PolicyRef, PolicyTotals, Reward
from bandstand.store.tables.generations import LoggedGeneration, PromptRef, PromptTotals, TipOrigin
from bandstand.store.tables.loop_health import (
    BUCKETS_PER_DOUBLING,
    LAST_BUCKET,
    NO_DECISION,
    Arrivals,
    Draws,
    LoopSums,
    compute_draw_sums,
    to_day,
)
from bandstand.store.tables.shadows import Shadow, ShadowSums
from bandstand.times import compute_age


class MemorySums:
    """Everything that is counted over users.

    Attributes:
        prompts: what each prompt earned.
        shadows: what shadow policies would have done and earned.
        policies: deployment-wide counts by policy.
    """

    def __init__(self) -> None:
        self.prompts = MemoryPrompts()
        self.shadows = MemoryShadows()
        self.policies: dict[str, PolicyTotals] = {}
        self._answered: dict[int, int | None] = {}  # by reward: the decision that it names or stands in for
        self._draws: dict[tuple[int, str, int], list[float]] = {}
        self._arrivals: dict[tuple[int, str, str, int], list[float]] = {}
        self._decided: dict[int, float] = {}

    def add_decision(self, decision: Decision) -> None:
        """Count a decision."""
        self._add_totals(decision.policy.name, PolicyTotals(decisions=1, explores=int(decision.exploring)))
        part, amounts = compute_draw_sums(decision)
        self._decided[decision.seq] = decision.ts
        _add_amounts(self._draws, (to_day(decision.ts), decision.policy.name, part), amounts)
        self.prompts.add_decision(decision)

    def add_reward(self, reward: Reward, answered: int | None) -> None:
        """Count a reward of the decision ``answered``; ``None`` for a legacy one, which memory links to none."""
        self._answered[reward.seq] = answered
        self.shadows.set_reward(answered, reward.value)
        self._add_totals(reward.policy.name, PolicyTotals(rewards=1, reward_sum=reward.value))
        _add_amounts(self._arrivals, _build_arrival_key(reward, self._decided.get(answered or 0)), (1, reward.value))
        if reward.applied:
            self.prompts.add_reward(answered, RewardSums(1, reward.value, reward.value * reward.value))

    def remove_reward(self, reward: Reward) -> None:
        """Take a reward that taught out of the counts."""
        answered = self._answered[reward.seq]
        self.shadows.set_reward(answered, None)
        self._add_totals(reward.policy.name, PolicyTotals(rewards=-1, reward_sum=-reward.value))
        _add_amounts(self._arrivals, _build_arrival_key(reward, self._decided.get(answered or 0)), (-1, -reward.value))
        self.prompts.add_reward(answered, RewardSums(-1, -reward.value, -reward.value * reward.value))

    def load_loop_sums(self, since: int) -> LoopSums:
        """The sums over all days, and by day from the day ``since`` on."""
        draws, arrivals = dict[tuple[Any, ...], list[float]](), dict[tuple[Any, ...], list[float]]()
        for tables, summed in ((self._draws, draws), (self._arrivals, arrivals)):
            for (day, *rest), amounts in tables.items():
                _add_amounts(summed, (None, *rest), amounts)
                if day >= since:
                    _add_amounts(summed, (day, *rest), amounts)
        return LoopSums(
            [Draws(*key, *amounts) for key, amounts in draws.items()],
            [Arrivals(*key, *amounts) for key, amounts in arrivals.items()],
        )

    def _add_totals(self, policy: str, more: PolicyTotals) -> None:
        have = self.policies.get(policy, PolicyTotals())
        self.policies[policy] = PolicyTotals(
            have.decisions + more.decisions,
            have.explores + more.explores,
            have.rewards + more.rewards,
            have.reward_sum + more.reward_sum,
        )


class MemoryPrompts:
    """Generation → tip → decision → reward, summed by prompt."""

    def __init__(self) -> None:
        self._generations: dict[str, list[LoggedGeneration]] = {}  # by user, oldest first
        self._origins: dict[int, TipOrigin] = {}  # by decision
        self._totals: dict[PromptRef, PromptTotals] = {}

    def add_generation(self, generation: LoggedGeneration) -> None:
        """Count a generation."""
        generations = self._generations.setdefault(generation.user_id, [])
        generations.append(generation)
        generations.sort(key=lambda each: each.seq)
        total = self._get_total(generation.prompt)
        self._totals[generation.prompt] = replace(
            total, generations=total.generations + 1, tips=total.tips + len(generation.tips)
        )

    def add_decision(self, decision: Decision) -> None:
        """Find where a decision's pick comes from."""
        for generation in reversed(self._generations.get(decision.user_id, ())):
            if generation.seq < decision.seq and decision.tip_id in generation.tips:
                self._origins[decision.seq] = TipOrigin(generation.prompt, generation.generation_id, generation.model)
                total = self._get_total(generation.prompt)
                self._totals[generation.prompt] = replace(total, decisions=total.decisions + 1)
                return

    def add_reward(self, decision_seq: int | None, reward_sums: RewardSums) -> None:
        """Credit the prompt whose tip a decision picked."""
        origin = None if decision_seq is None else self._origins.get(decision_seq)
        if origin is not None:
            total = self._get_total(origin.prompt)
            self._totals[origin.prompt] = replace(total, reward_sums=total.reward_sums + reward_sums)

    def remove_user(self, user_id: str, decision_seqs: Collection[int]) -> int:
        """Forget a user; returns how many generations went."""
        for seq in decision_seqs:
            self._origins.pop(seq, None)
        return len(self._generations.pop(user_id, ()))

    def get_origin(self, decision: Decision) -> TipOrigin | None:
        """The generation that a decision's pick came from."""
        return self._origins.get(decision.seq)

    def get_totals(self) -> list[PromptTotals]:
        """What each prompt earned, in order of first use."""
        return list(self._totals.values())

    def _get_total(self, prompt: PromptRef) -> PromptTotals:
        return self._totals.get(prompt) or PromptTotals(prompt)


class MemoryShadows:
    """Shadows of decisions, and their sums.

    Attributes:
        sums: by policy.
    """

    def __init__(self) -> None:
        self.sums: dict[PolicyRef, ShadowSums] = defaultdict(ShadowSums)
        self._shadows: dict[int, list[Shadow]] = {}
        self._rewards: dict[int, float] = {}

    def get_shadows(self, decision_seq: int) -> list[Shadow]:
        """The shadows of a decision."""
        return self._shadows.get(decision_seq, [])

    def add(self, decision_seq: int, shadows: Collection[Shadow], reward: float | None) -> None:
        """Add the shadows of a decision, and the reward that stands for it."""
        self._shadows[decision_seq] = list(shadows)
        for shadow in shadows:
            self.sums[shadow.policy] = self.sums[shadow.policy].with_decision(shadow)
        self.set_reward(decision_seq, reward)

    def set_reward(self, decision_seq: int | None, reward: float | None) -> None:
        """Record which reward stands for a decision now; ``None`` for none."""
        if decision_seq is None or decision_seq not in self._shadows:
            return
        before = self._rewards.pop(decision_seq, None)
        if reward is not None:
            self._rewards[decision_seq] = reward
        for shadow in self._shadows[decision_seq]:
            for value, sign in ((before, -1), (reward, 1)):
                if value is not None:
                    self.sums[shadow.policy] = self.sums[shadow.policy].with_reward(value, shadow.weight, sign)

    def remove_decisions(self, decision_seqs: Collection[int]) -> int:
        """Drop the shadows of decisions that are erased, and leave the sums; returns how many there were."""
        for seq in decision_seqs:
            self._rewards.pop(seq, None)
        return sum(len(self._shadows.pop(seq, ())) for seq in decision_seqs)


def _build_arrival_key(reward: Reward, answered: float | None) -> tuple[int, str, str, int]:
    """Where a reward of a decision made at ``answered`` is counted: day, policy, source and bucket of its delay."""
    if answered is None:
        return to_day(reward.ts), reward.policy.name, reward.source, NO_DECISION
    delay = compute_age(answered, reward.ts)
    bucket = min(int(BUCKETS_PER_DOUBLING * math.log2(1.0 + delay)), LAST_BUCKET)
    return to_day(answered), reward.policy.name, reward.source, bucket


def _add_amounts(sums: dict[Any, list[float]], key: tuple[Any, ...], amounts: Iterable[float]) -> None:
    so_far = sums.get(key)
    sums[key] = list(amounts) if so_far is None else list(map(add, so_far, amounts))
