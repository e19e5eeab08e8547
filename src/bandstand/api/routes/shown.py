"""The routes of what was shown: decisions by words, candidate and user, and what gets picked."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.problems import ForbiddenError
from bandstand.api.routes.helpers import build_router, may_see_content
from bandstand.api.schemas.shown import DecisionQuery, Picks, ShownDecisions
from bandstand.errors import InvalidRequestError, StorageUnavailableError
from bandstand.service.picks import PickReport, load_pick_report
from bandstand.service.shown import DecisionMatches, SearchQuestion, find_decisions
from bandstand.store.tables.console_queries import ConsoleSource

GroupCount = Annotated[int, Query(ge=1, le=1000, description="Groups in a table")]


def build_shown_router(sight: ConsoleSource) -> APIRouter:
    """The routes over one ledger."""
    routes = build_router("sight")

    @routes.get(
        "/decisions",
        response_model=ShownDecisions,
        openapi_extra=describe_operation(InvalidRequestError, StorageUnavailableError),
    )
    async def decision_list(request: Request, query: Annotated[DecisionQuery, Query()]) -> DecisionMatches:
        """Decisions by what they showed, newest first.

        One call looks at 10,000 decisions; `next` is the `before` of the next page.
        """
        shows_content = may_see_content(request)
        if query.words.strip() and not shows_content:
            raise ForbiddenError("this key may not see contents, nor look for words of them")
        question = SearchQuestion(**query.model_dump(exclude={"before", "limit"}, exclude_none=True))
        return await find_decisions(
            sight, question, before=query.before, limit=query.limit, shows_content=shows_content
        )

    @routes.get("/picks", response_model=Picks, openapi_extra=describe_operation(StorageUnavailableError))
    async def picks(request: Request, limit: GroupCount = 10) -> PickReport:
        """What the newest 10,000 decisions picked, by item, source and feature value, and what it earned."""
        return await load_pick_report(sight, limit, shows_content=may_see_content(request))

    return routes
