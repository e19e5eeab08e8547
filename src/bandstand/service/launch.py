"""Launch: a policy gets a growing share of the users by itself, as long as its results allow it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from bandstand.errors import BandstandError, FieldError, InvalidRequestError, PromotionRefusedError
from bandstand.service.context import ServiceContext, format_time
from bandstand.service.ladder import LadderDecision, Move, decide_step
from bandstand.service.promotion import apply_promotion, require_unpinned
from bandstand.store.protocol import MovedError
from bandstand.store.tables.launches import LaunchAction, LaunchEvent, LaunchPlan, LaunchState
from bandstand.store.tables.promotions import Promotion

DEFAULT_STEPS = (1.0, 10.0, 50.0, 100.0)
DEFAULT_MIN_DECISIONS = 500
DEFAULT_MARGIN = 0.05
LADDER = "launch"
"""Who did it, where nobody did by hand."""

_LOOK_SECONDS = 30.0

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
    """The newest launch of a policy; ``None`` if it was never launched."""

    launch: LaunchStatus | None


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
    """How the newest launch of a policy stands; ``None`` if it was never launched.

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


async def check_launch(deployment: ServiceContext) -> Move | None:
    """Look at the launch that runs, and do what its figures say; ``None`` if none does."""
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
    known = deployment.launches[-1].seq if deployment.launches else 0
    try:
        kept = await deployment.store.log_launch(event, after=known)
    except MovedError:
        await deployment.refresh()
        raise PromotionRefusedError("another process has changed a launch at the same moment: look again") from None
    if not deployment.launches or deployment.launches[-1].seq != kept.seq:
        deployment.launches.append(kept)  # a store of many processes has told of it already
    deployment.apply_launch()
    log.info("launch", policy=kept.plan.policy, action=kept.action, share=kept.share, reason=kept.reason)


def _require_idle(deployment: ServiceContext) -> None:
    if deployment.launches and deployment.launches[-1].is_serving:
        message = f"the launch of {deployment.launches[-1].plan.policy} is under way: cancel it first"
        raise PromotionRefusedError(message)
