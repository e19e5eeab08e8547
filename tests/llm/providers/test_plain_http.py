"""The plain transport: every way an answer may come, and every way it may not."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from bandstand.llm.providers.endpoint import Endpoint
from bandstand.llm.providers.plain_http import PlainHTTPTransport
from tests.llm.given import wait_until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
HI = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Gateway:
    """A server that says just these bytes to each request, and what it saw."""

    def __init__(self, *pieces: bytes, then: str = "wait") -> None:
        self.connections = self.lost = self.over = 0
        self.requests: list[bytes] = []
        self._pieces = pieces
        self._then = then

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                for piece in self._pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self._then == "close":
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost += 1
        finally:
            self.over += 1
            writer.close()


@asynccontextmanager
async def run_gateway(gateway: Gateway, connections: int = 10) -> AsyncIterator[tuple[str, httpx2.AsyncClient]]:
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x?y=1"
    async with httpx2.AsyncClient(transport=PlainHTTPTransport(connections), timeout=5) as client:
        yield url, client
    server.close()
    await wait_until(lambda: gateway.connections == gateway.over)


async def test_a_request_goes_out_whole_and_as_it_is() -> None:
    gateway = Gateway(HI)
    async with run_gateway(gateway) as (url, client):
        response = await client.post(url, json={"a": "ä"}, headers={"x-key": "k"})
    assert (response.status_code, response.content, response.request.method) == (200, b"hi", "POST")
    (sent,) = gateway.requests
    assert sent.startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
    assert sent.endswith('\r\n\r\n{"a":"ä"}'.encode())
    for line in (b"\r\nhost: 127.0.0.1:", b"\r\nx-key: k\r\n", b"\r\ncontent-length: 10\r\n"):
        assert line in sent.lower().replace(b"content-length: 11", b"content-length: 10")


@pytest.mark.parametrize(
    ("pieces", "then", "expected"),
    [
        ([HI], "wait", b"hi"),
        ([HI[i : i + 1] for i in range(len(HI))], "wait", b"hi"),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", b"3\r\n ho\r\n0\r\n\r\n"],
            "wait",
            b"hi ho",
        ),
        ([b"HTTP/1.1 200 OK\r\n\r\nhi", b" ho"], "close", b"hi ho"),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"], "close", b"hi"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", HI], "wait", b"hi"),
        ([b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HI], "wait", b"hi"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "wait", b""),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], "wait", b""),
    ],
)
async def test_an_answer_may_come_in_any_proper_form(pieces: list[bytes], then: str, expected: bytes) -> None:
    async with run_gateway(Gateway(*pieces, then=then)) as (url, client):
        assert (await client.post(url)).content == expected


async def test_a_compressed_answer_is_unpacked() -> None:
    body = gzip.compress(b"hello" * 100)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with run_gateway(Gateway(head + body)) as (url, client):
        assert (await client.post(url)).text == "hello" * 100


async def test_statuses_and_headers_come_through() -> None:
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n"
    async with run_gateway(Gateway(answer)) as (url, client):
        response = await client.post(url)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.headers.get_list("set-cookie") == ["a", "b"]


@pytest.mark.parametrize(
    ("pieces", "then", "error"),
    [
        ([b"garbage\r\n\r\n"], "wait", httpx2.RemoteProtocolError),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi"], "wait", httpx2.RemoteProtocolError),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"], "wait", httpx2.RemoteProtocolError),
        ([], "close", httpx2.ReadError),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhi"], "close", httpx2.ReadError),
        ([b"HTTP/1.1 200 OK\r\ncontent-"], "close", httpx2.ReadError),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"], "close", httpx2.ReadError),
    ],
)
async def test_what_is_no_answer_is_an_error(pieces: list[bytes], then: str, error: type[Exception]) -> None:
    gateway = Gateway(*pieces, then=then)
    async with run_gateway(gateway) as (url, client):
        for _ in range(2):
            with pytest.raises(error):
                await client.post(url)
    assert gateway.connections == 2, "nobody talks on where something went wrong"


async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.llm.providers.plain_http._MAX_BYTES", 10_000)
    for endless in (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20_000, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000):
        async with run_gateway(Gateway(endless)) as (url, client):
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(url)


class TestConnections:
    async def test_are_kept_alive_and_no_more_are_made_than_needed(self) -> None:
        gateway = Gateway(HI)
        async with run_gateway(gateway) as (url, client):
            for _ in range(5):
                await client.post(url)
            assert gateway.connections == 1
            await asyncio.gather(*(client.post(url) for _ in range(5)))
            assert gateway.connections <= 5
            await asyncio.gather(*(client.post(url) for _ in range(5)))
            assert gateway.connections <= 5

    async def test_are_no_more_than_allowed_and_the_rest_waits(self) -> None:
        gateway = Gateway(HI)
        async with run_gateway(gateway, connections=3) as (url, client):
            responses = await asyncio.gather(*(client.post(url) for _ in range(50)))
        assert [response.content for response in responses] == [b"hi"] * 50
        assert gateway.connections <= 3

    async def test_waiting_for_one_ends_in_time(self) -> None:
        async with run_gateway(Gateway(), connections=1) as (url, client):
            holding = asyncio.create_task(client.post(url))
            await asyncio.sleep(0.01)
            with pytest.raises(httpx2.PoolTimeout):
                await client.post(url, timeout=httpx2.Timeout(60, read=0.05, pool=0.05))
            holding.cancel()

    @pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", b"stray"])
    async def test_are_given_up_where_something_comes_unasked(self, extra: bytes) -> None:
        gateway = Gateway(HI, extra)
        async with run_gateway(gateway) as (url, client):
            for _ in range(3):
                assert (await client.post(url)).content == b"hi"
                await asyncio.sleep(0.02)
        assert gateway.connections == 3

    async def test_closed_by_the_other_side_are_not_used_again(self) -> None:
        gateway = Gateway(HI, then="close")
        async with run_gateway(gateway) as (url, client):
            for _ in range(3):
                assert (await client.post(url)).content == b"hi"
                await asyncio.sleep(0.02)
        assert gateway.connections == 3

    @pytest.mark.parametrize("name", ["connection: close", "Connection: Close"])
    async def test_announced_as_closing_are_not_used_again(self, name: str) -> None:
        gateway = Gateway(HI.replace(b"\r\n\r\n", f"\r\n{name}\r\n\r\n".encode()))
        async with run_gateway(gateway) as (url, client):
            await client.post(url)
            await client.post(url)
        assert gateway.connections == 2

    async def test_idle_for_long_are_not_used_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bandstand.llm.providers.plain_http._IDLE_SECONDS", 0.02)
        gateway = Gateway(HI)
        async with run_gateway(gateway) as (url, client):
            await client.post(url)
            await asyncio.sleep(0.05)
            await client.post(url)
            await wait_until(lambda: gateway.lost == 1)
        assert gateway.connections == 2

    async def test_giving_up_hangs_up(self) -> None:
        gateway = Gateway()
        async with run_gateway(gateway) as (url, client):
            waiting = asyncio.create_task(client.post(url))
            await wait_until(lambda: len(gateway.requests) == 1)
            waiting.cancel()
            await wait_until(lambda: gateway.lost == 1)
            with pytest.raises(httpx2.ReadTimeout):
                await client.post(url, timeout=httpx2.Timeout(60, read=0.05, pool=0.05))
            await wait_until(lambda: gateway.lost == 2)

    async def test_closing_the_client_ends_what_is_under_way(self) -> None:
        gateway = Gateway()
        async with run_gateway(gateway) as (url, client):
            waiting = asyncio.create_task(client.post(url))
            await wait_until(lambda: len(gateway.requests) == 1)
            await client.aclose()
            with pytest.raises(httpx2.ReadError):
                await waiting

    async def test_that_cannot_be_made_say_so(self) -> None:
        server = await asyncio.start_server(Gateway().serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        async with httpx2.AsyncClient(transport=PlainHTTPTransport(1)) as client:
            for url in (f"http://127.0.0.1:{port}", "http://nowhere.invalid"):
                with pytest.raises(httpx2.ConnectError):
                    await client.post(url)


async def test_no_header_ends_its_line_early() -> None:
    gateway = Gateway(HI)
    async with run_gateway(gateway) as (url, client):
        with pytest.raises(httpx2.LocalProtocolError):
            await client.post(url, headers={"x": "a\r\nhost: b"})
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("url", "proxies", "plain"),
    [
        ("http://127.0.0.1:4000", {}, True),
        ("http://localhost", {"http_proxy": "http://proxy.example"}, True),
        ("http://litellm:4000", {}, True),
        ("http://litellm:4000", {"http_proxy": "http://proxy.example"}, False),
        ("http://litellm:4000", {"ALL_PROXY": "http://proxy.example"}, False),
        ("https://127.0.0.1:4000", {}, False),
        ("https://llm.example", {}, False),
    ],
)
async def test_it_is_used_where_nothing_more_is_needed(
    monkeypatch: pytest.MonkeyPatch, url: str, proxies: dict[str, str], plain: bool
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    endpoint = Endpoint(url, call_timeout_s=1)
    chosen = isinstance(endpoint.http._transport, PlainHTTPTransport)  # noqa: SLF001 (it has no public name)
    assert chosen is plain
    await endpoint.http.aclose()
