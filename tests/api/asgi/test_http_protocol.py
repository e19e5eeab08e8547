"""What becomes of a connection on which something has not come whole, byte by byte; `tests/contract` has the rest."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from bandstand.api.asgi.connections import BODY_SECONDS, HEAD_SECONDS, ConnectionLimits, ConnectionWatch
from bandstand.api.asgi.http_protocol import HttpProtocol
from bandstand.config.settings import Settings
from bandstand.wiring.app import create_app

HEAD = b"host: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 20\r\n"
WHOLE = b"GET /nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


class Transport(asyncio.Transport):
    """A connection that notes what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.end = ""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.end != ""

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


class Client:
    """A client of one connection, over a service that is not open: it answers all the same, if only with 404."""

    def __init__(self, state_dir: Path) -> None:
        app = create_app(Settings(state_dir=state_dir))
        config = Config(app, ws="none", lifespan="off", log_config=None)
        config.load()
        config.loaded_app = app
        self.watch = ConnectionWatch(ConnectionLimits(total=10, watched=5))
        self.transport = Transport()
        self.connection = HttpProtocol(config=config, server_state=ServerState(), app_state={}, watch=self.watch)
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def is_idle(self) -> bool:
        return self.connection.is_idle

    async def wait_for_answer(self) -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*self.connection.tasks)
        assert self.connection.cycle.response_complete


@pytest.fixture
async def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.mark.parametrize(
    "sent",
    [
        b"G",
        b"GET /health HTTP/1.1\r\nho",
        b"POST /score HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"POST /score HTTP/1.1\r\n" + HEAD + b"\r\n{",
        b"POST /generate HTTP/1.1\r\n" + HEAD + b"\r\n{",
        b"POST /generate HTTP/1.0\r\n" + HEAD + b"\r\n",
    ],
)
async def test_half_a_request_ends_with_408(client: Client, sent: bytes) -> None:
    client.send(sent)
    assert client.watch.count == 1
    await asyncio.sleep(0)
    assert client.connection.expire() is None
    assert client.transport.written.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in client.transport.written
    assert b"\r\nx-request-id: " in client.transport.written
    assert client.transport.end == "closed"


async def test_a_silent_connection_ends_without_a_word(client: Client) -> None:
    assert client.watch.count == 1
    assert client.is_idle()
    assert client.connection.expire() is None
    assert (client.transport.written, client.transport.end) == (b"", "closed")


async def test_a_whole_request_ends_the_watch_and_an_empty_line_does_not_stop_the_idle_clock(client: Client) -> None:
    client.send(WHOLE[:-1])
    client.send(WHOLE[-1:])
    assert client.watch.count == 0
    assert not client.is_idle()
    await client.wait_for_answer()
    assert client.transport.written.startswith(b"HTTP/1.1 404 ")
    assert client.is_idle()
    client.send(b"\r\n")
    client.connection.timeout_keep_alive = 0
    client.connection.timeout_keep_alive_handler()
    assert client.transport.end == "closed"
    client.connection.connection_lost(None)
    assert client.connection.timeout_keep_alive_task is None


async def test_the_idle_clock_counts_from_the_last_answer_and_spares_who_is_not_idle(client: Client) -> None:
    for _ in range(2):
        client.send(WHOLE)
        await client.wait_for_answer()
    clock = client.connection.timeout_keep_alive_task
    client.connection.timeout_keep_alive_handler()
    assert client.transport.end == "", "it has only just been answered"
    assert client.connection.timeout_keep_alive_task not in {clock, None}, "the clock runs for what is left"
    client.send(WHOLE)
    client.connection.timeout_keep_alive = 0
    client.connection.timeout_keep_alive_handler()
    assert client.transport.end == "", "it waits for its answer"
    client.connection.timeout_keep_alive = 75
    await client.wait_for_answer()
    assert client.connection.timeout_keep_alive_task is not None, "and is idle again"
    client.connection.connection_lost(None)


async def test_a_body_that_is_refused_early_is_not_answered_twice(client: Client) -> None:
    client.send(b"POST /generate HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\n{")
    await client.wait_for_answer()
    client.send(b"x")
    assert client.connection.expire() is None
    assert client.transport.written.count(b"HTTP/1.1 ") == 1
    assert client.transport.end == "closed"


async def test_who_waits_for_us_has_more_time(client: Client) -> None:
    client.send(b"POST /generate HTTP/1.1\r\nexpect: 100-continue\r\n" + HEAD + b"\r\n")
    assert client.connection.expire() == BODY_SECONDS, "nobody has told it to go on"
    client.connection.flow.pause_reading()
    client.connection.cycle.waiting_for_100_continue = False
    assert client.connection.expire() == BODY_SECONDS, "nobody reads what it sends"
    client.connection.flow.resume_reading()
    assert client.connection.expire() is None


async def test_the_next_request_s_head_waits_for_the_answer_before_it(client: Client) -> None:
    client.send(WHOLE + b"GET /rea")
    assert client.connection.expire() == HEAD_SECONDS
    await client.wait_for_answer()
    assert client.connection.expire() is None
    assert client.transport.written.count(b"HTTP/1.1 ") == 2
    assert client.transport.written.count(b"HTTP/1.1 408 ") == 1


async def test_an_answer_that_is_not_read_is_given_up(client: Client) -> None:
    client.send(WHOLE)
    await client.wait_for_answer()
    client.connection.pause_writing()
    assert client.watch.count == 1
    client.connection.resume_writing()
    assert client.watch.count == 0
    client.connection.pause_writing()
    assert client.connection.expire() is None
    assert client.transport.end == "aborted"


async def test_a_connection_that_never_closes_is_cut(client: Client) -> None:
    client.send(WHOLE)
    await client.wait_for_answer()
    client.connection.timeout_keep_alive = 0
    client.connection.timeout_keep_alive_handler()
    assert (client.transport.end, client.watch.count) == ("closed", 1)
    assert client.connection.expire() is None
    assert client.transport.end == "aborted"
    client.connection.connection_lost(None)
    assert client.watch.count == 0
