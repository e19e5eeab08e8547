"""Promotion: make another policy the active one, at once and for good, and go back."""

from collections.abc import Mapping
from typing import Any

from bandstand.errors import PromotionRefusedError
from bandstand.service.context import Deployment, iso
from bandstand.store.tables.promotions import Promotion


async def promote(deployment: Deployment, policy: str, client: str) -> dict[str, Any]:
    """Make ``policy`` the one that un-named requests mean, and write down who did. Idempotent.

    Raises:
        UnknownPolicyError: no such policy.
        PromotionRefusedError: a setting says which policy is active.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
    """
    name = deployment.catalogue.policy(policy).name
    async with deployment.promoting:
        _require_free(deployment)
        if _promoted(deployment.promotions)[-1:] != [name]:
            await _change(deployment, Promotion("promote", name, deployment.active, deployment.clock(), client))
        return active(deployment)


async def demote(deployment: Deployment, policy: str, client: str) -> dict[str, Any]:
    """Go back from ``policy`` to what was promoted before it, or to the default. Idempotent: another is left active.

    Raises:
        UnknownPolicyError: no such policy.
        PromotionRefusedError: a setting says which policy is active, or ``policy`` is active without being promoted.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
    """
    name = deployment.catalogue.policy(policy).name
    async with deployment.promoting:
        _require_free(deployment)
        if name == deployment.active:
            earlier = _promoted(deployment.promotions)
            if not earlier:
                message = "it is active by default, and nothing was before it: promote another instead"
                raise PromotionRefusedError(message)
            below = [other for other in earlier[:-1] if other in deployment.catalogue.policies]
            back_to = below[-1] if below else None
            await _change(deployment, Promotion("demote", back_to, name, deployment.clock(), client))
        return active(deployment)


def active(deployment: Deployment) -> dict[str, Any]:
    """Which policy is active, since when, and by whom; the latter two are ``None`` where no promotion made it so."""
    newest = deployment.promotions[-1] if deployment.promotions and deployment.pinned_by is None else None
    return {
        "active": deployment.active,
        "since": None if newest is None else iso(newest.ts),
        "by": None if newest is None else newest.client,
        "pinned_by": deployment.pinned_by,
    }


def entry(deployment: Deployment, promotion: Promotion) -> Mapping[str, Any]:
    """A change of the active policy, as the wire has it."""
    return {
        "ts": iso(promotion.ts),
        "by": promotion.client,
        "action": promotion.action,
        "policy": promotion.policy or deployment.default,
        "instead_of": promotion.instead_of,
    }


def _require_free(deployment: Deployment) -> None:
    if deployment.pinned_by is not None:
        message = f"{deployment.pinned_by} says which policy is active: unset it and start again"
        raise PromotionRefusedError(message)


async def _change(deployment: Deployment, promotion: Promotion) -> None:
    await deployment.store.promote(promotion)
    deployment.promotions.append(promotion)
    deployment.active = promotion.policy or deployment.default


def _promoted(promotions: list[Promotion]) -> list[str]:
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
