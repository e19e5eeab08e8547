"""All of the console under one roof: its pages behind the door, the log-in and the files in front of it."""

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.assets import Assets
from bandstand.console.auth import LOGIN, Guard, NothingHereError, StatusOf, back_to, form_of, guarded
from bandstand.console.form import field
from bandstand.console.judge import judge_routes
from bandstand.console.overview import overview_routes
from bandstand.console.pages import Pages
from bandstand.console.policies import policy_routes
from bandstand.console.prompts import prompt_routes
from bandstand.console.reference import reference_routes
from bandstand.console.session import COOKIE, SESSION_SECONDS, Sessions
from bandstand.console.simulations import simulation_routes
from bandstand.console.users import user_routes
from bandstand.service.context import Deployment
from bandstand.service.prompts import Prompts
from bandstand.simulate.background import BackgroundRuns
from bandstand.store.tables.console_queries import Sight

_PREFIX = "/console"
_A_YEAR = "public, max-age=31536000, immutable"
_SMALL = 1024  # not worth packing


@dataclass(frozen=True, slots=True)
class Shown:
    """What the console shows."""

    deployment: Deployment
    sight: Sight
    runs: BackgroundRuns
    prompts: Prompts


def console_router(shown: Shown, sessions: Sessions, status_of: StatusOf) -> APIRouter:
    """The console's routes, none of which OpenAPI shows.

    Args:
        shown: the parts that the pages show.
        sessions: who may see them.
        status_of: the HTTP status of an error of the use cases.
    """
    assets = Assets()
    pages = Pages(assets)
    open_to_all = guarded(Guard(sessions, pages, status_of, strangers=True))
    outside = APIRouter(prefix=_PREFIX, include_in_schema=False, route_class=open_to_all)
    _files(outside, assets)
    _login(outside, pages, sessions)
    behind_the_door = guarded(Guard(sessions, pages, status_of))
    inside = APIRouter(prefix=_PREFIX, include_in_schema=False, route_class=behind_the_door)
    overview_routes(inside, pages, shown.deployment, shown.sight)
    user_routes(inside, pages, shown.deployment, shown.sight)
    policy_routes(inside, pages, shown.deployment)
    simulation_routes(inside, pages, shown.deployment, shown.runs)
    if shown.deployment.judging is not None:
        judge_routes(inside, pages, shown.deployment.judging, shown.sight)
    prompt_routes(inside, pages, shown.deployment, shown.prompts)
    _nowhere(inside)
    beside = APIRouter(include_in_schema=False)
    reference_routes(beside, pages)
    whole = APIRouter()
    whole.include_router(outside)
    whole.include_router(beside)
    whole.include_router(inside)
    return whole


def _files(routes: APIRouter, assets: Assets) -> None:
    @routes.get("/static/{name}")
    def static(request: Request, name: str) -> Response:  # not async: the first packing of a large one takes a while
        asset = assets.get(name)
        if asset is None:
            raise NothingHereError("there is no such file")
        tag = f'"{asset.digest}"'
        headers = {"cache-control": _A_YEAR, "etag": tag, "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        body = asset.body
        if len(body) > _SMALL and "gzip" in request.headers.get("accept-encoding", ""):
            body = asset.packed
            headers["content-encoding"] = "gzip"
        return Response(body, media_type=asset.content_type, headers=headers)


def _login(routes: APIRouter, pages: Pages, sessions: Sessions) -> None:
    def form(wanted: str, *, refused: bool = False) -> Response:
        return pages.render(
            "login.html", None, 401 if refused else 200, wanted=wanted, refused=refused, token=sessions.stranger_token()
        )

    @routes.get("/login")
    async def ask_login(request: Request, next: str = _PREFIX) -> Response:  # noqa: A002 (the name in the address)
        wanted = back_to(next)
        return form(wanted) if request.state.visit is None else RedirectResponse(wanted, 303)

    @routes.post("/login")
    async def login(request: Request) -> Response:
        given = form_of(request)
        wanted = back_to(field(given, "next"))
        cookie = sessions.login(field(given, "key").strip())
        if cookie is None:
            return form(wanted, refused=True)
        response = RedirectResponse(wanted, 303)
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION_SECONDS,
            path=_PREFIX,
            secure=_over_https(request),
            httponly=True,
            samesite="strict",
        )
        return response

    @routes.post("/logout")
    async def logout() -> Response:
        response = RedirectResponse(LOGIN, 303)
        response.delete_cookie(COOKIE, path=_PREFIX, httponly=True, samesite="strict")
        return response


def _over_https(request: Request) -> bool:
    """Whether the browser speaks https, be it to a proxy before us: it names the origin of a form that it posts."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _nowhere(routes: APIRouter) -> None:
    @routes.api_route("/{path:path}", methods=["GET", "POST"])
    async def nowhere(path: str) -> Response:  # noqa: ARG001 (whatever it is)
        raise NothingHereError("there is no such page")
