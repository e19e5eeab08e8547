"""uvicorn as Bandstand runs it: what the app raises while starting or stopping reaches the caller, a signal ends in 0.

Out of the box, uvicorn logs a lifespan's traceback and exits with 3, and raises a signal it caught once more after the
shutdown, which ends the process with that signal rather than with 0.
"""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from bandstand.api.asgi.connections import IDLE_SECONDS, ConnectionLimits, ConnectionWatch, raise_descriptor_limit
from bandstand.api.asgi.http_protocol import HttpProtocol

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_YOUNG_OBJECTS, _YOUNG_ROUNDS, _NO_FULL_ROUND = 10_000, 1, 1_000_000
_SWITCH_SECONDS = 0.0005
"""After which a thread that computes gives up the interpreter to one that waits for it: the loop, whenever it has just
waited for the network. Python's own 5 ms would be the least that a request takes while a prior is learned again."""


def run(
    app: ASGIApp,
    listeners: Sequence[socket.socket],
    *,
    backlog: int,
    shutdown_seconds: int,
    on_started: Callable[[], None],
) -> None:
    """Serve ``app`` on all ``listeners`` until SIGTERM or SIGINT has stopped it in good order.

    Args:
        app: an ASGI application that speaks the lifespan protocol.
        listeners: bound sockets; closed at the end.
        backlog: connections the kernel may hold while none is accepted.
        shutdown_seconds: how long running requests may take to end.
        on_started: called once requests are taken.

    Raises:
        Exception: whatever the app's lifespan raised, as it raised it.
    """
    watch = ConnectionWatch(ConnectionLimits.from_descriptors(raise_descriptor_limit()))
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(HttpProtocol, watch=watch),  # type: ignore[arg-type]  # it is only called
        ws="none",
        log_config=None,  # the app configures logging
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody asks for the client's address
        forwarded_allow_ips="",  # left out, uvicorn would look into the environment
        backlog=backlog,
        workers=1,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=shutdown_seconds,
    )
    _configure_gc()
    sys.setswitchinterval(_SWITCH_SECONDS)
    config.load()
    config.lifespan_class = _Lifespan
    server = _Server(config, watch, on_started)
    with _handle_signals(server):
        server.run(sockets=list(listeners))


def _configure_gc() -> None:
    """Keep the cycle collector from walking over every warm user in the middle of a request.

    A full collection visits each profile and remembered decision: a tenth of a second at a hundred thousand of them,
    and under load there is one every few seconds. Requests leave next to no cycles behind; the two young generations go
    on catching those.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_ROUNDS, _NO_FULL_ROUND)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, watch: ConnectionWatch, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._watch = watch
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._watch.hurry()
        await super().shutdown(sockets)


@contextmanager
def _handle_signals(server: uvicorn.Server) -> Iterator[None]:
    # uvicorn takes the signals over while it serves and raises them again when it is done: to find this handler, which
    # only asks once more for the stop, and not the default one, which kills. It also hears a signal that comes earlier.
    before = {number: signal.signal(number, server.handle_exit) for number in HANDLED_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Lifespan:
    """The app's lifespan, driven as uvicorn drives it, but raising what the app raised."""

    should_exit = False

    def __init__(self, config: uvicorn.Config) -> None:
        self.state: dict[str, Any] = {}
        self._app: ASGIApp = config.loaded_app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._replied = asyncio.Event()
        self._reply = ""

    async def startup(self) -> None:
        self._task = asyncio.ensure_future(self._app(self._build_scope(), self._events.get, self._receive_reply))
        self._task.add_done_callback(lambda _: self._replied.set())
        await self._send_event("lifespan.startup")

    async def shutdown(self) -> None:
        await self._send_event("lifespan.shutdown")
        await self._task

    def _build_scope(self) -> Message:
        return {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}

    async def _send_event(self, step: str) -> None:
        self._replied.clear()
        self._events.put_nowait({"type": step})
        if not self._task.done():
            await self._replied.wait()
        if self._reply != f"{step}.complete":
            await self._task  # raises what the app raised
            raise RuntimeError(f"the app's lifespan ended at {step} with no error: {self._reply or 'no answer'}")

    async def _receive_reply(self, message: Message) -> None:
        self._reply = message["type"]
        self._replied.set()
