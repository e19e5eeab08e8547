"""The routes over turns taken as rewards: see what became of them, correct it, judge again, apply a new gate."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import (
    WRITE_ERRORS,
    EventCursor,
    PageSize,
    build_router,
    get_client,
    may_see_content,
    parse_request,
)
from bandstand.api.schemas.judgements import (
    OVERRIDE,
    REAPPLY,
    RETRY,
    Judgement,
    JudgementPage,
    Reapplied,
    Retried,
    Status,
)
from bandstand.api.schemas.requests import validate_id
from bandstand.errors import AlreadyRewardedError, StorageUnavailableError
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service import judgements
from bandstand.service.content import withhold_quotes
from bandstand.service.judgements import JudgementDetail, JudgementList, ReapplyResult, RetryResult
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.judgements import JudgementExpiredError, RewardPendingError, UnknownJudgementError

_CHANGES = (UnknownJudgementError, JudgementExpiredError, AlreadyRewardedError, RewardPendingError)


def build_judgements_router(judging: JudgeWorker) -> APIRouter:
    """The routes over one service's judgements."""
    routes = build_router("judgements")
    judgement_extra = describe_operation(UnknownJudgementError, StorageUnavailableError)
    override_extra = describe_operation(*_CHANGES, *WRITE_ERRORS, body=OVERRIDE)
    retry_extra = describe_operation(UnknownJudgementError, *WRITE_ERRORS, body=RETRY)
    reapply_extra = describe_operation(*WRITE_ERRORS, body=REAPPLY)

    @routes.get("/judgements", response_model=JudgementPage, openapi_extra=describe_operation(StorageUnavailableError))
    async def judgement_list(
        status: Annotated[Status | None, Query(description="Left out, all")] = None,
        before: EventCursor = LAST_SEQ,
        limit: PageSize = 100,
    ) -> JudgementList:
        """Turns taken as rewards, newest first; `next` is the `before` of the next page."""
        return await judgements.list_page(judging, status, before, limit)

    @routes.get("/judgements/{judgement_id:id}", response_model=Judgement, openapi_extra=judgement_extra)
    async def judgement(request: Request, judgement_id: str) -> JudgementDetail:
        """One turn's verdict, what it taught, and everything that was made of it."""
        found = await judging.store.get_judgement(validate_id(judgement_id, "judgement_id"))
        detail = await judgements.load_detail(judging, found)
        return detail if may_see_content(request) else withhold_quotes(detail)

    @routes.post("/judgements/{judgement_id:id}/override", response_model=Judgement, openapi_extra=override_extra)
    async def override(request: Request, judgement_id: str) -> JudgementDetail:
        """Put a person's verdict in the place of the judge's; what that taught is taken back."""
        body = await parse_request(request, OVERRIDE)
        judgement_id = validate_id(judgement_id, "judgement_id")
        return await judgements.override(judging, judgement_id, body["label"], get_client(request))

    @routes.post("/judgements/retry", response_model=Retried, openapi_extra=retry_extra)
    async def retry(request: Request) -> RetryResult:
        """Put unscored turns back into the judge's queue."""
        body = await parse_request(request, RETRY)
        since = body.pop("since", 0.0)
        return await judgements.retry(judging, get_client(request), since=since, **body)

    @routes.post("/judgements/reapply", response_model=Reapplied, openapi_extra=reapply_extra)
    async def reapply(request: Request) -> ReapplyResult:
        """Apply the present gate to old verdicts, without calling a judge."""
        body = await parse_request(request, REAPPLY)
        return await judgements.reapply_gate(judging, get_client(request), since=body["since"])

    return routes
