"""The routes that give opinions and teach nothing: turns, corrections, intents."""

from time import perf_counter

from fastapi import APIRouter, Request, Response

from bandstand.api.asgi.disconnect import cancel_on_disconnect
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import build_router, get_admission, parse_request, to_json_response
from bandstand.api.schemas.judge_endpoints import (
    ARBITRATE,
    FEEDBACK,
    JUDGE,
    ArbitrateResponse,
    FeedbackResponse,
    JudgeResponse,
)
from bandstand.errors import OverloadedError
from bandstand.judge.cascade import JudgeOffError
from bandstand.judge.turn import Turn
from bandstand.judge_worker.stateless import StatelessJudge, UnscoredError, arbitrate, classify_feedback, judge_turns


def build_opinions_router(opinions: StatelessJudge, metrics: Metrics) -> APIRouter:
    """The routes over one deployment's judge."""
    routes = build_router("opinions")
    judge_extra = describe_operation(JudgeOffError, OverloadedError, body=JUDGE)
    feedback_extra = describe_operation(JudgeOffError, UnscoredError, OverloadedError, body=FEEDBACK)
    arbitrate_extra = describe_operation(OverloadedError, body=ARBITRATE)

    @routes.post("/judge", response_model=JudgeResponse, openapi_extra=judge_extra)
    async def judge(request: Request) -> Response:
        """Say how the user took the answer in one or up to 100 turns; nothing is taught."""
        body = await parse_request(request, JUDGE)
        turns = [(Turn.parse(fields), fields.get("taxonomy")) for fields in body.get("turns", [body])]
        began = perf_counter()
        judgements = await cancel_on_disconnect(request.receive, judge_turns(opinions, turns, get_admission(request)))
        for judgement in judgements:
            metrics.record_opinion("judge", judgement.judged.tier, judgement.unscored or "scored")
        metrics.record_opinion_time("judge", perf_counter() - began)
        return to_json_response({"judgements": [judgement.as_json() for judgement in judgements]})

    @routes.post("/classify/feedback", response_model=FeedbackResponse, openapi_extra=feedback_extra)
    async def classify(request: Request) -> Response:
        """Say whether a message corrects the reply before it, and how."""
        body = await parse_request(request, FEEDBACK)
        began = perf_counter()
        await get_admission(request)()
        threshold = {"threshold": body["threshold"]} if "threshold" in body else {}
        work = classify_feedback(opinions, body["message"], body["previous_reply"], **threshold)
        try:
            classified = await cancel_on_disconnect(request.receive, work)
        except UnscoredError:
            metrics.record_opinion("classify", "llm", "unscored")
            raise
        finally:
            metrics.record_opinion_time("classify", perf_counter() - began)
        metrics.record_opinion("classify", classified.judged.tier, "scored")
        return to_json_response(classified.to_response())

    @routes.post("/arbitrate", response_model=ArbitrateResponse, openapi_extra=arbitrate_extra)
    async def arbitration(request: Request) -> Response:
        """Decide which intent a message has, by the scores or, where these do not settle it, by an LLM."""
        body = await parse_request(request, ARBITRATE)
        began = perf_counter()
        await get_admission(request)()
        decided = await cancel_on_disconnect(request.receive, arbitrate(opinions, body))
        metrics.record_opinion_time("arbitrate", perf_counter() - began)
        outcome = "scores" if not decided.triggered else "undecided" if decided.intent_id is None else "llm"
        metrics.record_arbitration(body["tenant_id"], outcome)
        return to_json_response(decided.as_json())

    return routes
