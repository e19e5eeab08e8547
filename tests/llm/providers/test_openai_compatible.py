"""The OpenAI wire: what is sent, what is made of the answer, what never leaves."""

import asyncio
import json
import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import respx

from bandstand.errors import ConfigurationError
from bandstand.llm.chat import ChatReply
from bandstand.llm.errors import ChatMalformedError, ChatStatusError, ChatTimeoutError, ChatUnreachableError
from bandstand.llm.providers.openai_compatible import OpenAICompatibleClient
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from tests.llm.given import CONVERSATION, SCHEMA, request_of, wait_until

URL = "https://llm.example/v1"


def client(
    base_url: str = URL, api_key: str | None = "sk-secret", call_timeout_s: float = 5.0
) -> OpenAICompatibleClient:
    return OpenAICompatibleClient(base_url=base_url, api_key=api_key, model="tiny", call_timeout_s=call_timeout_s)


def build_completion(content: str | None = "Rest.", **changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return {"id": "x", "object": "chat.completion", "model": "tiny-2", "choices": [choice], "usage": usage} | changes


def send_call(route: respx.Route, call: int = -1) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(route.calls[call].request.content)
    return body


async def test_sends_the_conversation_and_the_strict_schema(provider: respx.MockRouter) -> None:
    route = provider.post(f"{URL}/chat/completions").respond(json=build_completion())
    async with client() as llm:
        reply = await llm.complete(request_of(temperature=0.7, schema=SCHEMA))
    assert send_call(route) == {
        "model": "tiny",
        "messages": CONVERSATION,
        "max_completion_tokens": 50,
        "temperature": 0.7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "advice", "strict": True, "schema": SCHEMA},
        },
    }
    assert route.calls[0].request.headers["authorization"] == "Bearer sk-secret"
    assert reply == ChatReply(text="Rest.", model="tiny-2", prompt_tokens=7, completion_tokens=2)


async def test_leaves_out_what_was_not_asked_for(provider: respx.MockRouter) -> None:
    route = provider.post(f"{URL}/chat/completions").respond(json=build_completion())
    async with client() as llm:
        await llm.complete(request_of())
    assert send_call(route).keys() == {"model", "messages", "max_completion_tokens"}


async def test_nothing_comes_from_the_environment(provider: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "stray-key")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "stray-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "stray-org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "stray-project")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://stray.example")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer stray-header\nX-Stray: stray-value")
    route = provider.post(f"{URL}/chat/completions").respond(json=build_completion())
    async with client(api_key=None) as llm:
        await llm.complete(request_of())
    assert "stray" not in str(route.calls[0].request.headers.raw)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 302])
async def test_an_error_answer_is_typed_final_and_silent(provider: respx.MockRouter, status: int) -> None:
    route = provider.post(f"{URL}/chat/completions")
    route.respond(status, json={"error": {"message": "invalid key sk-secret", "param": None}})
    async with client() as llm:
        with pytest.raises(ChatStatusError) as caught:
            await llm.complete(request_of(schema=SCHEMA))
    assert (caught.value.status, caught.value.retryable, caught.value.reached) == (status, False, True)
    assert "sk-secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert route.call_count == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_a_passing_error_says_so_and_the_sdk_does_not_retry(provider: respx.MockRouter, status: int) -> None:
    route = provider.post(f"{URL}/chat/completions").respond(status, headers={"retry-after": "7"})
    async with client() as llm:
        with pytest.raises(ChatStatusError) as caught:
            await llm.complete(request_of())
    assert caught.value.retryable
    assert caught.value.retry_after_s == 7
    assert route.call_count == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>gateway</html>",
        b"[]",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -1}}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1000000000000000000000}}',
        b'{"choices": [{"message": {"content": "x"}}], "model": "' + b"m" * 1001 + b'"}',
    ],
)
async def test_what_is_no_completion_is_malformed(provider: respx.MockRouter, body: bytes) -> None:
    provider.post(f"{URL}/chat/completions").respond(content=body)
    async with client() as llm:
        with pytest.raises(ChatMalformedError) as caught:
            await llm.complete(request_of())
    assert (caught.value.sent, caught.value.retryable) == (True, True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "overloaded"}}',
        b'{"error": "overloaded"}',
        b'{"error": {"code": "rate_limit", "message": "slow"}, "choices": null}',
        b'{"object": "error", "message": "busy"}',
        b'{"choices": [{"error": {"message": "lost"}, "finish_reason": "error", "message": {"content": ""}}]}',
    ],
)
async def test_an_error_under_status_200_is_malformed_and_cost_nothing(provider: respx.MockRouter, body: bytes) -> None:
    provider.post(f"{URL}/chat/completions").respond(content=body)
    async with client() as llm:
        with pytest.raises(ChatMalformedError) as caught:
            await llm.complete(request_of())
    assert (caught.value.sent, caught.value.retryable) == (False, True)


