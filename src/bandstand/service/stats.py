"""Stats: what has been learned, of one user or of the deployment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bandstand.bandit.policy_state import PolicyState
from bandstand.learning.drift import MemoryStatus
from bandstand.service import experiment, gain, judgements, loop, metrics, shadow_value
from bandstand.service.context import ServiceContext, format_time, format_whole_seconds
from bandstand.service.feature_health import FeatureReport
from bandstand.store.records import PolicyTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPolicyStats:
    """What one policy knows of one user.

    Attributes:
        theta: the posterior's mean, one number for each of ``feature_labels``.
        last_updated: of the newest decision or reward; ``None`` for a user never met.
        exploration_rate: the share of the decisions that the uniform branch drew.
    """

    user_id: str
    pulls: int
    reward_count: int
    cumulative_reward: float
    estimated_mean_reward: float
    theta: Sequence[float]
    last_updated: str | None
    policy: str
    exploration_rate: float
    feature_labels: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyUsage:
    """What one policy did in the whole deployment."""

    decisions: int
    exploration_rate: float
    rewards: int
    mean_reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryComparison:
    """How well a memory foretold the newest rewards.

    Attributes:
        half_life_days: in which a reward loses half of its weight; ``None`` for never.
        since: rewards from before do not count; ``None`` if all do.
        score: log-likelihood of the rewards, each before it was taught.
    """

    half_life_days: float | None
    since: str | None
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySummary:
    """Which rewards count for a policy, and whether its users' tastes have drifted.

    Attributes:
        half_life_days: in which a reward loses half of its weight; ``None`` for never.
        since: the change from which on rewards count; ``None`` if all do.
        changed_at: when that was found; ``None`` if nothing ever drifted.
        gain: by how much its score was above that of the memory before.
        compared_at: when memories were last compared; ``None`` for not yet.
        scores: of all that were compared.
    """

    half_life_days: float | None
    since: str | None
    changed_at: str | None
    gain: float | None
    compared_at: str | None
    scores: Sequence[MemoryComparison]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSummary:
    """What all policies did for all users.

    Attributes:
        policies: by name.
        gain: whether it pays.
        experiment: ``None`` while none runs.
        holdout: ``None`` if nobody is held out.
        shadows: by name; ``None`` if no policy is in the shadow.
        judge: what became of turns; ``None`` if none are taken.
        memory: by name, of policies that adapt theirs.
        features: what callers send, and what of it is read.
        metrics: by policy and name; empty where no reward brought any.
    """

    users: int
    decisions: int
    rewards: int
    policies: Mapping[str, PolicyUsage]
    gain: gain.GainReport
    holdout: experiment.HoldoutStatus | None
    experiment: experiment.ExperimentStatus | None
    shadows: Mapping[str, shadow_value.ShadowComparison] | None
    loop: loop.LoopHealth
    judge: judgements.CoverageReport | None
    memory: Mapping[str, MemorySummary]
    features: FeatureReport
    metrics: Mapping[str, Mapping[str, metrics.MetricSummary]]


async def load_user_stats(deployment: ServiceContext, user_id: str, policy: str | None = None) -> UserPolicyStats:
    """What one policy knows of one user; zeros for a user never met (that is no error).

    Raises:
        UnknownPolicyError: no such policy.
    """
    chosen = deployment.get_policy(policy, user_id)
    owner = deployment.get_owner(user_id)
    profile = await deployment.store.load_profile(owner)
    known = profile.policies.get((chosen.name, chosen.schema.name))
    state = known or PolicyState()
    prior, now = deployment.get_prior(chosen, owner), deployment.clock()
    theta = np.zeros(chosen.schema.shape) if known is None else known.get_posterior(prior, now).mean
    return UserPolicyStats(
        user_id=user_id,
        pulls=state.pulls,
        reward_count=state.reward_count,
        cumulative_reward=state.cumulative_reward,
        estimated_mean_reward=state.cumulative_reward / state.reward_count if state.reward_count else 0.0,
        theta=np.broadcast_to(theta, chosen.schema.shape).ravel().tolist(),
        last_updated=format_whole_seconds(state.last_updated),
        policy=chosen.name,
        exploration_rate=state.explores / state.pulls if state.pulls else 0.0,
        feature_labels=list(chosen.schema.weight_labels),
    )


async def load_deployment_stats(deployment: ServiceContext, *, days: int = loop.DAYS) -> DeploymentSummary:
    """Users, decisions and rewards of the whole deployment, by policy; the loop's health by day for ``days``."""
    totals = await deployment.store.load_policy_totals()
    return DeploymentSummary(
        users=await deployment.store.count_users(),
        decisions=sum(total.decisions for total in totals.values()),
        rewards=sum(total.rewards for total in totals.values()),
        policies={name: _build_usage(total) for name, total in sorted(totals.items())},
        gain=await gain.load_gain_report(deployment, days=days),
        experiment=await experiment.load_experiment_status(deployment),
        holdout=await experiment.load_holdout_status(deployment),
        shadows=await shadow_value.load_shadow_values(deployment),
        loop=await loop.load_loop_health(deployment, days),
        judge=None if deployment.judge_worker is None else await judgements.load_coverage(deployment.judge_worker),
        memory={each.policy: _build_memory(each) for each in deployment.drift.list_statuses()},
        features=deployment.feature_health.build_report(),
        metrics=await metrics.load_metrics(deployment),
    )


def _build_memory(status: MemoryStatus) -> MemorySummary:
    change = status.change
    return MemorySummary(
        half_life_days=status.memory.half_life or None,
        since=format_time(status.memory.since or None),
        changed_at=None if change is None else format_time(change.ts),
        gain=None if change is None else change.gain,
        compared_at=format_time(status.checked_at),
        scores=[
            MemoryComparison(
                half_life_days=memory.half_life or None, since=format_time(memory.since or None), score=score
            )
            for memory, score in status.scores
        ],
    )


def _build_usage(total: PolicyTotals) -> PolicyUsage:
    return PolicyUsage(
        decisions=total.decisions,
        exploration_rate=total.explores / total.decisions if total.decisions else 0.0,
        rewards=total.rewards,
        mean_reward=total.reward_sum / total.rewards if total.rewards else 0.0,
    )
