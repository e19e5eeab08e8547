"""The pages of the judge: what became of turns, corrections by people, and what judging costs."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.form import Cursor, get_field
from bandstand.console.pages import Pages, build_link
from bandstand.errors import AlreadyRewardedError, InvalidRequestError
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service import judgements as service
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.console_queries import ConsoleSource
from bandstand.store.tables.judgements import JudgementExpiredError, RewardPendingError, UnknownJudgementError

_PAGE = 50
_REJECTED = (AlreadyRewardedError, JudgementExpiredError, RewardPendingError, InvalidRequestError)


def add_judge_routes(routes: APIRouter, pages: Pages, judging: JudgeWorker, sight: ConsoleSource) -> None:
    """Add the pages about turns and their verdicts."""

    @routes.get("/judge")
    async def list_judgements(
        request: Request, status: str = "", before: Cursor = None, retried: int | None = None
    ) -> Response:
        wanted = status if status in service.STATUSES else None
        page = await service.list_page(judging, wanted, LAST_SEQ if before is None else before, _PAGE)
        onward = None if page.next is None else build_link("/judge", status=wanted, before=page.next)
        return pages.render(
            "judge.html",
            get_visit(request),
            judgements=page.judgements,
            verdicts=await sight.load_verdicts([each.judgement_id for each in page.judgements]),
            coverage=await service.load_coverage(judging),
            statuses=list(service.STATUSES),
            status=wanted,
            onward=onward,
            first_page=before is None,
            on=judging.options.enabled,
            caps=judging.options.caps,
            retried=retried,
        )

    @routes.get("/judgement")
    async def show_judgement(request: Request, id: str, done: str = "") -> Response:  # noqa: A002 (the name in the address)
        return await render_judgement(
            request, id, note="A person's verdict stands now." if done == "overridden" else None
        )

    @routes.post("/judgement/override")
    async def override_judgement(request: Request) -> Response:
        form = get_form(request)
        judgement_id = get_field(form, "id")
        try:
            visit = get_visit(request)
            await service.override(judging, judgement_id, get_field(form, "label"), visit.client, author=visit.author)
        except _REJECTED as error:
            return await render_judgement(request, judgement_id, refused=error.detail, status=409)
        except UnknownJudgementError:
            raise _make_not_found() from None
        return RedirectResponse(build_link("/judgement", id=judgement_id, done="overridden"), 303)

    @routes.post("/judge/retry")
    async def retry_unscored(request: Request) -> Response:
        result = await service.retry(judging, get_visit(request).client)
        return RedirectResponse(build_link("/judge", retried=result.retried), 303)

    async def render_judgement(
        request: Request, judgement_id: str, *, note: str | None = None, refused: str | None = None, status: int = 200
    ) -> Response:
        try:
            found = await judging.store.get_judgement(judgement_id)
        except UnknownJudgementError:
            raise _make_not_found() from None
        taxonomy = judging.options.taxonomies.get(found.taxonomy)
        return pages.render(
            "judgement.html",
            get_visit(request),
            status,
            judgement=await service.load_detail(judging, found),
            turn=await sight.find_turn(found.seq),
            labels=[] if taxonomy is None else taxonomy.label_names,
            note=note,
            refused=refused,
        )


def _make_not_found() -> PageNotFoundError:
    return PageNotFoundError("there is no judgement of that id: erased, or never made")