@pytest.mark.parametrize(("code", "retryable"), [(429, True), (502, True), (401, False)])
async def test_an_error_under_status_200_that_names_a_status_is_one(
    provider: respx.MockRouter, code: int, *, retryable: bool
) -> None:
    bodies = [
        {"error": {"code": code, "message": "x"}},
        {"choices": [{"error": {"code": code}, "message": {"content": "x"}}]},
        {"object": "error", "code": code},
    ]
    for body in bodies:
        provider.post(f"{URL}/chat/completions").respond(json=body)
        async with client() as llm:
            with pytest.raises(ChatStatusError) as caught:
                await llm.complete(request_of())
        assert (caught.value.status, caught.value.retryable) == (code, retryable)


async def test_a_bare_completion_is_enough(provider: respx.MockRouter) -> None:
    provider.post(f"{URL}/chat/completions").respond(json={"choices": [{"message": {"content": "Rest."}}]})
    async with client() as llm:
        reply = await llm.complete(request_of())
    assert reply == ChatReply(text="Rest.", model="tiny", finish_reason="other")


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "Re"}, "length", ("Re", "length", None)),
        ({"content": None}, "content_filter", ("", "refusal", "")),
        ({"content": None, "refusal": "I will not."}, "stop", ("", "refusal", "I will not.")),
        ({"content": "x"}, "tool_calls", ("x", "other", None)),
        ({"content": [{"type": "text", "text": "Re"}, {"text": "st."}]}, "stop", ("Rest.", "stop", None)),
        ({"content": [{"type": "thinking", "thinking": "no"}, {"text": "x"}]}, "stop", ("x", "stop", None)),
    ],
)
async def test_finish_reasons_and_refusals(
    provider: respx.MockRouter, message: dict[str, Any], finish: str, expected: tuple[str, str, str | None]
) -> None:
    choice = {"message": message, "finish_reason": finish}
    provider.post(f"{URL}/chat/completions").respond(json=build_completion(choices=[choice]))
    async with client() as llm:
        reply = await llm.complete(request_of())
    assert (reply.text, reply.finish_reason, reply.refusal) == expected


