"""The page on which a person reviews turns: their words, the verdict, and one key to accept it or put it right."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.form import Cursor, Form, get_field
from bandstand.console.judge_runs import list_judge_runs, load_lessons
from bandstand.console.pages import Pages, build_link
from bandstand.errors import AlreadyRewardedError, InvalidRequestError
from bandstand.judge.training.agreement import Agreement, compute_agreement
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service import judgements as service
from bandstand.service.judge_runs import JudgeRunQueue
from bandstand.store.tables.console_queries import ConsoleSource
from bandstand.store.tables.judgements import JudgementExpiredError, RewardPendingError, UnknownJudgementError
from bandstand.store.tables.reviews import MAX_SEARCHED, LabelPair, ReviewFilter, ReviewState

_PAGE = 20
_PATH = "/judge/review"
_REJECTED = (
    AlreadyRewardedError,
    JudgementExpiredError,
    RewardPendingError,
    InvalidRequestError,
    UnknownJudgementError,
)
_STATES: Mapping[str, ReviewState] = {name: name for name in get_args(ReviewState)}
_DEFAULT_STATE: ReviewState = "open"
_ALL = "all"


def add_review_routes(
    routes: APIRouter, pages: Pages, judging: JudgeWorker, sight: ConsoleSource, runs: JudgeRunQueue
) -> None:
    """Add the review of turns, and its labels as a file."""

    @routes.get(_PATH)
    async def show_reviews(request: Request, before: Cursor = None, at: int = 0) -> Response:
        return await render_reviews(request, request.query_params, before=before, at=at)

    @routes.post(_PATH)
    async def review_turn(request: Request) -> Response:
        form = get_form(request)
        fields = {name: get_field(form, name) for name in ("state", "label", "user", "confidence")}
        before, at = _read_number(form, "before"), _read_number(form, "at") or 0
        visit = get_visit(request)
        try:
            await service.override(
                judging, get_field(form, "id"), get_field(form, "verdict"), visit.client, author=visit.author
            )
        except _REJECTED as error:
            return await render_reviews(request, fields, before=before, at=at, refused=error.detail)
        onward = {name: value or None for name, value in fields.items()}
        return RedirectResponse(build_link(_PATH, **onward, before=before, at=at, done="yes"), 303)

    @routes.get("/judge/labels.jsonl")
    async def get_labels(taxonomy: str = "") -> Response:
        name = taxonomy or judging.options.default_taxonomy
        if name not in judging.options.taxonomies:
            raise PageNotFoundError("there is no taxonomy of that name")
        labelled = await sight.list_labelled_turns(name)
        body = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in labelled)
        disposition = f'attachment; filename="{name}-labels.jsonl"'
        headers = {"content-disposition": disposition, "cache-control": "no-store"}
        return Response(body, media_type="application/x-ndjson", headers=headers)

    async def render_reviews(
        request: Request,
        fields: Mapping[str, str],
        *,
        before: int | None = None,
        at: int = 0,
        refused: str | None = None,
    ) -> Response:
        wanted = _read_filter(fields)
        page = await sight.list_reviews(wanted, before, _PAGE)
        pairs = await sight.load_label_pairs()
        chosen = {
            "state": wanted.state or _ALL,
            "label": wanted.label,
            "user": wanted.user_id,
            "confidence": fields.get("confidence") or None,
        }
        return pages.render(
            "review.html",
            get_visit(request),
            409 if refused else 200,
            turns=page.turns,
            labels={each.taxonomy: _list_labels(judging, each.taxonomy) for each in page.turns},
            all_labels=list(
                dict.fromkeys(name for each in judging.options.taxonomies.values() for name in each.label_names)
            ),
            states=[*_STATES, _ALL],
            chosen=chosen,
            before=before,
            at=min(max(at, 0), max(len(page.turns) - 1, 0)),
            onward=None if page.next is None else build_link(_PATH, **chosen, before=page.next),
            first_page=build_link(_PATH, **chosen),
            searched=MAX_SEARCHED,
            lessons=await load_lessons(judging, sight),
            learned=await list_judge_runs(runs),
            agreements=await asyncio.to_thread(_compare_labels, pairs),
            refused=refused,
            done=request.query_params.get("done") == "yes",
        )


def _read_filter(fields: Mapping[str, str]) -> ReviewFilter:
    state = fields.get("state") or _DEFAULT_STATE
    try:
        percent = float(fields.get("confidence") or "nan")
    except ValueError:
        percent = float("nan")
    return ReviewFilter(
        state=None if state == _ALL else _STATES.get(state, _DEFAULT_STATE),
        label=fields.get("label") or None,
        user_id=fields.get("user") or None,
        max_confidence=percent / 100.0 if 0 <= percent <= 100 else None,  # noqa: PLR2004 (per cent)
    )


def _read_number(form: Form, name: str) -> int | None:
    text = get_field(form, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 (what a ledger can count to)


def _list_labels(judging: JudgeWorker, taxonomy: str) -> Sequence[str]:
    known = judging.options.taxonomies.get(taxonomy)
    return () if known is None else known.label_names


def _compare_labels(pairs: Sequence[LabelPair]) -> dict[str, Agreement]:
    """How people and the judge agree, by taxonomy."""
    found: dict[str, list[tuple[str, str]]] = {}
    for each in pairs:
        if each.judge is not None:
            found.setdefault(each.taxonomy, []).append((each.person, each.judge))
    return {taxonomy: compute_agreement(labels) for taxonomy, labels in sorted(found.items())}
