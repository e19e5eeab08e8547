"""Promotion: make another policy the active one, at once and for good, and go back."""

from dataclasses import dataclass
from typing import Literal

from bandstand.errors import PromotionRefusedError
from bandstand.service.context import ServiceContext, format_time
from bandstand.store.tables.promotions import Promotion


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePolicyStatus:
    """Which policy is active, since when, and by whom; the latter two are ``None`` if no promotion made it so."""

    active: str
    since: str | None
    by: str | None
    pinned_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionEntry:
    """One change of the active policy: ``policy`` was active from then on."""

    ts: str
    by: str
    action: Literal["promote", "demote"]
    policy: str
    instead_of: str


async def promote(deployment: ServiceContext, policy: str, client: str) -> ActivePolicyStatus:
    """Make ``policy`` the one that un-named requests mean, and write down who did. Idempotent.

    Raises:
        UnknownPolicyError: no such policy.
        PromotionRefusedError: a setting says which policy is active.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
    """
    name = deployment.catalogue.get_policy(policy).name
    async with deployment.promotion_lock:
        require_unpinned(deployment)
        _require_no_launch(deployment)
        if _build_stack(deployment.promotions)[-1:] != [name]:
            await apply_promotion(
                deployment, Promotion("promote", name, deployment.active_policy, deployment.clock(), client)
            )
        return get_active(deployment)


async def demote(deployment: ServiceContext, policy: str, client: str) -> ActivePolicyStatus:
    """Go back from ``policy`` to what was promoted before it, or to the default. Idempotent: another is left active.

    Raises:
        UnknownPolicyError: no such policy.
        PromotionRefusedError: a setting says which policy is active, or ``policy`` is active without being promoted.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
    """
    name = deployment.catalogue.get_policy(policy).name
    async with deployment.promotion_lock:
        require_unpinned(deployment)
        _require_no_launch(deployment)
        if name == deployment.active_policy:
            earlier = _build_stack(deployment.promotions)
            if not earlier:
                message = "it is active by default, and nothing was before it: promote another instead"
                raise PromotionRefusedError(message)
            below = [other for other in earlier[:-1] if other in deployment.catalogue.policies]
            back_to = below[-1] if below else None
            await apply_promotion(deployment, Promotion("demote", back_to, name, deployment.clock(), client))
        return get_active(deployment)


def get_active(deployment: ServiceContext) -> ActivePolicyStatus:
    """Which policy is active now."""
    newest = deployment.promotions[-1] if deployment.promotions and deployment.pinned_by is None else None
    return ActivePolicyStatus(
        active=deployment.active_policy,
        since=None if newest is None else format_time(newest.ts),
        by=None if newest is None else newest.client,
        pinned_by=deployment.pinned_by,
    )


def list_promotions(deployment: ServiceContext, limit: int) -> list[PromotionEntry]:
    """The newest changes of the active policy, the newest first."""
    return [
        PromotionEntry(
            ts=format_time(each.ts),
            by=each.client,
            action=each.action,
            policy=each.policy or deployment.default_policy,
            instead_of=each.instead_of,
        )
        for each in deployment.promotions[: -limit - 1 : -1]
    ]


def require_unpinned(deployment: ServiceContext) -> None:
    """Refuse where a setting says which policy is active.

    Raises:
        PromotionRefusedError: it does.
    """
    if deployment.pinned_by is not None:
        message = f"{deployment.pinned_by} says which policy is active: unset it and start again"
        raise PromotionRefusedError(message)


def _require_no_launch(deployment: ServiceContext) -> None:
    if deployment.launches and deployment.launches[-1].is_serving:
        message = f"the launch of {deployment.launches[-1].plan.policy} is under way: let it go on, or cancel it first"
        raise PromotionRefusedError(message)


async def apply_promotion(deployment: ServiceContext, promotion: Promotion) -> None:
    """Log a change of the active policy, and make it; the caller holds the lock."""
    await deployment.store.log_promotion(promotion)
    newest = deployment.promotions[-1] if deployment.promotions else None
    if newest is None or newest.policy != promotion.policy:  # a store of many processes has told of it already
        deployment.promotions.append(promotion)
    deployment.active_policy = promotion.policy or deployment.default_policy
    await deployment.update_shadows()


def _build_stack(promotions: list[Promotion]) -> list[str]:
    """What is promoted, the active one last: a demotion takes away down to what it went back to."""
    stack: list[str] = []
    for promotion in promotions:
        if promotion.action == "promote" and promotion.policy is not None:
            stack.append(promotion.policy)
            continue
        stack = stack[:-1]
        while stack and stack[-1] != promotion.policy:
            stack.pop()
    return stack
