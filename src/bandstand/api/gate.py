"""The gate: what every request passes, in one place, before any route sees it.

A request id, admission, metrics, problems. ``POST /score`` and ``POST /reward`` are then answered right here by
:class:`bandstand.api.hot.HotPath`, without the framework's routing, dependency and response machinery (measured at
more than half of a request's time); everything else goes on to the framework. Routes are matched on the raw path, each
segment decoded by itself, so that an id may hold ``/`` as ``%2F``.
"""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from time import perf_counter
from urllib.parse import unquote_to_bytes

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandstand.api.access import ANONYMOUS, Access, Headers, required_role
from bandstand.api.bodies import read_json_body
from bandstand.api.hot import HotPath
from bandstand.api.metrics import Metrics
from bandstand.api.problems import InternalError, render
from bandstand.bandit.errors import BandstandError

Handler = Callable[[bytes, Headers, str, str | None], Awaitable[bytes]]

_MAX_REQUEST_ID = 128
_SEGMENTS_OF_NAMED = 3  # "", "score", policy

log = structlog.get_logger("bandstand.request")


class Gate:
    """Wraps the framework's application.

    Args:
        app: the application behind.
        access: who may do what.
        metrics: where requests are counted.
        hot: answers score and reward at once; ``None`` leaves them to the application too.
        log_requests: write one line for every request, not only for failed ones.
    """

    def __init__(
        self, app: ASGIApp, access: Access, metrics: Metrics, hot: HotPath | None, *, log_requests: bool = False
    ) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics
        self._log_requests = log_requests
        self._handlers: dict[str, Handler] = {} if hot is None else {"score": hot.score, "reward": hot.reward}
        self._id_prefix = secrets.token_hex(4)
        self._id_counter = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI event stream."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        headers = dict(scope["headers"])
        request_id = self._request_id(headers)
        method: str = scope["method"]
        path = scope["raw_path"].decode("latin-1")
        client = ANONYMOUS
        route = "unmatched"
        try:
            client = self._access.admit(headers, required_role(method, path))
            segments = path.split("/")
            handler = (
                self._handlers.get(segments[1]) if method == "POST" and len(segments) <= _SEGMENTS_OF_NAMED else None
            )
            if handler is None:
                status, route = await self._pass_on(scope, receive, send, path, client, request_id)
            else:
                policy = None
                route = f"/{segments[1]}"
                if len(segments) == _SEGMENTS_OF_NAMED:
                    policy = unquote_to_bytes(segments[2]).decode("utf-8", "replace")
                    route = f"/{segments[1]}/{{policy}}"
                body = await handler(await read_json_body(receive, headers), headers, client, policy)
                status = 200
                await _answer(send, status, [(b"content-type", b"application/json")], body, request_id)
        except BandstandError as error:
            status, problem_headers, body = render(error, request_id)
            await _answer(send, status, problem_headers, body, request_id)
        except Exception:
            log.exception("request failed", request_id=request_id, method=method, route=route, client=client)
            status, problem_headers, body = render(InternalError(f"logged under {request_id}"), request_id)
            await _answer(send, status, problem_headers, body, request_id)
        seconds = perf_counter() - started
        self._metrics.request(method, route, status, seconds)
        if self._log_requests:
            log.info(
                "request",
                request_id=request_id,
                method=method,
                route=route,
                status=status,
                client=client,
                ms=round(seconds * 1000, 3),
            )

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, path: str, client: str, request_id: str
    ) -> tuple[int, str]:
        """Let the application answer; returns the status and the route's template."""
        inner: Scope = {
            **scope,
            "path": path,
            "state": {**scope.get("state", {}), "client": client, "request_id": request_id},
        }
        status = 500

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(inner, receive, tagged)
        route = inner.get("route")
        return status, getattr(route, "path_format", "unmatched")

    def _request_id(self, headers: Headers) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and len(given) <= _MAX_REQUEST_ID:
            text = given.decode("latin-1")
            if text.isascii() and text.isprintable() and text:
                return text
        return f"{self._id_prefix}{next(self._id_counter):08x}"


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes, request_id: str) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    headers.append((b"x-request-id", request_id.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
