"""Heads that came before are looked up by their bytes: nobody can tell such a request from one that was parsed."""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from bandstand.api.asgi.access import Access
from bandstand.api.asgi.connections import ConnectionLimits, ConnectionWatch
from bandstand.api.asgi.fast_path import AnswerCallback, HotPath
from bandstand.api.asgi.front import FrontController
from bandstand.api.asgi.hot_call import HotCall
from bandstand.api.asgi.http_protocol import HttpProtocol
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.asgi.request_heads import KnownHeads, RequestHead, split_request
from bandstand.errors import InvalidRequestError
from bandstand.service.loop_gate import LoopGate
from tests.api.asgi.test_http_protocol import Transport

_OUR_ID = re.compile(rb"[0-9a-f]{16}")


@dataclass
class Key:
    """An API key."""

    name: str
    role: str = "serve"
    loop: str | None = None

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.name.encode()).digest()


class Echo:
    """Answers hot calls with what it was given."""

    def begin_score(self, call: HotCall, done: AnswerCallback) -> None:
        permit = call.permit
        if call.body == b"refuse":
            raise InvalidRequestError("as it was asked")
        told = [call.body, call.head.headers.get(b"x-own", b""), permit.query]
        answer = {"client": permit.client, "policy": permit.policy, "told": [each.decode() for each in told]}
        body = json.dumps(answer).encode()
        asyncio.get_running_loop().call_soon(done, (200, body), None)

    begin_reward = begin_score


async def behind(_: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The application behind the gate."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"behind"})


class NoHeads(KnownHeads):
    """Knows none."""

    def add(self, key: tuple[bytes, bytes], head: RequestHead) -> None:
        """Forget it."""


class Service:
    """A gate with two keys, and connections to it."""

    def __init__(self, *, heads: KnownHeads | None = None) -> None:
        self.metrics = Metrics(of_process=False)
        self.front = FrontController(behind, Access((Key("one"), Key("two"))), self.metrics, cast("HotPath", Echo()))
        if heads is not None:
            self.front.heads = heads
        self._config = Config(self.front, ws="none", lifespan="off", log_config=None)
        self._config.load()
        self._config.loaded_app = self.front
        self.watch = ConnectionWatch(ConnectionLimits(total=10, watched=5))

    def connect(self) -> tuple[HttpProtocol, Transport]:
        connection = HttpProtocol(config=self._config, server_state=ServerState(), app_state={}, watch=self.watch)
        connection.connection_made(transport := Transport())
        return connection, transport

    async def answer(self, pieces: Sequence[bytes], turns: Sequence[int] = ()) -> tuple[bytes, str]:
        """What is written to one connection, without ids of ours, and how that ended."""
        connection, transport = self.connect()
        for place, piece in enumerate(pieces):
            if not transport.end:
                connection.data_received(piece)
                await pass_turns(turns[place % len(turns)] if turns else 0)
        await pass_turns(100)
        end = transport.end
        connection.connection_lost(None)
        return _OUR_ID.sub(b"<id>", transport.written), end


async def pass_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def build(
    *headers: str, body: bytes = b"{}", target: str = "/score", key: str = "one", length: str = "content-length"
) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "host: a", "content-type: application/json", f"x-api-key: {key}"]
    return "\r\n".join([*lines, *headers, f"{length}: {len(body)}", "", ""]).encode() + body


