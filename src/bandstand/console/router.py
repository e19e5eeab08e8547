"""All of the console under one roof: its pages behind the door, the log-in and the files in front of it."""

from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.assets import Assets
from bandstand.console.auth import (
    LOGIN,
    Guard,
    PageNotFoundError,
    StatusOf,
    build_route_class,
    get_form,
    resolve_target,
)
from bandstand.console.decisions import add_decision_routes
from bandstand.console.evaluations import add_evaluation_routes
from bandstand.console.experiment import add_experiment_routes
from bandstand.console.form import get_field
from bandstand.console.judge import add_judge_routes
from bandstand.console.judge_runs import add_judge_run_routes
from bandstand.console.launches import add_launch_routes
from bandstand.console.loops import add_loop_routes
from bandstand.console.overview import add_overview_routes
from bandstand.console.pages import Pages, build_address, build_link, build_root, set_prefix
from bandstand.console.policies import add_policy_routes
from bandstand.console.prompts import add_prompt_routes
from bandstand.console.reference import AuthorizeReader, add_reference_routes
from bandstand.console.reviews import add_review_routes
from bandstand.console.session import COOKIE, LOOP_COOKIE, SESSION_SECONDS, Sessions
from bandstand.console.shown import add_shown_routes
from bandstand.console.simulations import add_simulation_routes
from bandstand.console.users import add_user_routes
from bandstand.evaluate.background import EvaluationQueue
from bandstand.service.context import ServiceContext
from bandstand.service.judge_runs import JudgeRunQueue
from bandstand.service.latency import ListLatencies
from bandstand.service.loops import Loops
from bandstand.service.prompts import PromptService
from bandstand.service.users import Erase, erase
from bandstand.simulate.background import SimulationQueue
from bandstand.store.tables.console_queries import ConsoleSource

_PREFIX = "/console"
_LOOPS = "/loops"
_A_YEAR = "public, max-age=31536000, immutable"
_SMALL = 1024  # not worth packing


@dataclass(frozen=True, slots=True)
class ConsoleContext:
    """What the console shows.

    Attributes:
        erase: erases a user; in this loop alone if left out.
        list_latencies: how long requests take; nothing is said of it if left out.
    """

    deployment: ServiceContext
    sight: ConsoleSource
    simulations: SimulationQueue
    evaluations: EvaluationQueue
    judge_runs: JudgeRunQueue
    prompts: PromptService
    loops: Loops | None = None
    erase: Erase | None = None
    list_latencies: ListLatencies = tuple


def build_console_router(
    context: ConsoleContext, sessions: Sessions, status_of: StatusOf, authorize_reader: AuthorizeReader
) -> APIRouter:
    """The console's routes, none of which OpenAPI shows.

    Args:
        context: the parts that the pages show.
        sessions: who may see them.
        status_of: the HTTP status of an error of the use cases.
        authorize_reader: refuses a request whose key does not let it read.
    """
    assets = Assets()
    own = context.deployment.definition.name
    pages = Pages(assets, own)
    public_route = build_route_class(Guard(sessions, pages, status_of, allow_anonymous=True))
    public = APIRouter(prefix=_PREFIX, include_in_schema=False, route_class=public_route)
    _add_static_routes(public, assets)
    _add_login_routes(public, pages, sessions, own)
    guarded_route = build_route_class(Guard(sessions, pages, status_of))
    guarded = APIRouter(prefix=_PREFIX, include_in_schema=False, route_class=guarded_route)
    add_overview_routes(guarded, pages, context.deployment, context.sight, context.list_latencies)
    add_user_routes(
        guarded, pages, context.deployment, context.sight, context.erase or partial(erase, context.deployment)
    )
    add_decision_routes(guarded, pages, context.deployment, context.sight)
    add_shown_routes(guarded, pages, context.sight)
    add_launch_routes(guarded, pages, context.deployment)
    add_policy_routes(guarded, pages, context.deployment)
    add_experiment_routes(guarded, pages, context.deployment)
    add_simulation_routes(guarded, pages, context.deployment, context.simulations)
    add_evaluation_routes(guarded, pages, context.deployment, context.evaluations)
    if context.deployment.judge_worker is not None:
        add_judge_routes(guarded, pages, context.deployment.judge_worker, context.sight)
        add_review_routes(guarded, pages, context.deployment.judge_worker, context.sight, context.judge_runs)
        add_judge_run_routes(guarded, context.deployment.judge_worker, context.sight, context.judge_runs)
    add_prompt_routes(guarded, pages, context.deployment, context.prompts)
    if context.loops is not None:
        add_loop_routes(guarded, pages, context.loops, own)
    reference = APIRouter(include_in_schema=False)
    add_reference_routes(reference, guarded, pages, sessions, authorize_reader)
    _add_entrance_route(reference)
    _add_fallback_route(guarded)
    return APIRouter(routes=[*public.routes, *reference.routes, *guarded.routes])


