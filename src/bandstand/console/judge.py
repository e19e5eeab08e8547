"""The pages of the judge: what turns came to, what a person makes of one, and what judging costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import NothingHereError, form_of, visit_of
from bandstand.console.form import field
from bandstand.console.pages import Pages, link
from bandstand.errors import AlreadyRewardedError, InvalidRequestError
from bandstand.judge_worker.worker import Judging
from bandstand.service import judgements as service
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.console_queries import SeenVerdict, Sight
from bandstand.store.tables.judgements import JudgementExpiredError, RewardPendingError, UnknownJudgementError

_PAGE = 50
_REFUSED = (AlreadyRewardedError, JudgementExpiredError, RewardPendingError, InvalidRequestError)


def judge_routes(routes: APIRouter, pages: Pages, judging: Judging, sight: Sight) -> None:
    """Add the pages about turns and their verdicts."""

    @routes.get("/judge")
    async def judgement_list(
        request: Request, status: str = "", before: int = LAST_SEQ, retried: int | None = None
    ) -> Response:
        wanted = status if status in service.STATUSES else None
        page = await service.page(judging, wanted, before, _PAGE)
        onward = None if page["next"] is None else link("/judge", status=wanted, before=page["next"])
        return pages.render(
            "judge.html",
            visit_of(request),
            judgements=await _labelled(page["judgements"], sight),
            coverage=await service.coverage(judging),
            statuses=list(service.STATUSES),
            status=wanted,
            onward=onward,
            first_page=before == LAST_SEQ,
            on=judging.options.on,
            caps=judging.options.caps,
            retried=retried,
        )

    @routes.get("/judgement")
    async def judgement(request: Request, id: str, done: str = "") -> Response:  # noqa: A002 (the name in the address)
        return await shown(request, id, note="A person's verdict stands now." if done == "overridden" else None)

    @routes.post("/judgement/override")
    async def override(request: Request) -> Response:
        form = form_of(request)
        judgement_id = field(form, "id")
        try:
            await service.override(judging, judgement_id, field(form, "label"), visit_of(request).client)
        except _REFUSED as error:
            return await shown(request, judgement_id, refused=error.detail, status=409)
        except UnknownJudgementError:
            raise _nothing() from None
        return RedirectResponse(link("/judgement", id=judgement_id, done="overridden"), 303)

    @routes.post("/judge/retry")
    async def retry(request: Request) -> Response:
        told = await service.retry(judging, visit_of(request).client)
        return RedirectResponse(link("/judge", retried=told["retried"]), 303)

    async def shown(
        request: Request, judgement_id: str, *, note: str | None = None, refused: str | None = None, status: int = 200
    ) -> Response:
        try:
            found = await judging.store.judgement(judgement_id)
        except UnknownJudgementError:
            raise _nothing() from None
        taxonomy = judging.options.taxonomies.get(found.taxonomy)
        return pages.render(
            "judgement.html",
            visit_of(request),
            status,
            judgement=await service.told(judging, found),
            turn=await sight.turn(found.seq),
            labels=[] if taxonomy is None else taxonomy.names,
            note=note,
            refused=refused,
        )


async def _labelled(judgements: Sequence[Mapping[str, Any]], sight: Sight) -> list[dict[str, Any]]:
    """Judgements with the label that stands, and who gave it; None where there is none."""
    verdicts = await sight.verdicts([each["judgement_id"] for each in judgements])
    unknown = SeenVerdict(None, None)
    return [{**each, **asdict(verdicts.get(each["judgement_id"], unknown))} for each in judgements]


def _nothing() -> NothingHereError:
    return NothingHereError("there is no judgement of that id: erased, or never made")
