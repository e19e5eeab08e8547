"""The routes that give opinions and teach nothing: turns, corrections, intents."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.disconnect import unless_gone
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.openapi import described
from bandstand.api.schemas.judge_endpoints import (
    ARBITRATE,
    ARBITRATE_EXAMPLES,
    FEEDBACK,
    FEEDBACK_EXAMPLES,
    JUDGE,
    JUDGE_EXAMPLES,
    ArbitrateResponse,
    FeedbackResponse,
    JudgeResponse,
)
from bandstand.api.schemas.requests import parsed
from bandstand.errors import OverloadedError
from bandstand.judge.cascade import JudgeOffError
from bandstand.judge.turn import Turn
from bandstand.judge_worker.stateless import Opinions, UnscoredError, arbitrate, classify_feedback, judge_turns


def opinions_router(opinions: Opinions, metrics: Metrics) -> APIRouter:
    """The routes over one deployment's judge."""
    routes = APIRouter(tags=["opinions"])
    judge_extra = described(JudgeOffError, OverloadedError, body="JudgeRequest", examples=JUDGE_EXAMPLES)
    feedback_extra = described(
        JudgeOffError, UnscoredError, OverloadedError, body="FeedbackRequest", examples=FEEDBACK_EXAMPLES
    )
    arbitrate_extra = described(OverloadedError, body="ArbitrateRequest", examples=ARBITRATE_EXAMPLES)

    @routes.post("/judge", response_model=JudgeResponse, openapi_extra=judge_extra)
    async def judge(request: Request) -> Response:
        """Say how the user took the answer in one or up to 100 turns; nothing is taught."""
        body = parsed(JUDGE, await _body(request))
        turns = [(Turn.parse(fields), fields.get("taxonomy")) for fields in body.get("turns", [body])]
        began = perf_counter()
        judgements = await unless_gone(request.receive, judge_turns(opinions, turns, _door(request)))
        for judgement in judgements:
            metrics.opinion("judge", judgement.judged.tier, judgement.unscored or "scored")
        metrics.opinions_took("judge", perf_counter() - began)
        return _json({"judgements": [judgement.as_json() for judgement in judgements]})

    @routes.post("/classify/feedback", response_model=FeedbackResponse, openapi_extra=feedback_extra)
    async def classify(request: Request) -> Response:
        """Say whether a message corrects the reply before it, and how."""
        body = parsed(FEEDBACK, await _body(request))
        began = perf_counter()
        await _door(request)()
        threshold = {"threshold": body["threshold"]} if "threshold" in body else {}
        work = classify_feedback(opinions, body["message"], body["previous_reply"], **threshold)
        try:
            classified = await unless_gone(request.receive, work)
        except UnscoredError:
            metrics.opinion("classify", "llm", "unscored")
            raise
        finally:
            metrics.opinions_took("classify", perf_counter() - began)
        metrics.opinion("classify", classified.judged.tier, "scored")
        return _json(classified.answer())

    @routes.post("/arbitrate", response_model=ArbitrateResponse, openapi_extra=arbitrate_extra)
    async def arbitration(request: Request) -> Response:
        """Decide which intent a message has, by the scores or, where these do not settle it, by an LLM."""
        body = parsed(ARBITRATE, await _body(request))
        began = perf_counter()
        await _door(request)()
        decided = await unless_gone(request.receive, arbitrate(opinions, body))
        metrics.opinions_took("arbitrate", perf_counter() - began)
        outcome = "scores" if not decided.triggered else "undecided" if decided.intent_id is None else "llm"
        metrics.arbitration(body["tenant_id"], outcome)
        return _json(decided.as_json())

    return routes


async def _body(request: Request) -> bytes:
    return await read_json_body(request.receive, dict(request.headers.raw))


def _door(request: Request) -> Callable[[], Awaitable[None]]:
    """Where heavy work waits for its turn; see :mod:`bandstand.api.asgi.admission`."""
    return cast("Callable[[], Awaitable[None]]", request.state.enter)


def _json(answer: dict[str, Any]) -> Response:
    return Response(to_json(answer), media_type="application/json")