def _add_entrance_route(routes: APIRouter) -> None:
    @routes.get("/")
    async def show_console(request: Request) -> Response:
        """Redirect the bare address to the console."""
        set_prefix(request.state.prefix)
        return RedirectResponse(build_link(""), 303)


def _add_static_routes(routes: APIRouter, assets: Assets) -> None:
    @routes.get("/static/{name}")
    def get_static_file(
        request: Request, name: str
    ) -> Response:  # not async: the first packing of a large one takes a while
        asset = assets.get(name)
        if asset is None:
            raise PageNotFoundError("there is no such file")
        tag = f'"{asset.digest}"'
        headers = {"cache-control": _A_YEAR, "etag": tag, "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        body = asset.body
        if len(body) > _SMALL and "gzip" in request.headers.get("accept-encoding", ""):
            body = asset.gzipped_body
            headers["content-encoding"] = "gzip"
        return Response(body, media_type=asset.content_type, headers=headers)


def _add_login_routes(routes: APIRouter, pages: Pages, sessions: Sessions, own: str) -> None:
    def list_cookies() -> list[tuple[str, str]]:
        """Where a log-in counts, at the console of every loop: names of cookies, and their paths."""
        return [(name, build_root(own) + path) for name, path in ((COOKIE, _PREFIX), (LOOP_COOKIE, _LOOPS))]

    def render_form(wanted: str, *, refused: bool = False) -> Response:
        return pages.render(
            "login.html",
            None,
            401 if refused else 200,
            wanted=wanted,
            refused=refused,
            token=sessions.get_login_token(),
        )

    @routes.get("/login")
    async def show_login(request: Request, next: str = _PREFIX) -> Response:  # noqa: A002 (the name in the address)
        wanted = resolve_target(next)
        return render_form(wanted) if request.state.visit is None else RedirectResponse(build_address(wanted), 303)

    @routes.post("/login")
    async def login(request: Request) -> Response:
        given = get_form(request)
        wanted = resolve_target(get_field(given, "next"))
        cookie = sessions.login(get_field(given, "key").strip(), get_field(given, "person"))
        if cookie is None:
            return render_form(wanted, refused=True)
        response = RedirectResponse(build_address(wanted), 303)
        for name, path in list_cookies():
            response.set_cookie(
                name,
                cookie,
                max_age=SESSION_SECONDS,
                path=path,
                secure=_is_https(request),
                httponly=True,
                samesite="strict",
            )
        return response

    @routes.post("/logout")
    async def logout() -> Response:
        response = RedirectResponse(build_link(LOGIN), 303)
        for name, path in list_cookies():
            response.delete_cookie(name, path=path, httponly=True, samesite="strict")
        return response


def _is_https(request: Request) -> bool:
    """Whether the browser speaks https, be it to a proxy before us: it names the origin of a form that it posts."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _add_fallback_route(routes: APIRouter) -> None:
    @routes.get("/")
    @routes.get("/{path:path}/")
    async def redirect_without_slash(request: Request, path: str = "") -> Response:
        """A page's address with a slash behind it is the page's."""
        page = path.strip("/")
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(build_link(f"/{page}" if page else "") + query, 308)

    @routes.api_route("/{path:path}", methods=["GET", "POST"])
    async def raise_not_found(path: str) -> Response:  # noqa: ARG001 (whatever it is)
        raise PageNotFoundError("there is no such page")
