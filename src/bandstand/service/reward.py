"""Reward: have the request logged with its neighbours of the same turn of the loop, and answer after the sync."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import (
    AlreadyRewardedError,
    FieldError,
    IdempotencyMismatchError,
    InvalidRequestError,
    UnknownDecisionError,
)
from bandstand.service.context import ServiceContext
from bandstand.service.request_identity import hash_body, hash_reward_request, is_about
from bandstand.service.reward_batch import RewardRequest, find_rewarded
from bandstand.store.records import AcceptedReward, Reward


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
    named = None if policy is None else deployment.get_policy(policy)
    try:
        decision = await find_rewarded(deployment, request)
        taken = await deployment.rewarding.submit(RewardRequest(request, value, client, named, decision, idempotency))
    except UnknownDecisionError:
        earlier = None if idempotency is None else await deployment.store.find_reward_by_key(idempotency)
        if earlier is None:
            raise
        outcome = AcceptedReward(earlier, "key")
    else:
        outcome = await taken
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
    return settings.compute_reaction_reward(reaction["action"], reaction.get("dwell_ms"))
