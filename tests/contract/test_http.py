"""What arrives over a real connection: requests that no well-behaved client sends, and what they must not do."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.api.given import CANARY, TWO
from tests.contract.server import Connection, Server, connect_to, start_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = json.dumps({"user_id": "ada", "candidates": TWO}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("http") / "state", LOG_REQUESTS="1") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def connection(server: Server) -> AsyncIterator[Connection]:
    async with connect_to(server.port) as made:
        yield made


def request(first: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([first, *headers, "", ""]).encode() + body


async def test_a_target_is_percent_encoded(server: Server, connection: Connection) -> None:
    for target in ("/stats/zo%C3%AB", "/stats?user_id=zo%C3%AB"):
        status, stats = await connection.send_request("GET", target)
        assert (status, stats["user_id"]) == (200, "zoë")
    for bare in ("/stats/zoë", "/stats?user_id=zoë"):
        async with connect_to(server.port) as other:
            assert (await other.send_bytes(request(f"GET {bare} HTTP/1.1", "host: 127.0.0.1")))[0] == 400


@pytest.mark.parametrize(
    "target", ["/stats/..%2F..%2Fetc", "/stats/%2e%2e", "/stats/a%00b", "/stats/%0d%0aset-cookie:x"]
)
async def test_an_encoded_path_stays_one_segment(connection: Connection, target: str) -> None:
    status, answer = await connection.send_request("GET", target)
    control = "%0" in target
    assert status == (422 if control else 200)
    if not control:
        assert answer["user_id"] in {"../../etc", ".."}


async def test_the_absolute_form_and_the_asterisk_form_are_answered(connection: Connection) -> None:
    whole = request("GET http://127.0.0.1/health HTTP/1.1", "host: 127.0.0.1")
    assert (await connection.send_bytes(whole))[0] == 200
    status, headers, _ = await connection.send_bytes(request("OPTIONS * HTTP/1.1", "host: 127.0.0.1"))
    assert (status, headers["content-type"]) == (404, "application/problem+json")


async def test_a_balancer_s_probe_without_a_host_is_answered(server: Server, connection: Connection) -> None:
    """No browser sends a request without one, so that no foreign page can."""
    assert (await connection.send_bytes(request("GET /health HTTP/1.1")))[0] == 200
    async with connect_to(server.port) as old:
        assert (await old.send_bytes(request("GET /health HTTP/1.0")))[0] == 200


async def test_a_foreign_page_is_refused(connection: Connection) -> None:
    head = ("POST /reset/ada HTTP/1.1", "host: 127.0.0.1", "origin: https://example.com", "content-length: 0")
    assert (await connection.send_bytes(request(*head)))[0] == 403
    rebound = ("POST /reset/ada HTTP/1.1", "host: example.com", "content-length: 0")
    assert (await connection.send_bytes(request(*rebound)))[0] == 400


async def test_no_header_of_theirs_becomes_one_of_ours(connection: Connection) -> None:
    head = request("GET /health HTTP/1.1", "host: 127.0.0.1", 'x-request-id: a"b')
    _, headers, _ = await connection.send_bytes(head)
    assert headers["x-request-id"] == 'a"b'
    assert "server" not in headers
    long = request("GET /health HTTP/1.1", "host: 127.0.0.1", f"x-request-id: {'x' * 200}")
    _, headers, _ = await connection.send_bytes(long)
    assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])


async def test_a_body_in_chunks_is_read_and_a_large_one_refused(server: Server) -> None:
    head = ("POST /score HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "transfer-encoding: chunked")
    async with connect_to(server.port) as connection:
        chunks = b"".join(b"%x\r\n%s\r\n" % (1, BODY[i : i + 1]) for i in range(len(BODY))) + b"0\r\n\r\n"
        status, _, answer = await connection.send_bytes(request(*head, body=chunks))
        assert (status, json.loads(answer)["tip_id"][:3]) == (200, "tip")
    async with connect_to(server.port) as connection:
        chunks = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        status, headers, _ = await connection.send_bytes(request(*head, body=chunks * 17))
        assert (status, headers["content-type"]) == (413, "application/problem+json")


async def test_a_body_that_is_refused_unread_does_not_become_the_next_request(server: Server) -> None:
    smuggled = request("POST /reset/ada HTTP/1.1", "host: 127.0.0.1", "content-length: 0")
    head = ("POST /score HTTP/1.1", "host: 127.0.0.1", "content-type: text/plain", f"content-length: {len(smuggled)}")
    async with connect_to(server.port) as connection:
        assert (await connection.send_bytes(request(*head, body=smuggled)))[0] == 415
        try:
            status, answer = await connection.send_request("GET", "/policies")
        except (OSError, EOFError):
            return  # the connection was closed instead
        assert (status, answer["active"]) == (200, "linucb-v2")


@pytest.mark.parametrize(
    "head",
    [
        ("POST /score HTTP/1.1", "host: 127.0.0.1", "content-length: 5", "transfer-encoding: chunked"),
        ("POST /score HTTP/1.1", "host: 127.0.0.1", "content-length: 5", "content-length: 6"),
        ("POST /score HTTP/1.1", "host: 127.0.0.1", "content-length: -1"),
        ("POST /score HTTP/1.1", "host: 127.0.0.1", f"content-length: {'9' * 40}"),
        ("POST /score HTTP/1.1", "host 127.0.0.1"),
        ("GET /a b HTTP/1.1", "host: 127.0.0.1"),
        ("nonsense",),
    ],
)
async def test_a_message_that_can_be_read_two_ways_is_not_read_at_all(server: Server, head: tuple[str, ...]) -> None:
    async with connect_to(server.port) as connection:
        status, _, answer = await connection.send_bytes(request(*head))
        assert status == 400
        assert CANARY.encode() not in answer


async def test_requests_in_one_packet_are_answered_in_order(connection: Connection) -> None:
    first = request("GET /health HTTP/1.1", "host: 127.0.0.1", "x-request-id: first")
    second = request("GET /ready HTTP/1.1", "host: 127.0.0.1", "x-request-id: second")
    _, headers, _ = await connection.send_bytes(first + second)
    assert headers["x-request-id"] == "first"
    _, headers, _ = await connection.send_bytes(b"")
    assert headers["x-request-id"] == "second"


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_is_forgotten(server: Server) -> None:
    head = ("POST /score HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "transfer-encoding: chunked")
    whole = json.dumps({"user_id": "hangs-up", "candidates": TWO}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request(*head, body=b"%x\r\n%s\r\n" % (len(whole), whole)))  # all of the JSON, but not the end
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.2)
    async with connect_to(server.port) as connection:
        _, stats = await connection.send_request("GET", "/stats/hangs-up")
        assert stats["pulls"] == 0


async def test_everything_it_wrote_is_json_but_the_greeting(server: Server, connection: Connection) -> None:
    await connection.send_request("GET", f"/stats/{CANARY}")
    async with connect_to(server.port) as other:
        assert (await other.send_bytes(request(f"{CANARY} nonsense")))[0] == 400
    lines = server.logged().splitlines()
    written = [json.loads(line) for line in lines if not line.startswith("bandstand ")]
    assert len(lines) - len(written) == 1
    assert {"timestamp", "level", "event", "logger"} <= set.intersection(*(set(line) for line in written))
    assert {"bandstand", "bandstand.request", "uvicorn.error"} <= {line["logger"] for line in written}
    assert CANARY not in server.logged()
