"""The receipt of a decision: what was shown and why, its reward, and what that changed; as a page and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from bandstand.console.auth import PageNotFoundError, get_visit
from bandstand.console.pages import Pages
from bandstand.console.waiting import Patience
from bandstand.errors import UnknownDecisionError
from bandstand.service.context import ServiceContext
from bandstand.service.history import DecisionReceipt, load_receipt
from bandstand.store.ids import parse_event_id
from bandstand.store.tables.console_queries import ConsoleSource

_MAX_COLUMNS = 8
_NOT_FOUND = "there is no decision of that id: trimmed by retention, or never made"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContributionTable:
    """What features add to the means of candidates now.

    Attributes:
        names: of the features that add most to any candidate.
        rows: of each candidate: its id, what each of these adds (``None`` for nothing), what all others add, the mean.
        largest: the largest of these numbers, without its sign.
    """

    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None], float, float]]
    largest: float


def add_decision_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, sight: ConsoleSource) -> None:
    """Add the page."""
    patience = Patience()

    async def load(decision_id: str, *, explain: bool) -> DecisionReceipt:
        try:
            return await load_receipt(deployment, decision_id, explain=explain)
        except UnknownDecisionError:
            raise PageNotFoundError(_NOT_FOUND) from None

    @routes.get("/decision")
    async def show_decision(request: Request, id: str) -> Response:  # noqa: A002 (the name in the address)
        explained = await patience.wait(load(id, explain=True))
        entry = await load(id, explain=False) if explained is None else explained
        scale = max(abs(each.mean) + each.width for each in entry.candidates) or 1.0
        judged = None if entry.judgement is None else parse_event_id(entry.judgement.judgement_id)
        return pages.render(
            "decision.html",
            get_visit(request),
            receipt=entry,
            scale=scale,
            is_explained=explained is not None,
            contributions=_build_contributions(entry),
            picked=next(each for each in entry.candidates if each.tip_id == entry.tip_id),
            turn=None if judged is None else await sight.find_turn(judged),
        )

    @routes.get("/decision.json")
    async def get_decision(id: str) -> Response:  # noqa: A002 (the name in the address)
        receipt: dict[str, Any] = jsonable_encoder(await load(id, explain=True))
        return JSONResponse(receipt, headers={"cache-control": "no-store"})

    @routes.get("/decision/ready.json")
    async def wait_until_explained(id: str) -> Response:  # noqa: A002 (the name in the address)
        await load(id, explain=True)
        return JSONResponse({"ready": True}, headers={"cache-control": "no-store"})


def _build_contributions(entry: DecisionReceipt) -> _ContributionTable | None:
    explained = [(each.tip_id, each.explanation) for each in entry.candidates if each.explanation is not None]
    if not explained:
        return None
    sizes: dict[str, float] = {}
    for _, explanation in explained:
        for part in explanation.contributions:
            sizes[part.name] = max(sizes.get(part.name, 0.0), abs(part.contribution))
    names = sorted(sizes, key=lambda name: -sizes[name])[:_MAX_COLUMNS]
    rows = []
    for tip_id, explanation in explained:
        parts = {part.name: part.contribution for part in explanation.contributions}
        told = [parts.get(name) for name in names]
        rest = explanation.mean - sum(each for each in told if each is not None)
        rows.append((tip_id, told, rest, explanation.mean))
    return _ContributionTable(names=names, rows=rows, largest=max(sizes.values(), default=0.0) or 1.0)
