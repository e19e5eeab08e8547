"""Ladder: whether the figures of a launch's step say to continue, to wait or to go back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bandstand.bandit.confidence_sequence import compute_half_width
from bandstand.service.readout import MIN_USERS, compare_arms, estimate_mean, estimate_metric
from bandstand.service.shadow_value import ValueEstimate
from bandstand.store.tables.arms import REWARD, ArmHistory, ArmSums
from bandstand.store.tables.launches import LaunchPlan

MAX_UNPROVEN_PERCENT = 20.0
"""A larger share only a policy gets that is surely not worse than the control by more than the margin."""


_FALSE_ALARMS = 0.05
_NO_SPREAD = 1e-6
"""An interval smaller than this, as a share of what is missing to a bound, is of values that never differed."""

Move = Literal["hold", "advance", "rollback"]


@dataclass(frozen=True, slots=True)
class LadderDecision:
    """What is to be done at a step, why, and on what figures."""

    move: Move
    reason: str
    figures: Mapping[str, float | None]


class _Guard(NamedTuple):
    """How a guardrail stands: its mean, and why to go back, or what to wait for."""

    metric: str
    mean: float | None
    breach: str | None = None
    awaits: str | None = None


def decide_step(plan: LaunchPlan, step: int, history: ArmHistory) -> LadderDecision:
    """Decide from the figures of a step: continue, wait, or go back.

    Every step before the last is an experiment of its own, looked at as often as one likes at an error of 5 % over
    their number on the side that matters: together they take an equal policy back in at most 5 % of launches. It goes
    back where it is surely worse, or surely below a guardrail; on where it has enough decisions, rewards bring every
    metric with a guardrail, and, before more than a fifth of the users, it is surely not worse by more than the margin.
    """
    level = 1.0 - 2.0 * _FALSE_ALARMS / max(1, len(plan.steps) - 1)
    sums = history.now.get(REWARD, {})
    arm, control = (sums.get(name, ArmSums(0, name, REWARD)) for name in (plan.policy, plan.control))
    difference = compare_arms(arm, control, level)
    mean, usual = estimate_mean(arm), estimate_mean(control)
    figures: dict[str, float | None] = {
        "share": plan.steps[step],
        "users": arm.users,
        "rewarded": arm.n,
        "mean_reward": None if mean is None else mean[0],
        "control_mean_reward": None if usual is None else usual[0],
        "difference": None if difference is None else difference.value,
        "low": None if difference is None else difference.low,
        "high": None if difference is None else difference.high,
    }
    guards = [
        _look_at_guardrail(plan, metric, history.now.get(metric, {}).get(plan.policy), level)
        for metric in plan.guardrails
        if metric != REWARD
    ]
    figures |= {f"guardrail:{each.metric}": each.mean for each in guards}
    enough_users = min(arm.rewarded, control.rewarded) >= MIN_USERS
    breach = _find_breach(plan, mean, difference, level) if enough_users else None
    breach = breach or next((each.breach for each in guards if each.breach), None)
    if breach is not None:
        return LadderDecision("rollback", breach, figures)
    if arm.n < plan.min_decisions:
        missing = plan.min_decisions - arm.n
        return LadderDecision("hold", f"{missing:,} more rewarded decisions at this share", figures)
    if not enough_users or difference is None or difference.low is None or usual is None:
        return LadderDecision("hold", f"{MIN_USERS} users with a reward on either side", figures)
    if awaited := next((each.awaits for each in guards if each.awaits), None):
        return LadderDecision("hold", awaited, figures)
    following = plan.steps[min(step + 1, len(plan.steps) - 1)]
    if following > MAX_UNPROVEN_PERCENT and difference.low <= -plan.margin * abs(usual[0]):
        worst = plan.margin * abs(usual[0])
        reason = f"proof that it is not worse by {worst:.3f}: it may be by {-difference.low:.3f} as yet"
        return LadderDecision("hold", reason, figures)
    return LadderDecision("advance", f"it earns {difference.value:+.3f} a decision, over {arm.n:,}", figures)


def _find_breach(
    plan: LaunchPlan, mean: tuple[float, float] | None, difference: ValueEstimate | None, level: float
) -> str | None:
    """Why the rewards of enough users say that it goes back."""
    if difference is not None and difference.high is not None and difference.high < 0.0:
        return f"it earns {difference.value:+.3f} a decision, surely less"
    bound = plan.guardrails.get(REWARD)
    if bound is not None and mean is not None and mean[0] + compute_half_width(mean[1], level=level) < bound:
        return f"{REWARD} is {mean[0]:.3f} a decision, surely below {bound:g}"
    return None


def _look_at_guardrail(plan: LaunchPlan, metric: str, sums: ArmSums | None, level: float) -> _Guard:
    """What a guardrail on a metric of rewards says: a name that nothing brings guards nothing, so it is waited for."""
    found = None if sums is None else estimate_metric(sums, level)
    if sums is None or found is None:
        return _Guard(metric, None, awaits=f"{metric}, which no reward has brought at this share")
    mean, half = found
    missing = plan.guardrails[metric] - mean
    if sums.rewarded < MIN_USERS:
        return _Guard(metric, mean, awaits=f"{MIN_USERS - sums.rewarded} more users whose rewards bring {metric}")
    if missing > 0.0 and half < _NO_SPREAD * missing and sums.n < plan.min_decisions:
        wanted = plan.min_decisions - sums.n  # a rare event has not happened yet, or never does: nobody knows as yet
        return _Guard(metric, mean, awaits=f"{wanted:,} more rewards with {metric}, which is {mean:g} each time")
    if half < missing:
        bound = plan.guardrails[metric]
        return _Guard(metric, mean, breach=f"{metric} is {mean:.3f} a decision, surely below {bound:g}")
    return _Guard(metric, mean)
