"""The gate: what every request passes, in one place, before any route sees it.

A request id, admission, metrics, problems, the log of failures. ``POST /score`` and ``POST /reward`` are then answered
right here by :class:`bandstand.api.asgi.fast_path.HotPath`, without the framework's routing, dependency and response
machinery (more than half of a request's time); everything else goes on to the framework. Routes are matched on the raw
path (:mod:`bandstand.api.asgi.raw_path`). A server that has parsed such a request itself asks for the answer without
ASGI (:meth:`FrontController.begin_group`).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from functools import lru_cache, partial
from time import perf_counter
from typing import Protocol

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from bandstand.api.asgi.access import ANONYMOUS, Access, Headers, get_required_role
from bandstand.api.asgi.admission import AdmissionQueue
from bandstand.api.asgi.bodies import give_json_body, read_json_body, validate_body_headers
from bandstand.api.asgi.fast_path import Answer, Handler, HotPath
from bandstand.api.asgi.foreign_wire import ForeignRequest, ForeignWire
from bandstand.api.asgi.forwarding import ForwardedRequest, drop_body, send_response
from bandstand.api.asgi.gathering import Gathering
from bandstand.api.asgi.headers import trim_values
from bandstand.api.asgi.hot_call import JSON_HEADERS, AwaitedCall, HotCall, Response
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.asgi.path_prefix import PathPrefix
from bandstand.api.asgi.raw_path import validate_query
from bandstand.api.asgi.request_heads import KnownHeads, Permit, RequestHead, parse_hot_path
from bandstand.api.asgi.request_ids import find_given_id, generate_ids
from bandstand.api.problems import InternalError, RequestTimeoutError, render_problem, status_of
from bandstand.errors import BandstandError
from bandstand.service.loop_gate import LoopGate
from bandstand.store.outcomes import run

_OK, _SERVER_ERROR = 200, 500
_HEAVY = frozenset({"/generate", "/recommend"})
_MAX_TARGETS = 256
_SEGMENTS_OF_NAMED = 3  # "", "score", policy

log = structlog.get_logger("bandstand.request")

LOOPS = "/loops/"
"""With what the address of everything in a named loop begins."""

BodyReader = Callable[[], Awaitable[bytes]]


class Mounts(Protocol):
    """The way to other loops; see :class:`bandstand.api.asgi.loop_mounts.LoopMounts`."""

    def may_concern(self, path: str) -> bool:
        """Whether a request may be for another loop than the default one."""

    def enter(
        self, path: str, headers: Headers, method: str, default: "FrontController"
    ) -> AbstractAsyncContextManager[tuple["FrontController", str]]:
        """Give the gate of the loop that a request is for, and the path inside."""


class FrontController:
    """Wraps the framework's application.

    Args:
        app: the application behind.
        access: who may do what.
        metrics: where requests are counted.
        hot: answers score and reward at once; ``None`` leaves them to the application too.
        prefix: the path under which a proxy shows the service.
        log_requests: write one line for every request, not only for failed ones.
        admission: where heavy requests wait for their turn, one queue for all loops; one of its own if left out.
        loop: which one it is, for the log; nothing of the default one.

    Attributes:
        mounts: the way to other loops; ``None`` if there are none.
        gate: counts who is inside; ``None`` if ``mounts`` of another do.
        foreign: another wire under a path of its own.
        find_hot_target: finds the hot route that a request target names, if any; frequent targets are remembered.
        gathering: where a server that parses hot requests itself has them begin.
        heads: with which such requests began.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        metrics: Metrics,
        hot: HotPath | None,
        *,
        prefix: PathPrefix | None = None,
        log_requests: bool = False,
        admission: AdmissionQueue | None = None,
        loop: str | None = None,
    ) -> None:
        self._app = app
        self._access = access
        self.mounts: Mounts | None = None
        self.gate: LoopGate | None = None
        self.foreign: ForeignWire | None = None
        self._loop = {} if loop is None else {"loop": loop}
        self._metrics = metrics
        self._prefix = prefix or PathPrefix()
        self._log_requests = log_requests
        self._handlers: dict[str, Handler] = (
            {} if hot is None else {"score": hot.begin_score, "reward": hot.begin_reward}
        )
        self.admission = admission or AdmissionQueue()
        self.gathering = Gathering(self.begin_group, self.admission.count_light_requests)
        self.heads = KnownHeads()
        self.find_hot_target = lru_cache(maxsize=_MAX_TARGETS)(self._find_hot_target)
        self._request_ids = generate_ids()

    def take_over(self, other: "FrontController") -> None:
        """Answer what another would from here on; nobody may be inside.

        Connections, the way to other loops, and who waits for a turn stay this one's.
        """
        self._app, self._handlers, self.foreign = other._app, other._handlers, other.foreign  # noqa: SLF001 (of the same class)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI event stream."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = self._prefix.strip(scope["raw_path"].decode("latin-1"))
        scope = {**scope, "headers": trim_values(scope["headers"])}
        if (foreign := self._find_foreign(path)) is not None:
            scope["headers"] = foreign.to_own_headers(scope["headers"])
        if self.mounts is not None and self.mounts.may_concern(path):
            await self._dispatch(self.mounts, scope, path, receive, send)
        else:
            await self.serve(scope, path, receive, send)

    async def serve(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Answer a request of this loop.

        Args:
            scope: of it, its headers trimmed.
            path: the raw path, without what stands before the loop's own.
            receive: as ASGI has it.
            send: the same.
        """
        with nullcontext() if self.gate is None else self.gate.enter():
            await self._serve(scope, path, receive, send)

    async def _serve(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and self.is_hot(path):
            headers = dict(scope["headers"])
            read_body = partial(read_json_body, receive, headers)
            response = await self.answer(path, headers, scope["query_string"], read_body)
            await send_response(send, response)
        elif (foreign := self.foreign) is not None and foreign.owns(path):
            await send_response(send, await self._answer_foreign(foreign, scope, path, receive))
        else:
            await self._forward(scope, path, receive, send)

    def is_hot(self, path: str) -> bool:
        """Whether a POST to a raw path is answered by :meth:`begin_group`."""
        if path.startswith(LOOPS):
            path = path[path.find("/", len(LOOPS)) :] if self.mounts is not None else ""
        segments = path.split("/")
        return 1 < len(segments) <= _SEGMENTS_OF_NAMED and segments[1] in self._handlers and segments[-1] != ""

    def _find_hot_target(self, target: bytes) -> tuple[str, bytes] | None:
        """The raw path and the query of a request target whose POST :meth:`is_hot`; ``None`` for others."""
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("latin-1")
        return (path, query) if self.is_hot(path) and b"#" not in target else None

    async def answer(self, path: str, headers: Headers, query_string: bytes, read_body: BodyReader) -> Response:
        """Answer a POST of this loop that :meth:`is_hot`: as :meth:`begin_group` does, to be awaited.

        Args:
            path: the raw path.
            headers: of the request, their names in lower case.
            query_string: as it came.
            read_body: reads the body within its limits, once everything else is known to be right.
        """
        call = AwaitedCall(RequestHead(path, query_string, headers), started=perf_counter())
        if self._admit(call):
            try:
                call.body = await read_body()
            except Exception as error:  # noqa: BLE001 (whatever it is, the caller has an answer)
                self._refuse_call(call, error)
            else:
                self._begin([call])
        return await call.answered

    def begin_group(self, calls: Sequence[HotCall]) -> None:
        """Answer POSTs that are :meth:`is_hot` and have arrived whole, through calls."""
        started = perf_counter()
        is_open = self.gate is None or self.gate.is_open
        admitted = []
        try:
            for call in calls:
                call.started = started
                permit = call.head.permit
                if permit is not None and is_open:
                    call.permit = permit
                    call.request_id = permit.given_id or next(self._request_ids)
                    admitted.append(call)
                elif self.mounts is not None and self.mounts.may_concern(call.head.path):
                    run(self._answer_elsewhere(self.mounts, call))
                elif self._admit(call):
                    call.head.permit = call.permit
                    admitted.append(call)
        finally:  # should one not even be refused, those before it begin
            self._begin(admitted)

    def _admit(self, call: HotCall) -> bool:
        """Let a call of this loop in, or answer it with a refusal."""
        head = call.head
        given_id = find_given_id(head.headers)
        call.request_id = given_id or next(self._request_ids)
        try:
            client = self._access.authorize(head.headers, "serve")
            call.permit = Permit(client)
            name, policy, route = parse_hot_path(head.path)
            query, latencies = validate_query(head.query), self._metrics.get_latencies("POST", route, _OK)
            call.permit = Permit(client, name, policy, route, query, given_id, latencies)
            validate_body_headers(head.headers)
        except Exception as error:  # noqa: BLE001 (whatever it is, the caller has an answer)
            self._refuse_call(call, error)
            return False
        return True

    def _begin(self, calls: Sequence[HotCall]) -> None:
        self.admission.start_light_request(len(calls))
        if self.gate is not None:
            self.gate.count_entry(len(calls))
        for call in calls:
            done = partial(self._end, call)
            try:
                self._handlers[call.permit.name](call, done)
            except Exception as error:  # noqa: BLE001 (whatever it is, the caller has an answer)
                done(None, error)

    def _end(self, call: HotCall, answer: Answer | None, error: BaseException | None) -> None:
        self.admission.end_light_request()
        if self.gate is not None:
            self.gate.count_exit()
        if answer is None:
            self._refuse_call(call, error)
            return
        status, body = answer
        if status == _OK and not self._log_requests:
            call.permit.latencies.observe(perf_counter() - call.started)
        else:
            self._record("POST", call.permit.route, status, call.started, call.request_id, call.permit.client)
        call.respond(status, JSON_HEADERS, body)

    def _refuse_call(self, call: HotCall, error: BaseException | None) -> None:
        status, headers, body = render_problem(_to_problem(error, call.request_id, call.permit.client), call.request_id)
        self._record("POST", call.permit.route, status, call.started, call.request_id, call.permit.client)
        call.respond(status, headers, body)

    async def _answer_foreign(self, foreign: ForeignWire, scope: Scope, path: str, receive: Receive) -> Response:
        """Answer a call of another wire as that wire would have it."""
        started = perf_counter()
        headers, method = dict(scope["headers"]), str(scope["method"])
        request_id = self._resolve_request_id(headers)
        client, route = ANONYMOUS, "unmatched"
        try:
            call = foreign.find_call(method, path, scope["query_string"])
            client = self._access.authorize(headers, call.role)
            route = call.route
            self.admission.start_light_request()
            try:
                answer = await call.answer(ForeignRequest(headers, scope["query_string"], client, receive, request_id))
            finally:
                self.admission.end_light_request()
        except Exception as error:  # noqa: BLE001 (whatever it is, the caller has an answer)
            answer = foreign.render_error(_to_problem(error, request_id, client), headers)
        self._record(method, route, answer.status, started, request_id, client)
        return Response(*answer, request_id)

    async def _answer_elsewhere(self, mounts: Mounts, call: HotCall) -> None:
        """Let the loop that a call is for answer it."""
        started, head = perf_counter(), call.head
        async with AsyncExitStack() as stack:
            try:
                front, inner = await stack.enter_async_context(mounts.enter(head.path, head.headers, "POST", self))
            except BandstandError as error:
                response = self._refuse(error, "POST", started, head.headers)
            else:
                read_body = partial(give_json_body, call.body, head.headers)
                response = await front.answer(inner, head.headers, head.query, read_body)
        call.request_id = response.request_id
        call.respond(response.status, response.headers, response.body)

    async def _dispatch(self, mounts: Mounts, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Let the loop that a request is for serve it."""
        started = perf_counter()
        headers = dict(scope["headers"])
        async with AsyncExitStack() as stack:
            try:
                front, inner = await stack.enter_async_context(mounts.enter(path, headers, scope["method"], self))
            except BandstandError as error:
                send = drop_body(send) if scope["method"] == "HEAD" else send
                foreign = self._find_foreign(path)
                await send_response(send, self._refuse(error, scope["method"], started, headers, foreign))
            else:
                await front.serve(scope, inner, receive, send)

    def _refuse(
        self,
        error: BandstandError,
        method: str,
        started: float,
        headers: Headers,
        foreign: ForeignWire | None = None,
    ) -> Response:
        """The answer to a request that reached no loop."""
        request_id = self._resolve_request_id(headers)
        problem = _to_problem(error, request_id, ANONYMOUS)
        answer = render_problem(problem, request_id) if foreign is None else foreign.render_error(problem, headers)
        self._record(method, "unmatched", answer[0], started, request_id, ANONYMOUS)
        return Response(*answer, request_id)

    def _find_foreign(self, path: str) -> ForeignWire | None:
        """The other wire, if a raw path belongs to it in any loop."""
        foreign = self.foreign
        if foreign is None:
            return None
        if path.startswith(LOOPS):
            path = path[path.find("/", len(LOOPS)) :]
        return foreign if foreign.owns(path) else None

    def refuse_slow_request(self) -> Response:
        """Answer a request that did not come whole in time, of which nothing more is known."""
        request_id = self._resolve_request_id({})
        error = RequestTimeoutError("the request did not come whole in time")
        status, problem_headers, body = render_problem(error, request_id)
        self._record("other", "unmatched", status, perf_counter(), request_id, ANONYMOUS)
        return Response(status, problem_headers, body, request_id)

    async def _forward(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Let the framework's application answer."""
        started = perf_counter()
        headers = dict(scope["headers"])
        request_id = self._resolve_request_id(headers)
        method: str = scope["method"]
        if method == "HEAD":
            send = drop_body(send)
        client = ANONYMOUS
        passed: ForwardedRequest | None = None
        try:
            client = self._access.authorize(headers, get_required_role(method, path))
            query = validate_query(scope["query_string"], allow_repeats=path.startswith("/console/"))
            if path in _HEAVY:
                await self.admission.wait_turn()
            state = {
                "client": client,
                "request_id": request_id,
                "enter": self.admission.wait_turn,
                "may_see_content": self._access.may_see_content(headers),
            }
            passed = ForwardedRequest(scope, path, query, {**state, "prefix": self._prefix.find(headers)})
            status = await passed.dispatch(self._app, receive, send)
        except Exception as error:
            problem = _to_problem(error, request_id, client)
            if passed is not None and passed.status:
                raise  # half an answer is out: only the server can cut it short
            status, problem_headers, body = render_problem(problem, request_id)
            await send_response(send, Response(status, problem_headers, body, request_id))
        self._record(method, "unmatched" if passed is None else passed.route, status, started, request_id, client)

    def _record(self, method: str, route: str, status: int, started: float, request_id: str, client: str) -> None:
        seconds = perf_counter() - started
        self._metrics.record_request(method, route, status, seconds)
        if self._log_requests:
            log.info(
                "request",
                request_id=request_id,
                method=method,
                route=route,
                status=status,
                client=client,
                ms=round(seconds * 1000, 3),
                **self._loop,
            )

    def _resolve_request_id(self, headers: Headers) -> str:
        return find_given_id(headers) or next(self._request_ids)


def _to_problem(error: BaseException | None, request_id: str, client: str) -> BandstandError:
    """The problem that answers for an error; a failure leaves one line in the log."""
    if not isinstance(error, BandstandError):
        log.error("request failed", exc_info=error, request_id=request_id, client=client)
        return InternalError(f"logged under {request_id}")
    if status_of(error) >= _SERVER_ERROR:
        cause = None if error.__cause__ is None else type(error.__cause__).__name__
        log.error("request refused", code=error.code, cause=cause, request_id=request_id, client=client)
    return error
