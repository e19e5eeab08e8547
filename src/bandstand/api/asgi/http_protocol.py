"""uvicorn's HTTP protocol, with the hot calls answered from the parsed request.

A ``POST /score`` or ``POST /reward`` whose body is announced and short needs no scope, no events and no cycle of
receive and send: its head and body go to the gate (:meth:`bandstand.api.asgi.front.FrontController.begin_group`), and
the answer is one write. A head with which such a request began before is not parsed again
(:mod:`bandstand.api.asgi.request_heads`): the parser is between two requests then, and sees nothing of this one.
Everything else (other routes, HTTP/1.0, bodies in chunks or large ones, ``Expect``, ``Upgrade``) is the base class's,
as if this one were not there. So are keep-alive, the queue of pipelined requests, timeouts, flow control and the
shutdown.
"""

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bandstand.api.asgi.connections import BODY_SECONDS, HEAD_SECONDS, STALLED_SECONDS, ConnectionWatch
from bandstand.api.asgi.front import FrontController
from bandstand.api.asgi.headers import build_header_map
from bandstand.api.asgi.hot_call import JSON_HEADERS, HotCall, ResponseHeaders
from bandstand.api.asgi.request_heads import MAX_BODY, HeadKey, RequestHead, parse_length, split_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_HOT_PREFIXES = (b"/score", b"/reward", b"/loops/")
_CLOSE = ((b"connection", b"close"),)
_OK = 200

_Part = Literal["head", "body"]


class _Signal:
    """What the base class sets when the connection ends; nobody waits for it."""

    def set(self) -> None:
        """Do nothing."""