class TestNegotiation:
    async def test_a_refused_parameter_is_left_out_and_never_sent_again(self) -> None:
        answer = ScriptedAnswer("Rest.", refuse=frozenset({"response_format", "temperature", "max_completion_tokens"}))
        async with ScriptedServer(answer) as server, client(server.url) as llm:
            for _ in range(2):
                reply = await llm.complete(request_of(temperature=0.7, schema=SCHEMA))
                assert reply.text == "Rest."
        *refused, first, second = [request.body.keys() - {"model", "messages"} for request in server.requests]
        assert len(refused) == 3
        assert first == second == {"max_tokens"}

    @pytest.mark.parametrize(
        "error",
        [
            {"error": {"message": "nope", "param": "response_format"}},
            {"error": {"message": "UnsupportedParamsError: does not support parameters: ['response_format']"}},
            {"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]},
            {"error": "unknown field response_format"},
        ],
    )
    async def test_gateways_name_the_parameter_in_their_own_ways(
        self, provider: respx.MockRouter, error: dict[str, Any]
    ) -> None:
        route = provider.post(f"{URL}/chat/completions")
        route.side_effect = [httpx.Response(400, json=error), httpx.Response(200, json=build_completion())]
        async with client() as llm:
            await llm.complete(request_of(schema=SCHEMA))
        assert "response_format" in send_call(route, 0)
        assert "response_format" not in send_call(route, 1)

    async def test_a_parameter_named_by_accident_is_sent_again(self, provider: respx.MockRouter) -> None:
        quoting = httpx.Response(400, json={"error": {"message": "too long: my task is about temperature"}})
        route = provider.post(f"{URL}/chat/completions")
        route.side_effect = [quoting, quoting, httpx.Response(200, json=build_completion())]
        async with client() as llm:
            with pytest.raises(ChatStatusError):
                await llm.complete(request_of(temperature=0.7))
            await llm.complete(request_of(temperature=0.7))
        assert send_call(route)["temperature"] == 0.7

    async def test_a_server_error_that_names_a_parameter_is_a_server_error(self, provider: respx.MockRouter) -> None:
        route = provider.post(f"{URL}/chat/completions").respond(500, json={"error": {"message": "temperature"}})
        async with client() as llm:
            with pytest.raises(ChatStatusError):
                await llm.complete(request_of(temperature=0.7))
        assert route.call_count == 1


class TestSockets:
    async def test_a_real_conversation(self) -> None:
        def answer_request(request: ScriptedRequest) -> ScriptedAnswer:
            return ScriptedAnswer(f"{request.system} {request.message_texts[-1]}")

        async with ScriptedServer(answer_request) as server, client(server.url) as llm:
            reply = await llm.complete(request_of())
        assert reply == ChatReply(text="Be brief. What now?", model="tiny", prompt_tokens=4, completion_tokens=4)

    async def test_nobody_listens(self, closed_port: int) -> None:
        async with client(f"http://127.0.0.1:{closed_port}") as llm:
            with pytest.raises(ChatUnreachableError) as caught:
                await llm.complete(request_of())
        assert (caught.value.retryable, caught.value.reached, caught.value.sent) == (True, False, False)

    @pytest.mark.parametrize("send_bytes", [0, 10])
    async def test_a_broken_answer_may_have_been_charged(self, send_bytes: int) -> None:
        async with ScriptedServer(ScriptedAnswer("Rest.", send_bytes=send_bytes)) as server, client(server.url) as llm:
            with pytest.raises(ChatUnreachableError) as caught:
                await llm.complete(request_of())
        assert (caught.value.retryable, caught.value.sent) == (True, True)

    @pytest.mark.parametrize(("call_timeout_s", "seconds_left"), [(1.0, 60.0), (60.0, 1.0)])
    async def test_a_hanging_model_is_left_and_the_call_cancelled(
        self, call_timeout_s: float, seconds_left: float
    ) -> None:
        async with (
            ScriptedServer(ScriptedAnswer("late", delay_s=600)) as server,
            client(server.url, call_timeout_s=call_timeout_s) as llm,
        ):
            with pytest.raises(ChatTimeoutError) as caught:
                await llm.complete(request_of(deadline=time.monotonic() + seconds_left))
            await wait_until(lambda: server.disconnects == 1)
        assert (caught.value.retryable, caught.value.sent) == (True, True)

    async def test_a_past_deadline_sends_nothing(self) -> None:
        async with ScriptedServer(ScriptedAnswer("Rest.")) as server, client(server.url) as llm:
            with pytest.raises(ChatTimeoutError) as caught:
                await llm.complete(request_of(deadline=time.monotonic() - 1))
            assert server.requests == []
        assert not caught.value.sent

    async def test_cancelling_the_caller_cancels_the_call(self) -> None:
        async with ScriptedServer(ScriptedAnswer("late", delay_s=600)) as server, client(server.url) as llm:
            task = asyncio.create_task(llm.complete(request_of()))
            await wait_until(lambda: len(server.requests) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await wait_until(lambda: server.disconnects == 1)

    async def test_loopback_ignores_proxies(self, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with ScriptedServer(ScriptedAnswer("Rest.")) as server, client(server.url) as llm:
            assert (await llm.complete(request_of())).text == "Rest."


def test_one_client_does_not_serve_two_loops(provider: respx.MockRouter) -> None:
    provider.post(f"{URL}/chat/completions").respond(json=build_completion())
    llm = client()
    asyncio.run(_call_model(llm))
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(_call_model(llm))
    asyncio.run(llm.aclose())


@pytest.mark.parametrize(
    "url", ["", "http://[::1", "llm.example", "ftp://llm.example", "http://", "http://user:pw@llm.example"]
)
def test_a_url_must_be_one(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client(url)
    assert "pw" not in caught.value.detail


def test_knows_its_host_and_model() -> None:
    llm = client("http://localhost:4000/v1")
    assert (llm.host, llm.model) == ("localhost", "tiny")


async def _call_model(llm: OpenAICompatibleClient) -> ChatReply:
    return await llm.complete(request_of())


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def probable_client(base_url: str = URL) -> OpenAICompatibleClient:
    return OpenAICompatibleClient(base_url=base_url, api_key="k", model="tiny", token_probabilities=True)


async def test_asks_for_the_probability_of_every_token_where_it_is_wanted(provider: respx.MockRouter) -> None:
    tokens = [{"token": "Re", "logprob": math.log(0.5)}, {"token": "st.", "logprob": 0.0}]
    answer = build_completion()
    answer["choices"][0]["logprobs"] = {"content": tokens}
    route = provider.post(f"{URL}/chat/completions").respond(json=answer)
    async with probable_client() as llm:
        reply = await llm.complete(request_of())
    assert send_call(route)["logprobs"] is True
    assert reply.token_probabilities is not None
    assert dict(reply.token_probabilities) == pytest.approx({"Re": 0.5, "st.": 1.0})


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, "none", {"content": [{"token": 1}]}, []])
async def test_an_answer_without_them_is_an_answer(provider: respx.MockRouter, logprobs: object) -> None:
    answer = build_completion()
    answer["choices"][0]["logprobs"] = logprobs
    provider.post(f"{URL}/chat/completions").respond(json=answer)
    async with probable_client() as llm:
        reply = await llm.complete(request_of())
    assert (reply.text, reply.token_probabilities) == ("Rest.", None)


async def test_a_gateway_that_refuses_them_is_asked_without(provider: respx.MockRouter) -> None:
    refusal = {"error": {"message": "logprobs is not supported with this model", "param": "logprobs"}}
    route = provider.post(f"{URL}/chat/completions")
    route.side_effect = [httpx.Response(400, json=refusal), *[httpx.Response(200, json=build_completion())] * 2]
    async with probable_client() as llm:
        for _ in range(2):
            assert (await llm.complete(request_of())).text == "Rest."
    assert ["logprobs" in send_call(route, call) for call in range(3)] == [True, False, False]
