"""The pages of users: found by how their id begins, looked at, reset, erased."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.figures import build_running_mean
from bandstand.console.form import get_field
from bandstand.console.pages import Pages, build_link
from bandstand.errors import UnknownDecisionError
from bandstand.service import users as service
from bandstand.service.coefficients import Coefficient, PolicyCoefficients, list_coefficients
from bandstand.service.context import ServiceContext
from bandstand.service.history import load_receipt
from bandstand.store.tables.console_queries import ConsoleSource, UserRow

_PAGE = 50
_MAX_REWARDS = 500
_MAX_WAIT_S = 0.1
_NOTES = {"reset": "Every policy starts anew with this user. The log stays."}


def add_user_routes(
    routes: APIRouter, pages: Pages, deployment: ServiceContext, sight: ConsoleSource, erase: service.Erase
) -> None:
    """Add the pages about users.

    Args:
        routes: where.
        pages: renders them.
        deployment: whose users.
        sight: how they are found.
        erase: erases one, here or in every loop.
    """
    _add_list_routes(routes, pages, deployment, sight)
    _add_detail_routes(routes, pages, deployment, sight)
    _add_reset_routes(routes, pages, deployment, sight)
    _add_erasure_routes(routes, pages, sight, erase)


def _add_list_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, sight: ConsoleSource) -> None:
    @routes.get("/users")
    async def list_users(request: Request, q: str = "", after: str = "", before: int | None = None) -> Response:
        if q:
            found = await sight.list_users_by_prefix(q, after, _PAGE + 1)
        else:
            found = await sight.list_newest_users(before, _PAGE + 1)
        shown, more = found[:_PAGE], len(found) > _PAGE
        onward = None
        if more:
            onward = (
                build_link("/users", q=q, after=shown[-1].user_id) if q else build_link("/users", before=shown[-1].uid)
            )
        return pages.render(
            "users.html",
            get_visit(request),
            users=shown,
            query=q,
            onward=onward,
            first_page=not after and before is None,
            total=await deployment.store.count_users(),
        )


def _add_detail_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, sight: ConsoleSource) -> None:
    replays = set[asyncio.Task[Any]]()  # whose page did not wait for them

    async def load_coefficients(user_id: str) -> list[PolicyCoefficients] | None:
        """What was learned; None where that is still being made from the ledger, which goes on."""
        learning = asyncio.create_task(list_coefficients(deployment, user_id))
        done, _ = await asyncio.wait([learning], timeout=_MAX_WAIT_S)
        if done:
            return learning.result()
        replays.add(learning)
        learning.add_done_callback(replays.discard)
        learning.add_done_callback(_handle_replay_done)
        return None

    @routes.get("/user")
    async def show_user(request: Request, id: str, before: int | None = None, done: str = "") -> Response:  # noqa: A002 (the name in the address)
        seen = await _find_user(sight, id)
        learned, decisions, last_reset = await asyncio.gather(
            load_coefficients(id),
            sight.list_decisions(seen.uid, before, _PAGE + 1),
            sight.find_last_reset(seen.uid),
        )
        shown = decisions[:_PAGE]
        return pages.render(
            "user.html",
            get_visit(request),
            user=seen,
            learned=learned,
            shadows=deployment.shadow_policies,
            scales={each.policy: _compute_scale(each.features) for each in learned or ()},
            decisions=shown,
            last_reset=last_reset,
            onward=build_link("/user", id=id, before=shown[-1].seq) if len(decisions) > _PAGE else None,
            first_page=before is None,
            note=_NOTES.get(done),
        )

    @routes.get("/user.json")
    async def get_user_figures(id: str) -> Response:  # noqa: A002 (the name in the address)
        seen = await _find_user(sight, id)
        figure = build_running_mean(await sight.list_rewards(seen.uid, _MAX_REWARDS))
        return JSONResponse({"rewards": figure}, headers={"cache-control": "no-store"})

    @routes.get("/user/ready.json")
    async def wait_until_ready(id: str) -> Response:  # noqa: A002 (the name in the address)
        await _find_user(sight, id)
        await list_coefficients(deployment, id)
        return JSONResponse({"ready": True}, headers={"cache-control": "no-store"})

    @routes.get("/decision")
    async def show_decision(request: Request, id: str) -> Response:  # noqa: A002 (the name in the address)
        try:
            entry = await load_receipt(deployment, id)
        except UnknownDecisionError:
            raise PageNotFoundError("there is no decision of that id: trimmed by retention, or never made") from None
        scale = max(abs(each.mean) + each.width for each in entry.candidates) or 1.0
        return pages.render("decision.html", get_visit(request), receipt=entry, scale=scale)


def _add_reset_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, sight: ConsoleSource) -> None:
    @routes.get("/user/reset")
    async def show_reset_form(request: Request, id: str) -> Response:  # noqa: A002 (the name in the address)
        return pages.render("reset.html", get_visit(request), user=await _find_user(sight, id))

    @routes.post("/user/reset")
    async def reset_user(request: Request) -> Response:
        user_id = get_field(get_form(request), "id")
        await _find_user(sight, user_id)
        await service.reset(deployment, user_id, get_visit(request).client)
        return RedirectResponse(build_link("/user", id=user_id, done="reset"), 303)


def _add_erasure_routes(routes: APIRouter, pages: Pages, sight: ConsoleSource, erase: service.Erase) -> None:
    @routes.get("/user/erase")
    async def show_erase_form(request: Request, id: str) -> Response:  # noqa: A002 (the name in the address)
        return pages.render("erase.html", get_visit(request), user=await _find_user(sight, id), mistyped=False)

    @routes.post("/user/erase")
    async def erase_user(request: Request) -> Response:
        form = get_form(request)
        seen = await _find_user(sight, get_field(form, "id"))
        if get_field(form, "typed") != seen.user_id:
            return pages.render("erase.html", get_visit(request), 422, user=seen, mistyped=True)
        erased = await erase(seen.user_id, get_visit(request).client)
        return pages.render("erased.html", get_visit(request), user_id=seen.user_id, erased=erased)


async def _find_user(sight: ConsoleSource, user_id: str) -> UserRow:
    user = await sight.find_user(user_id)
    if user is None:
        raise PageNotFoundError("there is no user of that id: erased, or never met")
    return user


def _handle_replay_done(task: asyncio.Task[Any]) -> None:
    """Take note of how it ended; whoever asks next is told by the store itself."""
    if not task.cancelled():
        task.exception()


def _compute_scale(features: Sequence[Coefficient]) -> float:
    """Half the width of the axis on which a policy's intervals are drawn; it has zero in its middle."""
    return max((max(abs(each.low), abs(each.high)) for each in features), default=1.0) or 1.0