class _HotCycle(HotCall, eq=False, kw_only=True):
    """A hot call that this protocol has read; has the attributes that the base class looks at.

    Attributes:
        protocol: which.
        keep_alive: cleared by the base class at a shutdown.
        disconnected: set by the base class.
        is_next: it is this one's turn: the ones before it on the connection are answered.
        complete: the body is here.
    """

    message_event: ClassVar = _Signal()

    protocol: "HttpProtocol"
    keep_alive: bool = True
    disconnected: bool = False
    response_complete: bool = False
    is_next: bool = False
    complete: bool = False

    def respond(self, status: int, headers: ResponseHeaders, body: bytes) -> None:
        """Write the answer, as soon as the client takes more."""
        protocol = self.protocol
        if not self.disconnected:
            if protocol.flow.write_paused:
                protocol.respond_later(self, status, headers, body)
                return
            protocol.transport.write(protocol.render(status, headers, body, self.request_id, close=not self.keep_alive))
            if not self.keep_alive:
                protocol.transport.close()
        self.response_complete = True
        protocol.on_response_complete()


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        watch: of the server's connections.
    """

    _default_headers: ClassVar["Sequence[tuple[bytes, bytes]]"] = ()
    _ok_start: ClassVar = b""  # the first lines of an answer with these headers

    def __init__(self, *args: Any, watch: ConnectionWatch, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._front = self.app if isinstance(self.app, FrontController) else None
        if self._front is not None:
            self._gathering, self._heads = self._front.gathering, self._front.heads
        self._watch = watch
        self._incoming: _Part | None = None  # which part of a request has begun and not ended
        self._held = b""  # the beginning of a request that the parser has not seen
        self._has_deadline = False  # that part
        self._is_watched = True  # for want of a whole request
        self._idle_since = 0.0  # by the loop's clock; of use while there is no request

    # ── what the transport calls ──────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class has it
        """Take a connection, if there is room for it."""
        super().connection_made(transport)
        connections: Any = self.connections  # all of them are of this class
        self._watch.admit(self, connections, len(connections))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._watch.release(self)
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what is not whole yet has a deadline."""
        held = self._held
        if held:
            data, self._held, self._incoming = held + data, b"", None
        request = split_request(data) if self._incoming is None and self._front is not None else None
        if request is None:
            self._parse(data)
            return
        key, digits, body = request
        head = self._heads.find(key)
        cycle: Any = self.cycle  # none before the first request
        if head is None or not (cycle is None or (cycle.response_complete and type(cycle) is _HotCycle)):
            self._parse(data)
            self._learn_head(key, body, cycle)
        elif digits == b"%d" % len(body) and len(body) <= MAX_BODY:
            if self._is_watched:
                self._release_watch()
            hot: Any = _HotCycle(head, body, protocol=self, is_next=True, complete=True)
            self.cycle = hot
            self._gathering.submit(hot)
        elif (length := parse_length(digits)) is not None and len(body) < length:
            self._held, self._incoming = data, "head"
            if not held:
                self._set_deadline(BODY_SECONDS)
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        incoming = self._incoming
        cycle: Any = self.cycle
        if incoming is not None:
            if not self._has_deadline:
                self._set_deadline(HEAD_SECONDS if incoming == "head" else BODY_SECONDS)
        elif cycle is not None and self._is_watched:
            self._release_watch()

    def _learn_head(self, key: HeadKey, body: bytes, earlier: Any) -> None:
        """Know a head, if the parser has taken it for one of a hot request, and what follows for the body."""
        cycle: Any = self.cycle
        if cycle is not earlier and isinstance(cycle, _HotCycle) and len(cycle.body) == len(body):
            self._heads.add(key, cycle.head)

    def _set_deadline(self, seconds: float) -> None:
        self._watch.watch(self, seconds)
        self._has_deadline = self._is_watched = True

    def _release_watch(self) -> None:
        self._watch.release(self)
        self._is_watched = False

    def shutdown(self) -> None:
        """Answer what has begun to come, and close."""
        held, self._held = self._held, b""
        if held:
            self._parse(held)
        super().shutdown()

    def pause_writing(self) -> None:
        """Wait for the reader, but not for ever."""
        super().pause_writing()
        self._watch.watch(self, STALLED_SECONDS)

    def resume_writing(self) -> None:
        """Continue writing: the reader has caught up."""
        super().resume_writing()
        if not (self._is_watched or self.transport.is_closing()):
            self._watch.release(self)

    def _unset_keepalive_if_required(self) -> None:
        """Let the clock of an idle connection run on: to stop and start it at each request takes 4 µs."""

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for so long; its last answer may never have been read."""
        self.timeout_keep_alive_task = None
        if not self.is_idle:
            return  # the next answer starts the clock again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0.0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
            return
        super().timeout_keep_alive_handler()
        self._watch.watch(self, STALLED_SECONDS)

    # ── what the watch calls ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request of which nothing has come."""
        cycle: Any = self.cycle  # none before the first request
        return self._incoming is None and (cycle is None or cycle.response_complete)

    def expire(self) -> float | None:
        """End, with 408 if a request is on its way; or say how many more seconds it has."""
        cycle: Any = self.cycle
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()
        elif cycle is None or cycle.response_complete:
            if self._incoming == "head":
                self._refuse_slow_request()
            self.transport.close()
        elif self._incoming != "body":
            return HEAD_SECONDS  # its turn has not come: an earlier request is being answered
        elif self.flow.read_paused or getattr(cycle, "waiting_for_100_continue", False):
            return BODY_SECONDS  # the application keeps it waiting
        else:
            if not getattr(cycle, "response_started", False):
                self._refuse_slow_request()
            cycle.disconnected = True
            cycle.message_event.set()
            self.transport.close()
        return None

    def drop(self) -> None:
        """End at once."""
        self.transport.abort()

    def _refuse_slow_request(self) -> None:
        if self._front is not None:
            refused = self._front.refuse_slow_request()
            self.transport.write(
                self.render(refused.status, refused.headers, refused.body, refused.request_id, close=True)
            )

    # ── what the parser calls ─────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Begin a request; what only ASGI needs is made once it is known to go there."""
        self._incoming = "head"
        self._has_deadline = False
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Decide which way a request goes."""
        self._incoming = "body"
        self._has_deadline = False
        cycle = self._build_hot_cycle()
        if cycle is None:
            self._begin_asgi()
            return
        earlier: Any = self.cycle
        self.cycle = cycle  # type: ignore[assignment]  # it has what the base class looks at
        if earlier is None or earlier.response_complete:
            cycle.is_next = True
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))  # type: ignore[arg-type]  # comes back to _start_asgi_task

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        cycle: Any = self.cycle
        if isinstance(cycle, _HotCycle):
            cycle.body = cycle.body + body if cycle.body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answer a hot request that is whole, once it is its turn."""
        self._incoming = None
        cycle: Any = self.cycle
        if not isinstance(cycle, _HotCycle):
            super().on_message_complete()
            return
        cycle.complete = True
        if cycle.is_next:
            self._gathering.submit(cycle)

    def _build_hot_cycle(self) -> _HotCycle | None:
        front, parser = self._front, self.parser
        if front is None or not self.url.startswith(_HOT_PREFIXES) or parser.get_method() != b"POST":
            return None
        headers = build_header_map(self.headers)
        if not (
            parse_length(headers.pop(b"content-length", b"")) is not None
            and b"transfer-encoding" not in headers
            and not self.expect_100_continue
            and self.limit_concurrency is None
            and not parser.should_upgrade()
            and parser.should_keep_alive()  # in HTTP/1.1 without being told so
            and (b"connection" not in headers or parser.get_http_version() == "1.1")
        ):
            return None
        target = front.find_hot_target(self.url)
        return None if target is None else _HotCycle(RequestHead(*target, headers), protocol=self)

    def _begin_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Begin the next of the pipelined requests, or be idle from now on."""
        if self.pipeline or self.timeout_keep_alive_task is None or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            if self.flow.read_paused:
                self.flow.resume_reading()
        self._idle_since = self.loop.time()

    # ── answering ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begin a request whose turn it is, of either kind: the base class calls this for those that were pipelined."""
        if not isinstance(cycle, _HotCycle):
            super()._start_asgi_task(cycle, app)
            return
        cycle.is_next = True
        if cycle.complete:
            self._gathering.submit(cycle)

    def respond_later(self, cycle: _HotCycle, status: int, headers: ResponseHeaders, body: bytes) -> None:
        """Write the answer to a hot call once the client takes more."""
        task = self.loop.create_task(self._drain(cycle, status, headers, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _drain(self, cycle: _HotCycle, status: int, headers: ResponseHeaders, body: bytes) -> None:
        try:
            await self.flow.drain()
        except asyncio.CancelledError:  # the server does not wait any longer
            cycle.response_complete = True
            self.transport.close()
            raise
        cycle.respond(status, headers, body)

    def render(self, status: int, headers: ResponseHeaders, body: bytes, request_id: str, *, close: bool) -> bytes:
        """The bytes of an answer."""
        default_headers = self.server_state.default_headers
        if HttpProtocol._default_headers is not default_headers:  # the server makes a new list of them when one changes
            HttpProtocol._default_headers = default_headers
            HttpProtocol._ok_start = _render_start(_OK, [*default_headers, *JSON_HEADERS])
        if status == _OK and headers is JSON_HEADERS and not close:
            start = HttpProtocol._ok_start
        else:
            start = _render_start(status, [*default_headers, *headers, *(_CLOSE if close else ())])
        return b"%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (start, len(body), request_id.encode(), body)


def _render_start(status: int, headers: "Iterable[tuple[bytes, bytes]]") -> bytes:
    """The first lines of an answer."""
    return STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % header for header in headers)
