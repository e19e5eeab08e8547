"""The routes that a product calls all day: score and reward."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.fast_path import Answer, Handler, HotPath
from bandstand.api.asgi.hot_call import HotCall
from bandstand.api.asgi.request_heads import Permit, RequestHead
from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, build_router, get_client
from bandstand.api.schemas.judgements import Judgement, TurnTaken
from bandstand.api.schemas.learning import Activated, RewardResponse, ScoreResponse
from bandstand.api.schemas.requests import Wire, validate_id
from bandstand.errors import (
    AlreadyRewardedError,
    DecisionConflictError,
    DecisionHeldError,
    IdempotencyMismatchError,
    LearningModeError,
    UnknownDecisionError,
    WrongPolicyError,
)
from bandstand.judge.cascade import JudgeOffError
from bandstand.service.activation import ActivationResult, activate
from bandstand.service.context import ServiceContext
from bandstand.store.outcomes import make_callback
from bandstand.store.tables.judgements import RewardPendingError

_REWARDING = (UnknownDecisionError, WrongPolicyError, AlreadyRewardedError, IdempotencyMismatchError)
_JUDGING = (RewardPendingError, DecisionHeldError, JudgeOffError)
_TAKEN: dict[int | str, dict[str, Any]] = {
    202: {"model": TurnTaken, "description": "The turn is kept, and will be judged"}
}


def build_learning_router(deployment: ServiceContext, wire: Wire, hot: HotPath) -> APIRouter:
    """Score and reward, as the framework and OpenAPI know them; the gate answers them itself, by the same handlers."""
    routes = build_router("learning")
    score_extra = describe_operation(DecisionConflictError, *WRITE_ERRORS, body=wire.score)
    named_extra = describe_operation(DecisionConflictError, LearningModeError, *WRITE_ERRORS, body=wire.score)
    activate_extra = describe_operation(UnknownDecisionError, *WRITE_ERRORS)
    reward_extra = describe_operation(*_REWARDING, *_JUDGING, *WRITE_ERRORS, body=wire.reward)

    @routes.post("/score", response_model=ScoreResponse, openapi_extra=score_extra)
    async def score(request: Request) -> Response:
        """Pick one of the candidates with the active policy."""
        return await answer(request, hot.begin_score, None)

    @routes.post("/score/{policy:id}", response_model=ScoreResponse, openapi_extra=named_extra)
    async def score_with(request: Request, policy: str) -> Response:
        """Pick one of the candidates with a named policy (`linucb` and `egreedy` always mean v1)."""
        return await answer(request, hot.begin_score, policy)

    @routes.post(
        "/reward",
        response_model=RewardResponse | Judgement,
        responses=_TAKEN,
        openapi_extra=reward_extra,
    )
    async def reward(request: Request) -> Response:
        """Teach what the user did: by `decision_id`, or by the legacy fields (then the active policy learns)."""
        return await answer(request, hot.begin_reward, None)

    @routes.post(
        "/reward/{policy:id}",
        response_model=RewardResponse | Judgement,
        responses=_TAKEN,
        openapi_extra=reward_extra,
    )
    async def reward_to(request: Request, policy: str) -> Response:
        """Teach a named policy; a decision of another policy is a 422."""
        return await answer(request, hot.begin_reward, policy)

    @routes.post("/decisions/{decision_id:id}/activate", response_model=Activated, openapi_extra=activate_extra)
    async def activate_decision(request: Request, decision_id: str) -> ActivationResult:
        """Say that a decision that was held back has been shown: from now on its rewards teach. Idempotent."""
        return await activate(deployment, validate_id(decision_id, "decision_id"), get_client(request))

    async def answer(request: Request, begin: Handler, policy: str | None) -> Response:
        headers = dict(request.headers.raw)
        call = _build_call(request, headers, policy)
        call.body = await read_json_body(request.receive, headers)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        begin(call, make_callback(answered))
        status, content = await answered
        return Response(content, status, media_type="application/json")

    return routes


def _build_call(request: Request, headers: dict[bytes, bytes], policy: str | None) -> HotCall:
    head = RequestHead(request.url.path, request.scope["query_string"], headers)
    permit = Permit(client=get_client(request), policy=policy, query=head.query)
    return HotCall(head, permit=permit)
