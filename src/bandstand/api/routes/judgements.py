"""The routes over turns taken as rewards: see what became of them, correct it, try again, hold them to a new gate."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.openapi import describe_operation
from bandstand.api.schemas.judgements import (
    OVERRIDE,
    OVERRIDE_EXAMPLES,
    REAPPLY,
    REAPPLY_EXAMPLES,
    RETRY,
    RETRY_EXAMPLES,
    Judgement,
    JudgementPage,
    Reapplied,
    Retried,
    Status,
)
from bandstand.api.schemas.requests import parse_body, validate_id
from bandstand.errors import AlreadyRewardedError, OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service import judgements
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.judgements import JudgementExpiredError, RewardPendingError, UnknownJudgementError

_PAGE = 1000
_WRITES = (OverloadedError, StorageUnavailableError, StorageFullError)
_CHANGES = (UnknownJudgementError, JudgementExpiredError, AlreadyRewardedError, RewardPendingError)


def build_judgements_router(judging: JudgeWorker) -> APIRouter:
    """The routes over one service's judgements."""
    routes = APIRouter(tags=["judgements"])
    judgement_extra = describe_operation(UnknownJudgementError, StorageUnavailableError)
    override_extra = describe_operation(*_CHANGES, *_WRITES, body="OverrideRequest", examples=OVERRIDE_EXAMPLES)
    retry_extra = describe_operation(UnknownJudgementError, *_WRITES, body="RetryRequest", examples=RETRY_EXAMPLES)
    reapply_extra = describe_operation(*_WRITES, body="ReapplyRequest", examples=REAPPLY_EXAMPLES)

    @routes.get("/judgements", response_model=JudgementPage, openapi_extra=describe_operation(StorageUnavailableError))
    async def judgement_list(
        status: Annotated[Status | None, Query(description="Left out, all")] = None,
        before: Annotated[int, Query(ge=0, le=LAST_SEQ)] = LAST_SEQ,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 100,
    ) -> dict[str, Any]:
        """Turns taken as rewards, newest first; `next` is the `before` of the next page."""
        return await judgements.list_page(judging, status, before, limit)

    @routes.get("/judgements/{judgement_id:id}", response_model=Judgement, openapi_extra=judgement_extra)
    async def judgement(judgement_id: str) -> dict[str, Any]:
        """One turn's verdict, what it taught, and everything that was made of it."""
        found = await judging.store.get_judgement(validate_id(judgement_id, "judgement_id"))
        return await judgements.load_detail(judging, found)

    @routes.post("/judgements/{judgement_id:id}/override", response_model=Judgement, openapi_extra=override_extra)
    async def override(request: Request, judgement_id: str) -> dict[str, Any]:
        """Put a person's verdict in the place of the judge's; what that taught is taken back."""
        asked = parse_body(OVERRIDE, await _read_body(request))
        judgement_id = validate_id(judgement_id, "judgement_id")
        return await judgements.override(judging, judgement_id, asked["label"], _get_client(request))

    @routes.post("/judgements/retry", response_model=Retried, openapi_extra=retry_extra)
    async def retry(request: Request) -> dict[str, Any]:
        """Let unscored turns wait for the judge again."""
        asked = parse_body(RETRY, await _read_body(request))
        since = asked.pop("since").timestamp() if "since" in asked else 0.0
        return await judgements.retry(judging, _get_client(request), since=since, **asked)

    @routes.post("/judgements/reapply", response_model=Reapplied, openapi_extra=reapply_extra)
    async def reapply(request: Request) -> dict[str, Any]:
        """Hold old verdicts to the gate as it is now, with no call of any judge."""
        asked = parse_body(REAPPLY, await _read_body(request))
        return await judgements.reapply_gate(judging, _get_client(request), since=asked["since"].timestamp())

    return routes


async def _read_body(request: Request) -> bytes:
    return await read_json_body(request.receive, dict(request.headers.raw))


def _get_client(request: Request) -> str:
    return cast("str", request.state.client)
