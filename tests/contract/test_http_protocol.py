"""The hot calls are answered from the parsed request: nobody can tell them from those that ASGI answers."""

import json
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.api.given import TWO
from tests.contract.server import Connection, Server, connect_to, start_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCORE = json.dumps({"user_id": "ada", "candidates": TWO}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("protocol") / "state") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def connection(server: Server) -> AsyncIterator[Connection]:
    async with connect_to(server.port) as made:
        yield made


def build(path: str, body: bytes, *headers: str, chunked: bool = False) -> bytes:
    """A POST whose length is announced, which is hot, or one in chunks, which ASGI answers."""
    pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    sent = pieces if chunked else body
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", length, *headers, "", ""]
    return "\r\n".join(lines).encode() + sent


JSON = "content-type: application/json"
REQUESTS = {
    "a score": ("/score", SCORE, JSON),
    "a score by a policy": ("/score/egreedy", SCORE, JSON),
    "a charset": ("/score", SCORE, "content-type: application/json; charset=utf-8"),
    "an encoded segment": ("/score/egreedy%2Dv1", SCORE, JSON),
    "a legacy reward": (
        "/reward",
        b'{"user_id": "ada", "tip_id": "a", "reward": 0.5, "features": {"priority": 2}}',
        JSON,
    ),
    "a policy that is not there": ("/score/nobody", SCORE, JSON),
    "an empty body": ("/score", b"", JSON),
    "no JSON": ("/score", b"{", JSON),
    "NaN": ("/reward", b'{"user_id": "ada", "tip_id": "a", "reward": NaN, "features": {}}', JSON),
    "several faults": ("/score", b'{"user_id": "", "candidates": [{"id": 3}]}', JSON),
    "a decision that is not there": ("/reward", b'{"decision_id": "none", "reward": 1}', JSON),
    "no media type": ("/score", SCORE),
    "another media type": ("/score", SCORE, "content-type: text/plain"),
    "an encoding": ("/score", SCORE, JSON, "content-encoding: gzip"),
    "a query twice": ("/score?a=1&a=2", SCORE, JSON),
    "a key that is too long": ("/reward", b"{}", JSON, "idempotency-key: " + "k" * 300),
    "a foreign page": ("/score", SCORE, JSON, "origin: https://elsewhere.example"),
    "a request id": ("/score", SCORE, JSON, "x-request-id: mine"),
}
OWN = {"date", "content-length", "x-request-id"}
DRAWN = {"decision_id", "request_id", "propensity", "exploring", "score", "tip_id", "instance"}


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_in_answer_the_same(connection: Connection, name: str) -> None:
    path, body, *headers = REQUESTS[name]
    answers = [
        await connection.send_bytes(build(path, body, *headers, chunked=chunked))  # type: ignore[arg-type]  # bytes first
        for chunked in (False, True)
    ]
    (status, head, hot), (status_of_asgi, head_of_asgi, other) = answers
    assert status == status_of_asgi
    assert {key: head[key] for key in head.keys() - OWN} == {
        key: head_of_asgi[key] for key in head_of_asgi.keys() - OWN
    }
    assert head.keys() == head_of_asgi.keys()
    shown, shown_of_asgi = json.loads(hot), json.loads(other)
    assert shown.keys() == shown_of_asgi.keys()
    assert {key: shown[key] for key in shown.keys() - DRAWN} == {
        key: shown_of_asgi[key] for key in shown_of_asgi.keys() - DRAWN
    }
    if name == "a request id":
        assert head["x-request-id"] == head_of_asgi["x-request-id"] == "mine"


def read_answers(stream: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of so many answers, in the order that they came."""
    answers = []
    with stream.makefile("rb") as file:
        for _ in range(count):
            status, length = int(file.readline().split()[1]), 0
            while (line := file.readline()) not in {b"\r\n", b""}:
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answers.append((status, file.read(length)))
    return answers


@pytest.mark.parametrize("cut", [None, 1, 7, 40, 200])
async def test_pipelined_requests_of_both_kinds_are_answered_in_order(server: Server, cut: int | None) -> None:
    hot, slow = build("/score", SCORE, JSON), build("/score", SCORE, JSON, chunked=True)
    health = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    kinds = [hot, health, hot, slow, hot, hot, health, slow]
    whole = b"".join(kinds)
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as stream:
        step = cut or len(whole)
        for start in range(0, len(whole), step):
            stream.sendall(whole[start : start + step])
        answers = read_answers(stream, len(kinds))
    assert [status for status, _ in answers] == [200] * len(kinds)
    assert [b"version" in body for _, body in answers] == [kind is health for kind in kinds]


async def test_a_connection_that_is_to_close_closes(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as stream:
        stream.sendall(build("/score", SCORE, JSON, "connection: close"))
        assert read_answers(stream, 1)[0][0] == 200
        assert stream.recv(1) == b""


async def test_who_expects_100_is_told_to_go_on(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as stream:
        request = build("/score", SCORE, JSON, "expect: 100-continue")
        head = request[: -len(SCORE)]
        stream.sendall(head)
        assert stream.recv(1000).startswith(b"HTTP/1.1 100")
        stream.sendall(SCORE)
        assert read_answers(stream, 1)[0][0] == 200


async def test_an_upgrade_and_an_old_version_are_the_base_classs(server: Server) -> None:
    for request, expected in (
        (build("/score", SCORE, JSON, "connection: upgrade", "upgrade: h2c"), 422),  # which reads no body after it
        (build("/score", SCORE, JSON).replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
        (build("/score", SCORE, JSON, "connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=120) as stream:
            stream.sendall(request)
            assert read_answers(stream, 1)[0][0] == expected


async def test_a_client_that_hangs_up_has_its_decision_all_the_same(server: Server, connection: Connection) -> None:
    body = json.dumps({"user_id": "hasty", "candidates": TWO, "decision_id": "hung-up"}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as stream:
        stream.sendall(build("/score", body, JSON))
    status, answer = await connection.send_request("POST", "/score", json.loads(body))
    assert (status, answer["decision_id"]) == (200, "hung-up")
    status, stats = await connection.send_request("GET", "/stats/hasty")
    assert (status, stats["pulls"]) == (200, 1)
