"""Stats: what has been learned, of one user or of the deployment."""

from typing import Any

import numpy as np

from bandstand.bandit.profile import PolicyState
from bandstand.learning.drift import MemoryStatus
from bandstand.service import experiment, judgements, loop, shadow_value
from bandstand.service.context import ServiceContext, format_time


async def load_user_stats(deployment: ServiceContext, user_id: str, policy: str | None = None) -> dict[str, Any]:
    """What one policy knows of one user; zeros for a user never met (that is no error).

    Raises:
        UnknownPolicyError: no such policy.
    """
    chosen = deployment.get_policy(policy, user_id)
    profile = await deployment.store.load_profile(user_id)
    known = profile.policies.get((chosen.name, chosen.schema.name))
    state = known or PolicyState()
    prior, now = deployment.get_prior(chosen, user_id), deployment.clock()
    theta = np.zeros(chosen.schema.shape) if known is None else known.get_posterior(prior, now).mean
    return {
        "user_id": user_id,
        "pulls": state.pulls,
        "reward_count": state.reward_count,
        "cumulative_reward": state.cumulative_reward,
        "estimated_mean_reward": state.cumulative_reward / state.reward_count if state.reward_count else 0.0,
        "theta": np.broadcast_to(theta, chosen.schema.shape).ravel().tolist(),
        "last_updated": format_time(state.last_updated),
        "policy": chosen.name,
        "exploration_rate": state.explores / state.pulls if state.pulls else 0.0,
        "feature_labels": list(chosen.schema.weight_labels),
    }


async def load_deployment_stats(deployment: ServiceContext, *, days: int = loop.DAYS) -> dict[str, Any]:
    """Users, decisions and rewards of the whole deployment, by policy; the loop's health by day for ``days``."""
    totals = await deployment.store.load_policy_totals()
    return {
        "users": await deployment.store.count_users(),
        "decisions": sum(total.decisions for total in totals.values()),
        "rewards": sum(total.rewards for total in totals.values()),
        "policies": {
            name: {
                "decisions": total.decisions,
                "exploration_rate": total.explores / total.decisions if total.decisions else 0.0,
                "rewards": total.rewards,
                "mean_reward": total.reward_sum / total.rewards if total.rewards else 0.0,
            }
            for name, total in sorted(totals.items())
        },
        "memory": {each.policy: _build_memory(each) for each in deployment.drift.list_statuses()},
        "experiment": await experiment.load_experiment_status(deployment),
        "shadows": await shadow_value.load_shadow_values(deployment),
        "loop": await loop.load_loop_health(deployment, days),
        "judge": None if deployment.judge_worker is None else await judgements.load_coverage(deployment.judge_worker),
    }


def _build_memory(status: MemoryStatus) -> dict[str, Any]:
    change = status.change
    return {
        "half_life_days": status.memory.half_life or None,
        "since": format_time(status.memory.since or None),
        "changed_at": None if change is None else format_time(change.ts),
        "gain": None if change is None else change.gain,
        "compared_at": format_time(status.checked_at),
        "scores": [
            {"half_life_days": memory.half_life or None, "since": format_time(memory.since or None), "score": score}
            for memory, score in status.scores
        ],
    }
