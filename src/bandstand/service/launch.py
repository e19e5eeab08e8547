"""Launch: a policy gets a growing share of the users by itself, while what comes of it allows."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import structlog

from bandstand.bandit.confidence_sequence import compute_half_width
from bandstand.errors import BandstandError, FieldError, InvalidRequestError, PromotionRefusedError
from bandstand.service.context import ServiceContext, format_time
from bandstand.service.promotion import apply_promotion, require_unpinned
from bandstand.service.readout import MIN_USERS, compare_arms, estimate_mean, estimate_metric
from bandstand.service.shadow_value import ValueEstimate
from bandstand.store.tables.arms import REWARD, ArmHistory, ArmSums
from bandstand.store.tables.launches import LaunchAction, LaunchEvent, LaunchPlan, LaunchState
from bandstand.store.tables.promotions import Promotion

DEFAULT_STEPS = (1.0, 10.0, 50.0, 100.0)
DEFAULT_MIN_DECISIONS = 500
DEFAULT_MARGIN = 0.05
MAX_UNPROVEN_PERCENT = 20.0
"""A larger share only a policy gets that is surely not worse than the control by more than the margin."""

LADDER = "launch"
"""Who did it, where nobody did by hand."""

_FALSE_ALARMS = 0.05
_LOOK_SECONDS = 30.0

Move = Literal["hold", "advance", "rollback"]
HandAction = Literal["hold", "resume", "advance", "rollback", "cancel"]

log = structlog.get_logger("bandstand")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchEntry:
    """One event of a launch.

    Attributes:
        share: the policy's from then on, in percent.
        figures: what it rests on.
    """

    ts: str
    by: str
    action: LaunchAction
    state: LaunchState
    share: float
    reason: str
    figures: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchStatus:
    """How a launch stands.

    Attributes:
        share: of the users that the policy has now, in percent.
        waits_for: what the next step waits for, in words.
        figures: of the step, as of now.
        events: the oldest first.
    """

    policy: str
    control: str
    steps: Sequence[float]
    min_decisions: int
    guardrails: Mapping[str, float]
    margin: float
    state: LaunchState
    share: float
    waits_for: str
    figures: Mapping[str, float | None]
    events: Sequence[LaunchEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchAnswer:
    """The newest launch of a policy; ``None`` where it was never launched."""

    launch: LaunchStatus | None


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


async def start_launch(
    deployment: ServiceContext, policy: str, request: Mapping[str, Any], client: str
) -> LaunchStatus:
    """Give a policy its first share of the users.

    Raises:
        UnknownPolicyError: no such policy.
        InvalidRequestError: the steps do not grow to 100.
        PromotionRefusedError: a setting says which policy is active, it is active already, a launch is under way, or
            the loop has one model for everybody or serves its baseline.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
    """
    name = deployment.catalogue.get_policy(policy).name
    steps = tuple(float(each) for each in request.get("steps", DEFAULT_STEPS))
    if any(low >= high for low, high in zip((0.0, *steps), steps, strict=False)) or steps[-1:] != (100.0,):
        raise InvalidRequestError("steps are no ladder", [FieldError("steps", "must grow from above 0 to 100")])
    async with deployment.promotion_lock:
        require_unpinned(deployment)
        _require_idle(deployment)
        if deployment.mode != "online":
            raise PromotionRefusedError(f"in the learning mode {deployment.mode} the baseline serves everybody")
        if deployment.has_one_model:
            raise PromotionRefusedError("a launch compares users, and this loop has one model for all of them")
        if name == deployment.active_policy:
            raise PromotionRefusedError("it is the active policy already")
        plan = LaunchPlan(
            policy=name,
            control=deployment.active_policy,
            steps=steps,
            min_decisions=int(request.get("min_decisions", DEFAULT_MIN_DECISIONS)),
            guardrails=dict(request.get("guardrails", {})),
            margin=float(request.get("margin", DEFAULT_MARGIN)),
        )
        await _move_to_step(deployment, plan, 0, "start", client, "begun by hand", {})
    return await _load_status(deployment, name)


async def act_on_launch(deployment: ServiceContext, policy: str, action: HandAction, client: str) -> LaunchStatus:
    """Do by hand what the ladder else does, or keep it from doing it. Idempotent where nothing would change.

    Raises:
        UnknownPolicyError: no such policy.
        PromotionRefusedError: the policy has no launch that this could be done to.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
    """
    name = deployment.catalogue.get_policy(policy).name
    async with deployment.promotion_lock:
        newest = deployment.launches[-1] if deployment.launches else None
        if newest is None or newest.plan.policy != name or newest.state == "finished":
            raise PromotionRefusedError(f"{name} has no launch under way")
        figures = (await _decide(deployment, newest)).figures if newest.is_serving else {}
        if action == "resume" and not newest.is_serving:
            require_unpinned(deployment)
            plan = replace(newest.plan, control=deployment.active_policy)
            await _move_to_step(deployment, plan, newest.step, "resume", client, "by hand", figures)
        elif not newest.is_serving:
            if action not in {"rollback", "cancel"}:
                raise PromotionRefusedError(f"the launch of {name} has ended: resume it first")
        elif action == "advance":
            await _advance(deployment, newest, client, "by hand", figures)
        elif action in {"rollback", "cancel"}:
            state: LaunchState = "rolled_back" if action == "rollback" else "cancelled"
            await _log(deployment, newest, action, state, client, "by hand", figures)
        elif (action == "hold") == (newest.state == "running"):
            held: LaunchState = "held" if action == "hold" else "running"
            await _log(deployment, newest, action, held, client, "by hand", figures)
    return await _load_status(deployment, name)


async def find_launch_status(deployment: ServiceContext, policy: str) -> LaunchStatus | None:
    """How the newest launch of a policy stands; ``None`` where it was never launched.

    Raises:
        UnknownPolicyError: no such policy.
    """
    name = deployment.catalogue.get_policy(policy).name
    events = [each for each in deployment.launches if each.plan.policy == name]
    first = max((at for at, each in enumerate(events) if each.action == "start"), default=None)
    if first is None:
        return None
    newest = events[-1]
    decided = await _decide(deployment, newest) if newest.is_serving else LadderDecision("hold", newest.reason, {})
    plan = newest.plan
    return LaunchStatus(
        policy=plan.policy,
        control=plan.control,
        steps=plan.steps,
        min_decisions=plan.min_decisions,
        guardrails=plan.guardrails,
        margin=plan.margin,
        state=newest.state,
        share=newest.share,
        waits_for="somebody who lets it go on: it is held" if newest.state == "held" else decided.reason,
        figures=decided.figures,
        events=[
            LaunchEntry(
                ts=format_time(each.ts),
                by=each.client,
                action=each.action,
                state=each.state,
                share=each.share,
                reason=each.reason,
                figures=each.figures,
            )
            for each in events[first:]
        ],
    )


def decide_step(plan: LaunchPlan, step: int, history: ArmHistory) -> LadderDecision:
    """What the figures of a step say: go on, wait, or go back.

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
        _look_at_guardrail(metric, bound, history.now.get(metric, {}).get(plan.policy), level)
        for metric, bound in plan.guardrails.items()
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


