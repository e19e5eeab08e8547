"""The page of what was shown: what gets picked and what it earns, and a search by words, candidate and user."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from bandstand.console.auth import get_visit
from bandstand.console.form import Cursor
from bandstand.console.pages import Pages, build_link
from bandstand.errors import InvalidRequestError
from bandstand.service.picks import load_pick_report
from bandstand.service.shown import DecisionMatches, SearchQuestion, find_decisions
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.console_queries import ConsoleSource

_FIELDS = ("words", "candidate", "among", "user", "since", "until")
_PAGE = 50
_SEARCHED = 5_000
"""Decisions that a page is looked for in, half as many as over the API: a person waits for it."""
_FEW, _MANY = 10, 200
"""Rows of a table at first, and on request."""


def add_shown_routes(routes: APIRouter, pages: Pages, sight: ConsoleSource) -> None:
    """Add the page."""

    @routes.get("/shown")
    async def show_shown(request: Request, before: Cursor = None, rows: str = "") -> Response:
        fields = {name: request.query_params.get(name, "") for name in _FIELDS}
        question = _build_question(fields)
        found: DecisionMatches | None = None
        refused = None
        if is_search := any(value for name, value in fields.items() if name != "among"):
            start = LAST_SEQ if before is None else before
            try:
                found = await find_decisions(sight, question, before=start, limit=_PAGE, scanned=_SEARCHED)
            except InvalidRequestError as error:
                refused = error.detail
        given = {name: value or None for name, value in fields.items()}
        return pages.render(
            "shown.html",
            get_visit(request),
            422 if refused else 200,
            question=question,
            found=found,
            refused=refused,
            first_page=before is None,
            first=build_link("/shown", **given),
            onward=None if found is None or found.next is None else build_link("/shown", **given, before=found.next),
            picks=None if is_search else await load_pick_report(sight, _MANY if rows == "all" else _FEW),
            is_long=rows == "all",
        )


def _build_question(fields: Mapping[str, str]) -> SearchQuestion:
    return SearchQuestion(
        words=fields["words"],
        candidate_id=fields["candidate"].strip(),
        among="offered" if fields["among"] == "offered" else "picked",
        user_id=fields["user"].strip(),
        since=fields["since"].strip(),
        until=fields["until"].strip(),
    )
