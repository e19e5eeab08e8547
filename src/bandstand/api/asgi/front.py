"""The gate: what every request passes, in one place, before any route sees it.

A request id, admission, metrics, problems, the log of failures. ``POST /score`` and ``POST /reward`` are then answered
right here by :class:`bandstand.api.asgi.fast_path.HotPath`, without the framework's routing, dependency and response
machinery (measured at more than half of a request's time); everything else goes on to the framework. Routes are
matched on the raw path (:mod:`bandstand.api.asgi.raw_path`).
"""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandstand.api.asgi.access import ANONYMOUS, Access, Headers, required_role
from bandstand.api.asgi.admission import Door
from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.fast_path import Answer, Asked, HotPath
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.asgi.raw_path import checked_query, decoded
from bandstand.api.problems import InternalError, render, status_of
from bandstand.errors import BandstandError

Handler = Callable[[bytes, Asked], Awaitable[Answer]]

_MAX_REQUEST_ID = 128
_SERVER_ERROR = 500
_HEAVY = frozenset({"/generate", "/recommend"})
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
        self._door = Door()
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
        if method == "HEAD":
            send = _without_body(send)
        path = scope["raw_path"].decode("latin-1")
        client = ANONYMOUS
        route = "unmatched"
        passed: _Passed | None = None
        try:
            client = self._access.admit(headers, required_role(method, path))
            query = checked_query(scope["query_string"], may_repeat=path.startswith("/console/"))
            segments = path.split("/")
            handler = (
                self._handlers.get(segments[1])
                if method == "POST" and 1 < len(segments) <= _SEGMENTS_OF_NAMED and segments[-1]
                else None
            )
            if handler is None:
                if path in _HEAVY:
                    await self._door.enter()
                passed = _Passed(scope, path, query, client, request_id, self._door)
                status = await passed.to(self._app, receive, send)
            else:
                policy = None
                route = f"/{segments[1]}"
                if len(segments) == _SEGMENTS_OF_NAMED:
                    route = f"/{segments[1]}/{{policy}}"
                    policy = decoded(segments[2])
                content = await read_json_body(receive, headers)
                self._door.light_begins()
                try:
                    status, body = await handler(content, Asked(headers, query, client, policy))
                finally:
                    self._door.light_ends()
                await _answer(send, status, [(b"content-type", b"application/json")], body, request_id)
        except Exception as error:
            problem = _problem(error, request_id, client)
            if passed is not None and passed.status:
                raise  # half an answer is out: only the server can cut it short
            status, problem_headers, body = render(problem, request_id)
            await _answer(send, status, problem_headers, body, request_id)
        if passed is not None:
            route = passed.route
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

    def _request_id(self, headers: Headers) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and len(given) <= _MAX_REQUEST_ID:
            text = given.decode("latin-1")
            if text.isascii() and text.isprintable() and text:
                return text
        return f"{self._id_prefix}{next(self._id_counter):08x}"


class _Passed:
    """A request on its way through the application behind.

    Attributes:
        status: of the answer; 0 until it has begun.
    """

    def __init__(self, scope: Scope, path: str, query: bytes, client: str, request_id: str, door: Door) -> None:
        self.status = 0
        self._tag = (b"x-request-id", request_id.encode())
        state = {**scope.get("state", {}), "client": client, "request_id": request_id, "enter": door.enter}
        method = "GET" if scope["method"] == "HEAD" else scope["method"]  # whoever may GET may ask for the head alone
        self._scope: Scope = {**scope, "method": method, "path": path, "query_string": query, "state": state}

    async def to(self, app: ASGIApp, receive: Receive, send: Send) -> int:
        """Let the application answer; returns the status."""

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                message["headers"] = [*message["headers"], self._tag]
            await send(message)

        await app(self._scope, receive, tagged)
        return self.status

    @property
    def route(self) -> str:
        """The template of the route that took it."""
        return getattr(self._scope.get("route"), "path_format", "unmatched")


def _problem(error: Exception, request_id: str, client: str) -> BandstandError:
    """The problem that answers for an error; a failure leaves one line in the log."""
    if not isinstance(error, BandstandError):
        log.error("request failed", exc_info=error, request_id=request_id, client=client)
        return InternalError(f"logged under {request_id}")
    if status_of(error) >= _SERVER_ERROR:
        cause = None if error.__cause__ is None else type(error.__cause__).__name__
        log.error("request refused", code=error.code, cause=cause, request_id=request_id, client=client)
    return error


def _without_body(send: Send) -> Send:
    async def head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return head


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes, request_id: str) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    headers.append((b"x-request-id", request_id.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