def _look_at_guardrail(metric: str, bound: float, sums: ArmSums | None, level: float) -> _Guard:
    """What a guardrail on a metric of rewards says: a name that nothing brings guards nothing, so it is waited for."""
    found = None if sums is None else estimate_metric(sums, level)
    if sums is None or found is None:
        return _Guard(metric, None, awaits=f"{metric}, which no reward has brought at this share")
    mean, half = found
    if sums.rewarded < MIN_USERS:
        return _Guard(metric, mean, awaits=f"{MIN_USERS - sums.rewarded} more users whose rewards bring {metric}")
    if mean + half < bound:
        return _Guard(metric, mean, breach=f"{metric} is {mean:.3f} a decision, surely below {bound:g}")
    return _Guard(metric, mean)


async def check_launch(deployment: ServiceContext) -> Move | None:
    """Look at the launch that runs, and do what its figures say; ``None`` where none does."""
    async with deployment.promotion_lock:
        newest = deployment.launches[-1] if deployment.launches else None
        if newest is None or newest.state != "running" or deployment.pinned_by is not None:
            return None
        if deployment.active_policy == newest.plan.policy:  # a process died between its promotion and this
            await _log(deployment, newest, "finish", "finished", LADDER, "it is the active policy", {})
            return "advance"
        decided = await _decide(deployment, newest)
        if decided.move == "rollback":
            await _log(deployment, newest, "rollback", "rolled_back", LADDER, decided.reason, decided.figures)
        elif decided.move == "advance":
            await _advance(deployment, newest, LADDER, decided.reason, decided.figures)
        return decided.move


async def run_launches(deployment: ServiceContext) -> None:
    """Look every half a minute, for as long as the service runs."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        with suppress(BandstandError):
            await check_launch(deployment)


async def _load_status(deployment: ServiceContext, policy: str) -> LaunchStatus:
    found = await find_launch_status(deployment, policy)
    assert found is not None  # noqa: S101 (the caller has launched it)
    return found


async def _decide(deployment: ServiceContext, newest: LaunchEvent) -> LadderDecision:
    return decide_step(newest.plan, newest.step, await deployment.store.load_arms(newest.since))


async def _advance(
    deployment: ServiceContext, newest: LaunchEvent, client: str, reason: str, figures: Mapping[str, Any]
) -> None:
    step = newest.step + 1
    if newest.plan.steps[step] < 100.0:  # noqa: PLR2004 (percent)
        await _move_to_step(deployment, newest.plan, step, "advance", client, reason, figures)
        return
    policy, now = newest.plan.policy, deployment.clock()
    await apply_promotion(deployment, Promotion("promote", policy, deployment.active_policy, now, client))
    await _log(deployment, newest, "finish", "finished", client, reason, figures)


async def _move_to_step(
    deployment: ServiceContext,
    plan: LaunchPlan,
    step: int,
    action: LaunchAction,
    client: str,
    reason: str,
    figures: Mapping[str, Any],
) -> None:
    begun = LaunchEvent(
        seq=0,
        ts=deployment.clock(),
        client=client,
        action=action,
        state="running",
        step=step,
        since=0,
        reason=reason,
        plan=plan,
        figures=figures,
    )
    await _keep(deployment, begun)


async def _log(
    deployment: ServiceContext,
    newest: LaunchEvent,
    action: LaunchAction,
    state: LaunchState,
    client: str,
    reason: str,
    figures: Mapping[str, Any],
) -> None:
    event = replace(
        newest,
        ts=deployment.clock(),
        client=client,
        action=action,
        state=state,
        reason=reason,
        figures=figures,
    )
    await _keep(deployment, event)


async def _keep(deployment: ServiceContext, event: LaunchEvent) -> None:
    kept = await deployment.store.log_launch(event)
    deployment.launches.append(kept)
    deployment.apply_launch()
    log.info("launch", policy=kept.plan.policy, action=kept.action, share=kept.share, reason=kept.reason)


def _require_idle(deployment: ServiceContext) -> None:
    if deployment.launches and deployment.launches[-1].is_serving:
        message = f"the launch of {deployment.launches[-1].plan.policy} is under way: cancel it first"
        raise PromotionRefusedError(message)