KINDS = {
    "plain": build(),
    "longer": build(body=b"x" * 1200),
    "two blank lines": build(body=b"a\r\n\r\nb\r\n\r\n"),
    "a request in the body": build(body=build()),
    "empty": build(body=b""),
    "two": build(key="two"),
    "a stranger": build(key="three"),
    "no key": build().replace(b"x-api-key: one\r\n", b""),
    "a reward": build("idempotency-key: k", target="/reward"),
    "a policy": build(target="/score/eg%72eedy?a=1"),
    "a query twice": build(target="/score?a=1&a=2"),
    "an own header": build("x-own: 7"),
    "the length first": build().replace(b"host: a\r\n", b"").replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nHost: a\r\n"),
    "capitals": build(length="Content-Length"),
    "spaces": build(length="content-length:  "),
    "zeros": build(length="content-length: 00"),
    "another length": build("x-length: 2"),
    "length of nothing": build(length="x-content-length"),
    "its own id": build("x-request-id: mine"),
    "refused": build(body=b"refuse"),
    "no JSON": build().replace(b"application/json", b"text/plain"),
    "chunks": build(body=b"2\r\n{}\r\n0\r\n\r\n").replace(b"content-length: 12", b"transfer-encoding: chunked"),
    "large": build(body=b"x" * 70_000),
    "waits": build("expect: 100-continue"),
    "elsewhere": build(target="/nowhere"),
    "a page": b"GET /score HTTP/1.1\r\nhost: a\r\nx-api-key: one\r\n\r\n",
    "kept": build("connection: keep-alive"),
    "an empty line": b"\r\n",
    "bare feeds": build().replace(b"\r\n", b"\n"),
    "old": build().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "last": build("connection: close"),
    "upgraded": build("connection: upgrade", "upgrade: h2c"),
    "two lengths": build("content-length: 2"),
    "a minus": build().replace(b"length: 2", b"length: -2"),
    "noise": b"noise\r\n\r\n",
}


async def test_the_kinds_are_answered_in_many_ways() -> None:
    service = Service()
    answers = {name: await service.answer([sent]) for name, sent in KINDS.items()}
    statuses = {name: answer[0][9:12] for name, answer in answers.items()}
    assert {name for name, status in statuses.items() if status == b"401"} == {"a stranger", "no key"}
    assert {statuses["refused"], statuses["a query twice"]} == {b"422"}
    assert statuses["no JSON"] == b"415"
    assert {b"200", b"400", b""} <= set(statuses.values())
    assert {end for _, end in answers.values()} == {"", "closed"}


@pytest.mark.parametrize("name", KINDS)
async def test_the_second_of_a_kind_is_answered_as_the_first(name: str) -> None:
    service = Service()
    first, second, third = [await service.answer([KINDS[name]]) for _ in range(3)]
    assert first == second == third
    assert await service.answer([KINDS[name]] * 3, [10]) == await Service(heads=NoHeads()).answer(
        [KINDS[name]] * 3, [10]
    )


WARM = Service()
COLD = Service(heads=NoHeads())


