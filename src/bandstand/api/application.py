"""The HTTP application over a deployment: routes, problems, OpenAPI, behind the gate."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bandstand import __version__
from bandstand.api.access import Access
from bandstand.api.gate import Gate
from bandstand.api.hot import HotPath
from bandstand.api.metrics import Metrics
from bandstand.api.openapi import schema
from bandstand.api.problems import from_http_exception, invalid_query, render
from bandstand.api.routes import router
from bandstand.api.wire import Wire
from bandstand.bandit.errors import BandstandError
from bandstand.service.deployment import Deployment

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def application(
    deployment: Deployment,
    access: Access,
    metrics: Metrics,
    *,
    lifespan: Lifespan | None = None,
    log_requests: bool = False,
    hot_path: bool = True,
) -> Gate:
    """The ASGI application.

    Args:
        deployment: what it serves.
        access: who may do what.
        metrics: where it counts.
        lifespan: opens and closes what is underneath.
        log_requests: one log line for every request.
        hot_path: answer score and reward in the gate; off, the framework's routes do (the same behaviour, slower).
    """
    wire = Wire(deployment.catalogue)
    hot = HotPath(deployment, wire, metrics)
    framework = FastAPI(
        title="Bandstand",
        version=__version__,
        summary="Contextual bandits, one model per user.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    framework.include_router(router(deployment, wire, hot, metrics))
    framework.openapi = lambda: schema(framework, wire)  # type: ignore[method-assign]  # FastAPI's documented way
    framework.add_exception_handler(BandstandError, _problem)
    framework.add_exception_handler(HTTPException, _problem)
    framework.add_exception_handler(RequestValidationError, _problem)
    return Gate(framework, access, metrics, hot if hot_path else None, log_requests=log_requests)


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        problem: BandstandError = invalid_query(error.errors())
    elif isinstance(error, HTTPException):
        problem = from_http_exception(error)
    else:
        assert isinstance(error, BandstandError)  # noqa: S101 (registered for these three only)
        problem = error
    status, headers, body = render(problem, request.state.request_id)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})
