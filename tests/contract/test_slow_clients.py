"""Clients that send half of something, or read nothing: everybody else is served, and a stop waits for none of them."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.server import Server, connect_to, start_server

FEW_FILES = ("/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
HEAD = "host: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
HALVES = {
    "nothing": b"",
    "half a request line": b"POST /sco",
    "half a head": b"GET /stats HTTP/1.1\r\nhost: 127.0.0.1\r\nx-request-id: a",
    "half a hot body": b"POST /score HTTP/1.1\r\n" + HEAD.encode(),
    "half a body": b"POST /generate HTTP/1.1\r\n" + HEAD.encode(),
    "half a chunk": b"POST /score HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n9\r\n{",
    "half an old request": b"POST /judge HTTP/1.0\r\n" + HEAD.encode(),
}
UNREAD = b"GET /console/static/plotly.js HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@contextlib.contextmanager
def connect_many(server: Server, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that have sent that."""
    with contextlib.ExitStack() as opened:
        streams = []
        for _ in range(count):
            stream = opened.enter_context(socket.socket())
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stream.settimeout(60)
            stream.connect(("127.0.0.1", server.port))
            with contextlib.suppress(ConnectionError):  # it made room for another already
                stream.sendall(sent)
            streams.append(stream)
        yield streams


async def test_300_half_sent_requests_keep_nobody_out_nor_do_300_idle_connections(tmp_path: Path) -> None:
    whole = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    with start_server(tmp_path / "state", wrapper=FEW_FILES, SHUTDOWN_SECONDS="3600") as server:
        for sent in (whole, HALVES["nothing"], HALVES["half a request line"], HALVES["half a hot body"]):
            with connect_many(server, 300, sent):
                for _ in range(3):
                    async with connect_to(server.port) as connection:
                        assert (await connection.send_request("GET", "/health"))[0] == 200
                if sent == HALVES["half a hot body"]:
                    assert server.terminate() == 0
        assert '"too many that sent nothing whole": ' in server.logged()


async def test_a_stop_waits_for_no_half_sent_request_and_no_reader_that_sleeps(tmp_path: Path) -> None:
    with (
        start_server(tmp_path / "state", SHUTDOWN_SECONDS="3600") as server,
        contextlib.ExitStack() as opened,
    ):
        streams = {
            kind: opened.enter_context(connect_many(server, 2, sent))
            for kind, sent in {**HALVES, "an answer unread": UNREAD}.items()
        }
        async with connect_to(server.port) as connection:  # what came before it has been taken in
            assert (await connection.send_request("GET", "/health"))[0] == 200
        assert server.terminate() == 0, "or this test's patience ends long before the hour does"
        for kind in ("half a hot body", "half a body", "half a chunk", "half an old request"):
            for stream in streams[kind]:
                assert stream.recv(1000).startswith(b"HTTP/1.1 408 "), kind
        assert "Traceback" not in server.logged()


@pytest.mark.slow
async def test_half_a_request_is_answered_with_408_at_its_deadline(tmp_path: Path) -> None:
    with start_server(tmp_path / "state") as server, connect_many(server, 1, HALVES["half a head"]) as (stream,):
        answer = b"".join(iter(lambda: stream.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:bandstand:problem:request-timeout" in answer
        async with connect_to(server.port) as connection:
            assert (await connection.send_request("GET", "/health"))[0] == 200
        assert '"too slow": 1' in server.logged()