@given(
    names=st.lists(st.sampled_from([*KINDS, *["plain", "longer", "a reward"] * 8]), min_size=1, max_size=8),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    cuts_between=st.booleans(),
    turns=st.lists(st.sampled_from([0, 1, 10]), min_size=1, max_size=4),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_pieces_requests_come_they_are_answered_as_if_all_were_parsed(
    names: list[str], cuts: list[float], cuts_between: bool, turns: list[int]
) -> None:
    sent = [KINDS[name] for name in names]
    whole = b"".join(sent)
    places = {int(cut * len(whole)) for cut in cuts}
    if cuts_between:
        places |= {sum(map(len, sent[:count])) for count in range(len(sent))}
    ends = sorted({0, *places, len(whole)})
    pieces = [whole[begin:end] for begin, end in pairwise(ends)]

    async def compare() -> None:
        counts = []
        answers = []
        for service in (WARM, COLD):
            before = sum(each.requests for each in service.metrics.list_latencies())
            answers.append(await service.answer(pieces, turns))
            counts.append(sum(each.requests for each in service.metrics.list_latencies()) - before)
        assert answers[0] == answers[1]
        assert counts[0] == counts[1]

    asyncio.run(compare())


async def test_a_known_head_passes_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    await service.answer([KINDS["plain"]])
    connection, transport = service.connect()
    monkeypatch.setattr(connection, "parser", None)  # it would fail
    for sent in (KINDS["plain"], KINDS["longer"], KINDS["two blank lines"], KINDS["empty"]):
        head, _, body = sent.partition(b"\r\n\r\n")
        for pieces in ([sent], [head + b"\r\n\r\n", body], [sent[:-1], sent[-1:]]):
            for piece in pieces if body else [sent]:
                connection.data_received(piece)
            await pass_turns(10)
    assert transport.written.count(b"HTTP/1.1 200 OK\r\n") == 12
    assert service.watch.count == 0
    assert len(set(re.findall(rb"x-request-id: (\S+)", transport.written))) == 12


async def test_a_known_head_lets_no_other_key_in() -> None:
    service = Service()
    sent = [KINDS["plain"], build(key="three"), KINDS["plain"], build(key="thr"), build(key="two")]
    for _ in range(2):
        written, _ = await service.answer(sent, [10])
        assert re.findall(rb"HTTP/1.1 (\d+)", written) == [b"200", b"401", b"200", b"401", b"200"]
        assert re.findall(rb'"client": "(\w+)"', written) == [b"one", b"one", b"two"]


async def test_one_that_cannot_even_be_refused_takes_no_other_of_its_group_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, failures = Service(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(service.metrics, "record_request", fail)
    (first, transport), (second, _) = service.connect(), service.connect()
    first.data_received(KINDS["plain"])
    second.data_received(KINDS["a stranger"])
    await pass_turns(10)
    assert [type(failure) for failure in failures] == [BrokenPipeError]
    assert transport.written.startswith(b"HTTP/1.1 200 ")


async def test_the_rest_of_a_known_head_s_request_has_a_deadline() -> None:
    service = Service()
    await service.answer([KINDS["plain"]])
    connection, transport = service.connect()
    connection.data_received(KINDS["plain"][:-1])
    assert (service.watch.count, connection.is_idle) == (1, False)
    assert connection.expire() is None
    assert transport.written.startswith(b"HTTP/1.1 408 ")
    assert transport.end == "closed"


async def test_a_request_of_a_known_head_that_has_begun_is_answered_at_a_shutdown() -> None:
    service = Service()
    await service.answer([KINDS["plain"]])
    connection, transport = service.connect()
    connection.data_received(KINDS["plain"][:-1])
    connection.shutdown()
    assert transport.end == ""
    connection.data_received(KINDS["plain"][-1:])
    await pass_turns(10)
    assert transport.written.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in transport.written
    assert transport.end == "closed"


async def test_a_closed_loop_keeps_known_heads_out() -> None:
    service = Service()
    waiting: list[str] = []

    class Mounts:
        def may_concern(self, _: str) -> bool:
            return not gate.is_open

        def enter(self, path: str, *_: Any) -> Any:
            waiting.append(path)
            raise InvalidRequestError("not now")

    gate = service.front.gate = LoopGate()
    service.front.mounts = Mounts()
    assert b" 200 " in (await service.answer([KINDS["plain"]]))[0]
    assert waiting == []
    async with gate.close():
        assert b" 422 " in (await service.answer([KINDS["plain"]]))[0]
    assert waiting == ["/score"]
    assert b" 200 " in (await service.answer([KINDS["plain"]]))[0]


def head() -> RequestHead:
    return RequestHead("/score", b"", {})


def test_heads_that_differ_in_each_request_do_not_pile_up() -> None:
    heads = KnownHeads()
    sizes = []
    for number in range(5000):
        split = split_request(build(f"traceparent: {number}"))
        assert split is not None
        heads.add(split[0], head())
        assert heads.find(split[0]) is not None
        sizes.append(len(heads))
    assert max(sizes) == 1024


@pytest.mark.parametrize("header", ["x-own: " + "x" * 1024, "x-length: 2"])
def test_a_long_head_and_one_whose_length_is_not_the_body_s_are_not_kept(header: str) -> None:
    heads = KnownHeads()
    split = split_request(build(header))
    assert split is not None
    heads.add(split[0], head())
    assert len(heads) == 0


def test_only_what_the_length_says_is_left_out() -> None:
    short, long = (split_request(build(body=b"x" * size)) for size in (3, 30_000))
    assert short is not None
    assert long is not None
    assert short[0] == long[0]
    assert (short[1], long[1]) == (b"3", b"30000")
    with suppress(TypeError):
        assert split_request(build("x-own: 1"))[0] != short[0]  # type: ignore[index]  # there is one
