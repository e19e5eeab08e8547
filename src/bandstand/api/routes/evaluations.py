"""The routes that evaluate policies on the log, in the background."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import build_router, get_client, parse_request
from bandstand.api.schemas.evaluations import EVALUATION, Evaluation, EvaluationList, EvaluationResult
from bandstand.errors import (
    OverloadedError,
    StorageFullError,
    StorageUnavailableError,
    UnknownPolicyError,
)
from bandstand.evaluate.background import EvaluationQueue
from bandstand.evaluate.errors import UnknownEvaluationError
from bandstand.service.evaluations import EvaluationPage, EvaluationReport, build_report
from bandstand.service.runs import RunStatus, build_status
from bandstand.store.tables.run_table import MAX_RUN_ID
from bandstand.times import format_timestamp

_PAGE = 200
_TIMES = frozenset({"since", "until"})
RunNumber = Annotated[int, Path(ge=1, le=MAX_RUN_ID)]
_KEEPING = (StorageUnavailableError, StorageFullError)


def build_evaluations_router(runs: EvaluationQueue) -> APIRouter:
    """The routes over one service's evaluations."""
    routes = build_router("evaluations")
    start_extra = describe_operation(OverloadedError, UnknownPolicyError, *_KEEPING, body=EVALUATION)
    run_extra = describe_operation(UnknownEvaluationError, *_KEEPING)

    @routes.post("/evaluations", status_code=202, response_model=Evaluation, openapi_extra=start_extra)
    async def start_evaluation(request: Request, response: Response) -> RunStatus:
        """Queue an evaluation; evaluations run in the background, one after the other."""
        body = await parse_request(request, EVALUATION)
        run = await runs.start(_to_document(body), get_client(request))
        response.headers["location"] = f"/evaluations/{run.id}"
        return build_status(run)

    @routes.get("/evaluations", response_model=EvaluationList, openapi_extra=describe_operation(*_KEEPING))
    async def list_evaluations(
        before: Annotated[int | None, Query(ge=1, le=MAX_RUN_ID)] = None,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 50,
    ) -> EvaluationPage:
        """Evaluations, newest first."""
        page = await runs.list_page(before=before, limit=limit)
        return EvaluationPage(
            evaluations=[build_status(run) for run in page], next=page[-1].id if len(page) == limit else None
        )

    @routes.get("/evaluations/{run}", response_model=EvaluationResult, openapi_extra=run_extra)
    async def show_evaluation(run: RunNumber) -> EvaluationReport:
        """One evaluation: its progress, and its report once it is done."""
        return build_report(await runs.get(run))

    @routes.post("/evaluations/{run}/cancel", response_model=Evaluation, openapi_extra=run_extra)
    async def cancel_evaluation(run: RunNumber) -> RunStatus:
        """Stop an evaluation; one that has ended stays as it is."""
        return build_status(await runs.cancel(run))

    @routes.delete("/evaluations/{run}", status_code=204, response_class=Response, openapi_extra=run_extra)
    async def delete_evaluation(run: RunNumber) -> Response:
        """End an evaluation and forget it."""
        await runs.delete(run)
        return Response(status_code=204)

    return routes


def _to_document(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: format_timestamp(value) if name in _TIMES else value for name, value in body.items()}
