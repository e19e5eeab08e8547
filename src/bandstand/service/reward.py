"""Reward: find what is being rewarded, log it once, teach it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bandstand.bandit.errors import (
    AlreadyRewardedError,
    FieldError,
    IdempotencyMismatchError,
    InvalidRequestError,
    UnknownDecisionError,
    WrongPolicyError,
)
from bandstand.bandit.policies import Policy
from bandstand.bandit.rewards import checked_reward, reaction_reward
from bandstand.service.deployment import Deployment
from bandstand.store.events import Reward

_NOBODY = ""  # no user can be called so


@dataclass(slots=True)
class Taught:
    """What came of a reward.

    Attributes:
        applied: whether it taught its policy; ``reason`` says why not.
        repeated: an earlier reward answers again, for the same request.
    """

    policy: str
    reward: float
    applied: bool
    reason: str | None
    decision_id: str | None
    repeated: bool


async def reward(
    deployment: Deployment,
    request: Mapping[str, Any],
    *,
    client: str,
    policy: str | None = None,
    idempotency: tuple[str, str] | None = None,
) -> Taught:
    """Teach what the user did, by ``decision_id`` or by the legacy fields.

    Args:
        deployment: where.
        request: a validated reward request.
        client: name of the API key.
        policy: the policy named by the route, if one is.
        idempotency: scope (key name and route) and ``Idempotency-Key``.

    Raises:
        InvalidRequestError: not exactly one of ``reward`` and ``reaction``, or legacy fields missing.
        UnknownPolicyError, UnknownDecisionError, WrongPolicyError: what it names is not there, or not so.
        AlreadyRewardedError: the decision has another reward.
        IdempotencyMismatchError: the key came with another body before.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
    """
    event = await rewarding(deployment, request, _value(request), client=client, policy=policy, idempotency=idempotency)
    body_hash = event.body_hash
    outcome = await deployment.store.reward(event)
    stands = outcome.reward
    if stands.body_hash != body_hash:
        if outcome.match == "key":
            message = "this Idempotency-Key came with another body before"
            raise IdempotencyMismatchError(message)
        message = "this decision already has another reward"
        raise AlreadyRewardedError(message)
    if outcome.match == "new":
        deployment.population.rewarded(stands)
    return Taught(
        stands.policy.name,
        stands.value,
        stands.applied,
        stands.reason,
        request.get("decision_id"),
        repeated=outcome.match != "new",
    )


async def rewarding(
    deployment: Deployment,
    request: Mapping[str, Any],
    value: float,
    *,
    client: str,
    policy: str | None,
    idempotency: tuple[str, str] | None,
) -> Reward:
    """The reward that a request means, by ``decision_id`` or by the legacy fields; nothing is logged yet.

    With an ``Idempotency-Key`` it may name a decision that there is not: the store knows what came with the key before,
    and only then refuses.

    Raises:
        InvalidRequestError: legacy fields are missing, or the decision picked another candidate.
        UnknownPolicyError, UnknownDecisionError, WrongPolicyError: what it names is not there, or not so.
    """
    named = None if policy is None else deployment.policy(policy)
    body_hash = hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=16).digest()
    if "decision_id" not in request:
        chosen = named or deployment.policy(None, request.get("user_id"))
        event = _legacy(deployment, request, chosen, value, client, body_hash)
    else:
        try:
            event = await _by_decision(deployment, request, named, value, client, body_hash)
        except UnknownDecisionError:
            if idempotency is None:
                raise
            event = _by_unknown_decision(deployment, request, value, client, body_hash)
    event.idempotency = idempotency
    return event


def _value(request: Mapping[str, Any]) -> float:
    reaction = request.get("reaction")
    if ("reward" in request) == (reaction is not None):
        message = "give exactly one of reward, reaction and turn"
        raise InvalidRequestError(message, [FieldError("reward", message), FieldError("reaction", message)])
    if reaction is None:
        return checked_reward(request["reward"])
    return reaction_reward(reaction["action"], reaction.get("dwell_ms"))


async def _by_decision(
    deployment: Deployment,
    request: Mapping[str, Any],
    named: Policy | None,
    value: float,
    client: str,
    body_hash: bytes,
) -> Reward:
    decision = await deployment.store.decision(request["decision_id"])
    if decision is None or request.get("user_id", decision.user_id) != decision.user_id:
        message = "no such decision of this user"
        raise UnknownDecisionError(message)
    if named is not None and named.name != decision.policy.name:
        message = f"the decision was made by {decision.policy.name}"
        raise WrongPolicyError(message)
    if request.get("tip_id", decision.tip_id) != decision.tip_id:
        message = "the decision picked another candidate"
        raise InvalidRequestError(message, [FieldError("tip_id", message)])
    return Reward(
        user_id=decision.user_id,
        policy=decision.policy,
        tip_id=decision.tip_id,
        value=value,
        client=client,
        ts=deployment.clock(),
        body_hash=body_hash,
        x=None,
        decision_id=decision.decision_id,
    )


def _by_unknown_decision(
    deployment: Deployment, request: Mapping[str, Any], value: float, client: str, body_hash: bytes
) -> Reward:
    """A reward that no store logs: it finds what came with the same key, or no such decision of this user."""
    return Reward(
        user_id=request.get("user_id", _NOBODY),
        policy=deployment.refs[deployment.policy(None).name],
        tip_id=request.get("tip_id", ""),
        value=value,
        client=client,
        ts=deployment.clock(),
        body_hash=body_hash,
        x=None,
        decision_id=request["decision_id"],
    )


def _legacy(
    deployment: Deployment, request: Mapping[str, Any], policy: Policy, value: float, client: str, body_hash: bytes
) -> Reward:
    missing = [name for name in ("user_id", "tip_id", "features") if name not in request]
    if missing:
        message = "without a decision_id, user_id, tip_id and features are required"
        raise InvalidRequestError(message, [FieldError(name, "required without a decision_id") for name in missing])
    features = request["features"]
    context = {name: features[name] for name in policy.schema.context_fields if name in features}
    if "day_of_week" in request:
        context["day_of_week"] = request["day_of_week"]
    return Reward(
        user_id=request["user_id"],
        policy=deployment.refs[policy.name],
        tip_id=request["tip_id"],
        value=value,
        client=client,
        ts=deployment.clock(),
        body_hash=body_hash,
        x=policy.schema.encode(context, [features])[0],
        features=json.dumps({"context": context, "features": features}).encode(),
    )
