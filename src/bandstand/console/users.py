"""The pages of users: found by how their id begins, looked at, reset, erased."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.console.auth import NothingHereError, form_of, visit_of
from bandstand.console.figures import running_mean
from bandstand.console.form import field
from bandstand.console.pages import Pages, link
from bandstand.errors import UnknownDecisionError
from bandstand.service import users as service
from bandstand.service.coefficients import coefficients
from bandstand.service.context import Deployment
from bandstand.service.history import receipt
from bandstand.store.tables.console_queries import SeenUser, Sight

_PAGE = 50
_REWARDS_SHOWN = 500
_PATIENCE_S = 0.1
_NOTES = {"reset": "Every policy starts anew with this user. The log stays."}


def user_routes(routes: APIRouter, pages: Pages, deployment: Deployment, sight: Sight) -> None:
    """Add the pages about users."""
    _list(routes, pages, deployment, sight)
    _one(routes, pages, deployment, sight)
    _forgetting(routes, pages, deployment, sight)


def _list(routes: APIRouter, pages: Pages, deployment: Deployment, sight: Sight) -> None:
    @routes.get("/users")
    async def user_list(request: Request, q: str = "", after: str = "", before: int | None = None) -> Response:
        if q:
            found = await sight.users_starting(q, after, _PAGE + 1)
        else:
            found = await sight.newest_users(before, _PAGE + 1)
        shown, more = found[:_PAGE], len(found) > _PAGE
        onward = None
        if more:
            onward = link("/users", q=q, after=shown[-1].user_id) if q else link("/users", before=shown[-1].uid)
        return pages.render(
            "users.html",
            visit_of(request),
            users=shown,
            query=q,
            onward=onward,
            first_page=not after and before is None,
            total=await deployment.store.user_count(),
        )


def _one(routes: APIRouter, pages: Pages, deployment: Deployment, sight: Sight) -> None:
    replays = set[asyncio.Task[Any]]()  # whose page did not wait for them

    async def at_hand(user_id: str) -> list[dict[str, Any]] | None:
        """What was learned; None where that is still being made from the ledger, which goes on."""
        learning = asyncio.create_task(coefficients(deployment, user_id))
        done, _ = await asyncio.wait([learning], timeout=_PATIENCE_S)
        if done:
            return learning.result()
        replays.add(learning)
        learning.add_done_callback(replays.discard)
        learning.add_done_callback(_seen)
        return None

    @routes.get("/user")
    async def user(request: Request, id: str, before: int | None = None, done: str = "") -> Response:  # noqa: A002 (the name in the address)
        seen = await _known(sight, id)
        learned, decisions, last_reset = await asyncio.gather(
            at_hand(id),
            sight.decisions(seen.uid, before, _PAGE + 1),
            sight.last_reset(seen.uid),
        )
        shown = decisions[:_PAGE]
        return pages.render(
            "user.html",
            visit_of(request),
            user=seen,
            learned=None if learned is None else [{**each, "scale": _scale(each["features"])} for each in learned],
            decisions=shown,
            last_reset=last_reset,
            onward=link("/user", id=id, before=shown[-1].seq) if len(decisions) > _PAGE else None,
            first_page=before is None,
            note=_NOTES.get(done),
        )

    @routes.get("/user.json")
    async def user_figures(id: str) -> Response:  # noqa: A002 (the name in the address)
        seen = await _known(sight, id)
        figure = running_mean(await sight.rewards(seen.uid, _REWARDS_SHOWN))
        return JSONResponse({"rewards": figure}, headers={"cache-control": "no-store"})

    @routes.get("/user/ready.json")
    async def user_ready(id: str) -> Response:  # noqa: A002 (the name in the address)
        await _known(sight, id)
        await coefficients(deployment, id)
        return JSONResponse({"ready": True}, headers={"cache-control": "no-store"})

    @routes.get("/decision")
    async def decision(request: Request, id: str) -> Response:  # noqa: A002 (the name in the address)
        try:
            shown = await receipt(deployment, id)
        except UnknownDecisionError:
            raise NothingHereError("there is no decision of that id: trimmed by retention, or never made") from None
        return pages.render("decision.html", visit_of(request), receipt=shown)


def _forgetting(routes: APIRouter, pages: Pages, deployment: Deployment, sight: Sight) -> None:
    @routes.get("/user/reset")
    async def ask_reset(request: Request, id: str) -> Response:  # noqa: A002 (the name in the address)
        return pages.render("reset.html", visit_of(request), user=await _known(sight, id))

    @routes.post("/user/reset")
    async def reset(request: Request) -> Response:
        user_id = field(form_of(request), "id")
        await _known(sight, user_id)
        await service.reset(deployment, user_id, visit_of(request).client)
        return RedirectResponse(link("/user", id=user_id, done="reset"), 303)

    @routes.get("/user/erase")
    async def ask_erase(request: Request, id: str) -> Response:  # noqa: A002 (the name in the address)
        return pages.render("erase.html", visit_of(request), user=await _known(sight, id), mistyped=False)

    @routes.post("/user/erase")
    async def erase(request: Request) -> Response:
        form = form_of(request)
        seen = await _known(sight, field(form, "id"))
        if field(form, "typed") != seen.user_id:
            return pages.render("erase.html", visit_of(request), 422, user=seen, mistyped=True)
        erased = await service.erase(deployment, seen.user_id, visit_of(request).client)
        return pages.render("erased.html", visit_of(request), user_id=seen.user_id, erased=erased)


async def _known(sight: Sight, user_id: str) -> SeenUser:
    seen = await sight.user(user_id)
    if seen is None:
        raise NothingHereError("there is no user of that id: erased, or never met")
    return seen


def _seen(task: asyncio.Task[Any]) -> None:
    """Take note of how it ended; whoever asks next is told by the store itself."""
    if not task.cancelled():
        task.exception()


def _scale(features: list[dict[str, Any]]) -> float:
    """Half the width of the axis on which a policy's intervals are drawn; it has zero in its middle."""
    return max((max(abs(each["low"]), abs(each["high"])) for each in features), default=1.0) or 1.0
