"""The routes over turns taken as rewards: see what became of them, correct it, try again, hold them to a new gate."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.openapi import described
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
from bandstand.api.schemas.requests import checked_id, parsed
from bandstand.errors import AlreadyRewardedError, OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.judge_worker.worker import Judging
from bandstand.service import judgements
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.judgements import JudgementExpiredError, RewardPendingError, UnknownJudgementError

_PAGE = 1000
_WRITES = (OverloadedError, StorageUnavailableError, StorageFullError)
_CHANGES = (UnknownJudgementError, JudgementExpiredError, AlreadyRewardedError, RewardPendingError)


def judgements_router(judging: Judging) -> APIRouter:
    """The routes over one service's judgements."""
    routes = APIRouter(tags=["judgements"])
    one_extra = described(UnknownJudgementError, StorageUnavailableError)
    override_extra = described(*_CHANGES, *_WRITES, body="OverrideRequest", examples=OVERRIDE_EXAMPLES)
    retry_extra = described(UnknownJudgementError, *_WRITES, body="RetryRequest", examples=RETRY_EXAMPLES)
    reapply_extra = described(*_WRITES, body="ReapplyRequest", examples=REAPPLY_EXAMPLES)

    @routes.get("/judgements", response_model=JudgementPage, openapi_extra=described(StorageUnavailableError))
    async def judgement_list(
        status: Annotated[Status | None, Query(description="Left out, all")] = None,
        before: Annotated[int, Query(ge=0, le=LAST_SEQ)] = LAST_SEQ,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 100,
    ) -> dict[str, Any]:
        """Turns taken as rewards, newest first; `next` is the `before` of the next page."""
        return await judgements.page(judging, status, before, limit)

    @routes.get("/judgements/{judgement_id:id}", response_model=Judgement, openapi_extra=one_extra)
    async def judgement(judgement_id: str) -> dict[str, Any]:
        """One turn's verdict, what it taught, and everything that was made of it."""
        found = await judging.store.judgement(checked_id(judgement_id, "judgement_id"))
        return await judgements.told(judging, found)

    @routes.post("/judgements/{judgement_id:id}/override", response_model=Judgement, openapi_extra=override_extra)
    async def override(request: Request, judgement_id: str) -> dict[str, Any]:
        """Put a person's verdict in the place of the judge's; what that taught is taken back."""
        asked = parsed(OVERRIDE, await _body(request))
        judgement_id = checked_id(judgement_id, "judgement_id")
        return await judgements.override(judging, judgement_id, asked["label"], _client(request))

    @routes.post("/judgements/retry", response_model=Retried, openapi_extra=retry_extra)
    async def retry(request: Request) -> dict[str, Any]:
        """Let unscored turns wait for the judge again."""
        asked = parsed(RETRY, await _body(request))
        since = asked.pop("since").timestamp() if "since" in asked else 0.0
        return await judgements.retry(judging, _client(request), since=since, **asked)

    @routes.post("/judgements/reapply", response_model=Reapplied, openapi_extra=reapply_extra)
    async def reapply(request: Request) -> dict[str, Any]:
        """Hold old verdicts to the gate as it is now, with no call of any judge."""
        asked = parsed(REAPPLY, await _body(request))
        return await judgements.reapply(judging, _client(request), since=asked["since"].timestamp())

    return routes


async def _body(request: Request) -> bytes:
    return await read_json_body(request.receive, dict(request.headers.raw))


def _client(request: Request) -> str:
    return cast("str", request.state.client)
