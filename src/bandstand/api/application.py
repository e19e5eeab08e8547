"""The HTTP application over a deployment: routes, problems, OpenAPI, behind the gate."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.routing import Match

from bandstand import __version__
from bandstand.api.asgi.access import Access
from bandstand.api.asgi.admission import AdmissionQueue
from bandstand.api.asgi.fast_path import HotPath
from bandstand.api.asgi.foreign_wire import ForeignWire
from bandstand.api.asgi.front import LOOPS, FrontController
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.asgi.path_prefix import PathPrefix
from bandstand.api.openapi import build_schema
from bandstand.api.problems import from_http_exception, from_query_errors
from bandstand.api.routes.generation import build_generation_router
from bandstand.api.routes.health import build_health_router
from bandstand.api.routes.learning import build_learning_router
from bandstand.api.routes.operators import build_operators_router
from bandstand.api.routes.promotions import build_promotions_router
from bandstand.api.routes.reactions import build_reactions_router
from bandstand.api.routes.revocations import build_revocations_router
from bandstand.api.routes.stats import build_stats_router
from bandstand.api.schemas.requests import Wire
from bandstand.service import users
from bandstand.service.context import ServiceContext
from bandstand.service.generate import TipWriting
from bandstand.service.users import Erase
from bandstand.store.tables.console_queries import ConsoleSource

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationOptions:
    """How a loop is served.

    Attributes:
        lifespan: opens and closes the parts below, if the server is to do that.
        root_path: under which a proxy shows it, as :func:`bandstand.api.asgi.path_prefix.parse_prefix` makes it.
        log_requests: one log line for every request.
        hot_path: answer score and reward in the gate; off, the framework's routes do (the same behaviour, slower).
        loop: its name, but for the default one.
        admission: where heavy requests wait for their turn; a new one if left out.
        erase: erases a user; in this loop alone if left out.
        foreign: another wire, served under a path of its own.
        sight: looks into its ledger; without, its health says nothing of what gets picked.
    """

    lifespan: Lifespan | None = None
    root_path: str = ""
    log_requests: bool = False
    hot_path: bool = True
    loop: str | None = None
    admission: AdmissionQueue | None = None
    erase: Erase | None = None
    foreign: ForeignWire | None = None
    sight: ConsoleSource | None = None


def build_application(
    deployment: ServiceContext,
    access: Access,
    metrics: Metrics,
    writing: TipWriting,
    extra_routers: Iterable[APIRouter],
    options: ApplicationOptions,
) -> FrontController:
    """The ASGI application.

    Args:
        deployment: what it serves.
        access: who may do what.
        metrics: where it counts.
        writing: how it writes tips.
        extra_routers: further routes, and pages.
        options: how it is served.
    """
    wire = Wire(deployment.catalogue, strict_features=deployment.strict_features, rewards=deployment.reward_settings)
    hot = HotPath(deployment, wire, metrics)
    framework = FastAPI(
        title="Bandstand",
        version=__version__,
        summary="Contextual bandits, one model per user.",
        lifespan=options.lifespan,
        redirect_slashes=False,
        docs_url=None,  # the framework's pages load their scripts from elsewhere; the console has one
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
    )
    own_routers = (
        build_generation_router(deployment, writing, wire, metrics),
        build_learning_router(deployment, wire, hot),
        build_health_router(deployment, metrics, options.sight),
        build_stats_router(deployment),
        build_operators_router(deployment, wire, options.erase or partial(users.erase, deployment)),
        build_promotions_router(deployment),
        build_revocations_router(deployment),
        build_reactions_router(deployment),
    )
    for router in (*own_routers, *extra_routers):
        # As they are: include_router() would make every route a second time, and that is most of a start.
        framework.router.routes.extend(router.routes)
    framework.openapi = lambda: build_schema(framework, wire)  # type: ignore[method-assign]  # FastAPI's documented way
    for kind in (HTTPException, RequestValidationError, Exception):
        framework.add_exception_handler(kind, _raise_error)
    front = FrontController(
        framework,
        access,
        metrics,
        hot if options.hot_path else None,
        prefix=PathPrefix(options.root_path, "" if options.loop is None else f"{LOOPS}{options.loop}"),
        log_requests=options.log_requests,
        admission=options.admission,
        loop=options.loop,
    )
    front.foreign = options.foreign
    return front


_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""The framework's own telemetry exports paths and queries, and so user ids, past erasure and every rule of our logs."""


async def _raise_error(request: Request, error: Exception) -> NoReturn:
    """Leave every error to the gate, which alone answers with problems and logs failures."""
    if isinstance(error, RequestValidationError):
        raise from_query_errors(error.errors()) from None
    if isinstance(error, HTTPException):
        raise from_http_exception(error, _list_allowed_methods(request)) from None
    raise error


def _list_allowed_methods(request: Request) -> str:
    """The methods of all routes of the path; the framework's own list stops at the first route."""
    scope = {"type": "http", "path": request.scope["path"], "root_path": ""}
    return ", ".join(
        "GET, HEAD" if method == "GET" else method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    )
