"""Reward: find what is being rewarded, log it once, teach it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from bandstand.bandit.policies import Policy
from bandstand.bandit.reward_formula import validate_metrics
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.bandit.rewards import compute_reaction_reward
from bandstand.errors import (
    AlreadyRewardedError,
    FieldError,
    IdempotencyMismatchError,
    InvalidRequestError,
    UnknownDecisionError,
    WrongPolicyError,
)
from bandstand.service.context import ServiceContext
from bandstand.service.request_identity import hash_body, hash_reward_request, is_about
from bandstand.store.records import AcceptedReward, Reward, RewardPart


@dataclass(slots=True)
class RewardResult:
    """What came of a reward.

    Attributes:
        applied: whether it taught its policy; ``reason`` says why not.
        repeated: an earlier reward answers again, for the same request.
        aggregate: what the decision has taught with it; ``None`` where that is nothing, or this reward alone.
    """

    policy: str
    reward: float
    applied: bool
    reason: str | None
    decision_id: str | None
    repeated: bool
    aggregate: float | None = None


async def reward(
    deployment: ServiceContext,
    request: Mapping[str, Any],
    *,
    client: str,
    policy: str | None = None,
    idempotency: tuple[str, str] | None = None,
) -> RewardResult:
    """Teach what the user did, by ``decision_id`` or by the legacy fields.

    Args:
        deployment: where.
        request: a validated reward request.
        client: name of the API key.
        policy: the policy named by the route, if one is.
        idempotency: scope (key name and route) and ``Idempotency-Key``.

    Raises:
        InvalidRequestError: not exactly one of ``reward`` and ``reaction``, or of metrics that a formula reads; or
            legacy fields missing.
        UnknownPolicyError, UnknownDecisionError, WrongPolicyError: what it names is not there, or not so.
        AlreadyRewardedError: the decision has another reward.
        IdempotencyMismatchError: the key came with another body before.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
    """
    settings = deployment.reward_settings
    value = _parse_value(request, settings)
    try:
        event = await build_reward_event(
            deployment, request, value, client=client, policy=policy, idempotency=idempotency
        )
        if event.decision_id is not None:
            _join_parts(event, request, settings)
    except UnknownDecisionError:
        earlier = None if idempotency is None else await deployment.store.find_reward_by_key(idempotency)
        if earlier is None:
            raise
        outcome = AcceptedReward(earlier, "key")
    else:
        if deployment.mode == "logging":
            event.applied, event.reason = False, "logging_only"
        outcome = await deployment.store.reward(event)
    stands = outcome.reward
    if outcome.match != "new" and not _is_same_request(deployment, stands, request):
        if outcome.match == "key":
            message = "this Idempotency-Key came with another body before"
            raise IdempotencyMismatchError(message)
        message = "this decision already has another reward"
        raise AlreadyRewardedError(message)
    if outcome.match == "new":
        deployment.population.apply_reward(stands)
    part = stands.part
    return RewardResult(
        stands.policy.name,
        stands.value if part is None else part.value,
        stands.applied,
        stands.reason,
        request.get("decision_id"),
        repeated=outcome.match != "new",
        aggregate=None if part is None else part.taught,
    )


async def build_reward_event(
    deployment: ServiceContext,
    request: Mapping[str, Any],
    value: float,
    *,
    client: str,
    policy: str | None,
    idempotency: tuple[str, str] | None,
) -> Reward:
    """The reward that a request means, by ``decision_id`` or by the legacy fields; nothing is logged yet.

    With an ``Idempotency-Key``, what came with it before goes before an unknown decision: the caller looks it up then.

    Raises:
        InvalidRequestError: legacy fields are missing, or the decision picked another candidate.
        UnknownPolicyError, UnknownDecisionError, WrongPolicyError: what it names is not there, or not so.
    """
    named = None if policy is None else deployment.get_policy(policy)
    if "decision_id" in request:
        event = await _build_from_decision(deployment, request, named, value, client)
    else:
        chosen = named or deployment.choose_policy(None, request.get("user_id"))
        event = _build_legacy(deployment, request, chosen, value, client)
    event.idempotency = idempotency
    return event


def _is_same_request(deployment: ServiceContext, stands: Reward, request: Mapping[str, Any]) -> bool:
    if stands.body_hash == hash_reward_request(deployment.catalogue, request):
        # In a loop with one model, whose decision it is was looked at when that was found.
        user_id = request.get("user_id", "") if deployment.has_one_model else stands.user_id
        return is_about(request, user_id, stands.tip_id)
    return stands.body_hash == hash_body(request)  # it was logged when whole bodies were compared


def _parse_value(request: Mapping[str, Any], settings: RewardSettings) -> float:
    """What a request gives: its reward, what its reaction is worth, or else what its metrics come to."""
    reaction, metrics = request.get("reaction"), request.get("metrics")
    if metrics is not None and "decision_id" not in request:
        message = "need a decision_id"
        raise InvalidRequestError(f"metrics {message}.", [FieldError("metrics", message)])
    if metrics is not None and "reward" not in request and reaction is None:
        return settings.compute_reward(metrics)
    if ("reward" in request) == (reaction is not None):
        message = "give exactly one of reward, reaction and turn"
        raise InvalidRequestError(message, [FieldError("reward", message), FieldError("reaction", message)])
    if reaction is None:
        return settings.validate_reward(request["reward"])
    worth = compute_reaction_reward(reaction["action"], reaction.get("dwell_ms"))
    return min(max(worth, settings.minimum), settings.maximum)


def _join_parts(event: Reward, request: Mapping[str, Any], settings: RewardSettings) -> None:
    """Let a reward be one part of what its decision is taught, where the settings or its metrics make it one."""
    if settings != CONTRACT:
        event.settings = settings
    if (metrics := request.get("metrics")) is not None:
        formula = None if settings.formula is None or "reward" in request else settings.formula.hash
        document = json.dumps(validate_metrics(metrics), separators=(",", ":"))
        event.part = RewardPart(event.value, metrics=document, formula=formula)


async def _build_from_decision(
    deployment: ServiceContext,
    request: Mapping[str, Any],
    named: Policy | None,
    value: float,
    client: str,
) -> Reward:
    decision = await deployment.store.find_decision(request["decision_id"])
    if decision is None or request.get("user_id", decision.person) != decision.person:
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
        body_hash=hash_reward_request(deployment.catalogue, request),
        x=None,
        decision_id=decision.decision_id,
    )


def _build_legacy(
    deployment: ServiceContext, request: Mapping[str, Any], policy: Policy, value: float, client: str
) -> Reward:
    missing = [name for name in ("user_id", "tip_id", "features") if name not in request]
    if missing:
        message = "without a decision_id, user_id, tip_id and features are required"
        raise InvalidRequestError(message, [FieldError(name, "required without a decision_id") for name in missing])
    if deployment.has_one_model:
        message = "in a loop with one model for everybody, a reward names its decision"
        raise InvalidRequestError(message, [FieldError("decision_id", "required in a loop with one model")])
    if policy.schema.is_open:
        message = f"{policy.name} reads all of a context and a candidate, which this form does not tell apart"
        raise InvalidRequestError(message, [FieldError("decision_id", "required by a policy with open features")])
    features = request["features"]
    context = {name: features[name] for name in policy.schema.context_fields if name in features}
    if "day_of_week" in request:
        context["day_of_week"] = request["day_of_week"]
    return Reward(
        user_id=request["user_id"],
        policy=deployment.policy_refs[policy.name],
        tip_id=request["tip_id"],
        value=value,
        client=client,
        ts=deployment.clock(),
        body_hash=hash_reward_request(deployment.catalogue, request),
        x=policy.schema.encode(context, [features])[0],
        features=to_json({"context": context, "features": features}),
    )
