"""Turns: what the user said next, taken as a reward that a judge has yet to name."""

import secrets
from collections.abc import Mapping
from typing import Any

from bandstand.errors import FieldError, IdempotencyMismatchError, InvalidRequestError, UnknownDecisionError
from bandstand.judge.turn import Turn
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service.context import ServiceContext
from bandstand.service.request_identity import hash_reward_request, is_about
from bandstand.service.reward_batch import RewardRequest, build_rewards, find_rewarded
from bandstand.store.ids import format_id
from bandstand.store.tables.judgements import AcceptedTurn, JudgedTurn

_NONCE_BYTES = 8


async def accept(
    deployment: ServiceContext,
    worker: JudgeWorker,
    request: Mapping[str, Any],
    *,
    client: str,
    policy: str | None = None,
    idempotency: tuple[str, str] | None = None,
) -> AcceptedTurn:
    """Take a turn for the decision, or the legacy fields, of a reward request. It is kept as it may be judged: cut.

    Args:
        deployment: where.
        worker: who judges it.
        request: a validated reward request that has a ``turn``.
        client: name of the API key.
        policy: the policy named by the route, if one is.
        idempotency: scope (key name and route) and ``Idempotency-Key``.

    Raises:
        InvalidRequestError: it has another reward besides the turn, or neither a decision nor all legacy fields, or
            names an unknown taxonomy.
        JudgeOffError: this deployment judges nothing.
        UnknownPolicyError, UnknownDecisionError, WrongPolicyError: what it names is not there, or not so.
        AlreadyRewardedError, RewardPendingError: the decision has a reward, or a turn that is still being judged.
        IdempotencyMismatchError: the key came with another body before.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
    """
    if "reward" in request or request.get("reaction") is not None:
        message = "give exactly one of reward, reaction and turn"
        raise InvalidRequestError(message, [FieldError("turn", message)])
    texts = request["turn"]
    taxonomy = worker.get_taxonomy(texts.get("taxonomy"))
    cut = Turn.parse(texts).cut()
    is_default = taxonomy.name == worker.get_taxonomy(None).name  # to name it is no other request
    turn_request = {**request, "turn": {**texts, "taxonomy": None if is_default else taxonomy.name}}
    named = None if policy is None else deployment.get_policy(policy)
    try:
        decision = await find_rewarded(deployment, turn_request)
        (event,) = build_rewards(deployment, [RewardRequest(turn_request, 0.0, client, named, decision, idempotency)])
        if isinstance(event, Exception):
            raise event
    except UnknownDecisionError:
        earlier = None if idempotency is None else await worker.store.find_turn_by_key(idempotency)
        if earlier is None:
            raise
        is_same = earlier.body_hash == hash_reward_request(deployment.catalogue, turn_request)
        if not (is_same and is_about(request, earlier.user_id, earlier.tip_id)):
            raise IdempotencyMismatchError("this Idempotency-Key came with another body before") from None
        return AcceptedTurn(earlier, "key")
    return await worker.accept(
        JudgedTurn(
            judgement_id=format_id(0, secrets.token_hex(_NONCE_BYTES)),
            seq=0,
            user_id=event.user_id,
            policy=event.policy,
            tip_id=event.tip_id,
            taxonomy=taxonomy.name,
            body_hash=event.body_hash,
            client=client,
            ts=event.ts,
            decision_id=event.decision_id,
            features=event.features,
            texts=(cut.query_t, cut.answer_t, cut.query_t1, cut.about),
            idempotency=event.idempotency,
        )
    )
