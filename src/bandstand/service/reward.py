"""Reward: have the request logged with its neighbours of the same turn of the loop, and answer after the sync."""

import asyncio
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

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
from bandstand.service.reward_batch import RewardRequest, build_unread, find_rewarded
from bandstand.store.outcomes import OutcomeCallback, make_callback, run, watch
from bandstand.store.records import AcceptedReward, Reward


class RewardResult(Struct):
    """The result of a reward.

    Attributes:
        applied: whether it taught its policy; ``reason`` says why not.
        repeated: the same request came before, and this is its earlier reward.
        aggregate: what the decision has taught with it; ``None`` if that is nothing, or this reward alone.
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
    """Teach what the user did: as :func:`begin_reward`, to be awaited."""
    future: asyncio.Future[RewardResult] = asyncio.get_running_loop().create_future()
    begin_reward(deployment, request, make_callback(future), client=client, policy=policy, idempotency=idempotency)
    return await future


def begin_reward(
    deployment: ServiceContext,
    request: Mapping[str, Any],
    done: OutcomeCallback[RewardResult],
    *,
    client: str,
    policy: str | None = None,
    idempotency: tuple[str, str] | None = None,
) -> None:
    """Begin to teach a reward, by ``decision_id`` or by the legacy fields.

    Args:
        deployment: where.
        request: a validated reward request.
        done: called with the result once it is committed and synced, or with the error.
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
    value = _parse_value(request, deployment.reward_settings)
    named = None if policy is None else deployment.get_policy(policy)
    call = _RewardCall(request, value, client, named, None, idempotency, deployment=deployment, done=done)
    deployment.rewarding.submit(call)


class _RewardCall(RewardRequest, eq=False, kw_only=True):
    """A request on its way to its answer.

    Attributes:
        deployment: where.
        done: called with the answer.
    """

    deployment: ServiceContext
    done: OutcomeCallback[RewardResult]

    def find_decision(self) -> None:
        """Have it taken by the ledger, which finds the decision; else read the decision, and have it taken then."""
        unread = build_unread(self.deployment, self)
        if unread is None:
            run(self._read_decision())
        else:
            watch(self.deployment.store.reward_unread(unread), self._conclude_unread)

    def _conclude_unread(self, accepted: AcceptedReward | None, error: BaseException | None) -> None:
        if accepted is None and error is None:
            run(self._read_decision())
        else:
            self.conclude(accepted, error)

    async def _read_decision(self) -> None:
        try:
            self.decision, self.is_read = await find_rewarded(self.deployment, self.request), True
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            self.conclude(None, failure)
        else:
            self.deployment.rewarding.submit(self)

    def conclude(self, accepted: AcceptedReward | None, error: BaseException | None) -> None:
        """Answer with the reward that stands."""
        if accepted is None and isinstance(error, UnknownDecisionError) and self.idempotency is not None:
            run(self._find_by_key(self.idempotency, error))
        elif accepted is None:
            self.done(None, error)
        else:
            try:
                result = self._read_result(accepted)
            except Exception as failure:  # noqa: BLE001 (whoever asked has it)
                self.done(None, failure)
            else:
                self.done(result, None)

    async def _find_by_key(self, key: tuple[str, str], error: UnknownDecisionError) -> None:
        """Answer with what came with its key, where the decision that it names is not known any more."""
        try:
            earlier = await self.deployment.store.find_reward_by_key(key)
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            self.done(None, failure)
            return
        if earlier is None:
            self.done(None, error)
        else:
            self.conclude(AcceptedReward(earlier, "key"), None)

    def _read_result(self, accepted: AcceptedReward) -> RewardResult:
        deployment, request, stands, is_new = self.deployment, self.request, accepted.reward, accepted.match == "new"
        if is_new:
            deployment.population.apply_reward(stands)
        elif not _is_same_request(deployment, stands, request):
            if accepted.match == "key":
                message = "this Idempotency-Key came with another body before"
                raise IdempotencyMismatchError(message)
            message = "this decision already has another reward"
            raise AlreadyRewardedError(message)
        part = stands.part
        return RewardResult(
            stands.policy.name,
            stands.value if part is None else part.value,
            stands.applied,
            stands.reason,
            request.get("decision_id"),
            repeated=not is_new,
            aggregate=None if part is None else part.taught,
        )


def _is_same_request(deployment: ServiceContext, stands: Reward, request: Mapping[str, Any]) -> bool:
    if stands.body_hash == hash_reward_request(deployment.catalogue, request):
        # In a loop with one model, whose decision it is was looked at when that was found.
        user_id = request.get("user_id", "") if deployment.has_one_model else stands.user_id
        return is_about(request, user_id, stands.tip_id)
    return stands.body_hash == hash_body(request)  # it was logged when whole bodies were compared


def _parse_value(request: Mapping[str, Any], settings: RewardSettings) -> float:
    """Return the value of a request: its reward, or that of its reaction, or that of its metrics."""
    reaction, metrics = request.get("reaction"), request.get("metrics")
    if metrics is None and reaction is None and "reward" in request:
        return settings.validate_reward(request["reward"])
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
