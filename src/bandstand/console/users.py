"""The pages of users: found by how their id begins, looked at, reset, erased."""

import asyncio
import math
from collections.abc import Sequence
from statistics import fmean

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.figures import build_running_mean
from bandstand.console.form import Cursor, get_field
from bandstand.console.pages import Pages, build_link
from bandstand.console.waiting import Patience
from bandstand.service import users as service
from bandstand.service.coefficients import Coefficient, list_coefficients
from bandstand.service.context import ServiceContext
from bandstand.store.tables.console_queries import ConsoleSource, DecisionRow, UserRow

_PAGE = 50
_MAX_REWARDS = 500
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
    async def list_users(request: Request, q: str = "", after: str = "", before: Cursor = None) -> Response:
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
    patience = Patience()

    @routes.get("/user")
    async def show_user(request: Request, id: str, before: Cursor = None, done: str = "") -> Response:  # noqa: A002 (the name in the address)
        seen = await _find_user(sight, id)
        learned, decisions, resets, rewards = await asyncio.gather(
            patience.wait(list_coefficients(deployment, id)),
            sight.list_decisions(seen.uid, before, _PAGE + 1),
            sight.list_user_resets(seen.uid, _PAGE),
            sight.list_rewards(seen.uid, _MAX_REWARDS),
        )
        shown = decisions[:_PAGE]
        return pages.render(
            "user.html",
            get_visit(request),
            user=seen,
            learned=learned,
            shadows=deployment.shadow_policies,
            scales={each.policy: _compute_scale(each.features) for each in learned or ()},
            timeline=_build_timeline(shown, resets, is_first=before is None, is_last=len(decisions) <= _PAGE),
            last_reset=resets[0] if resets else None,
            reward_count=len(rewards),
            reward_mean=fmean(value for _, value in rewards) if rewards else None,
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


def _build_timeline(
    decisions: Sequence[DecisionRow], resets: Sequence[float], *, is_first: bool, is_last: bool
) -> list[DecisionRow | float]:
    """Decisions and times of resets, newest first; of the resets those that fall on this page."""
    newest = math.inf if is_first or not decisions else decisions[0].ts
    oldest = -math.inf if is_last or not decisions else decisions[-1].ts
    entries: list[DecisionRow | float] = [*decisions, *(ts for ts in resets if oldest <= ts < newest)]
    return sorted(entries, key=lambda each: each if isinstance(each, float) else each.ts, reverse=True)


def _compute_scale(features: Sequence[Coefficient]) -> float:
    """Half the width of the axis on which a policy's intervals are drawn; it has zero in its middle."""
    return max((max(abs(each.low), abs(each.high)) for each in features), default=1.0) or 1.0
