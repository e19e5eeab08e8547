"""The Anthropic wire: what is sent, what is made of the answer, what never leaves."""

import json
from typing import Any

import httpx
import pytest
import respx

from bandstand.llm.chat import ChatReply, Message
from bandstand.llm.errors import ChatMalformedError, ChatStatusError, ChatTimeoutError, ChatUnreachableError
from bandstand.llm.providers.anthropic import ANTHROPIC_URL, AnthropicClient
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from tests.llm.given import CONVERSATION, SCHEMA, request_of

URL = f"{ANTHROPIC_URL}/v1/messages"


def client(base_url: str = ANTHROPIC_URL, call_timeout_s: float = 5.0) -> AnthropicClient:
    return AnthropicClient(base_url=base_url, api_key="sk-secret", model="claude", call_timeout_s=call_timeout_s)


def reply_body(**changes: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-2",
        "content": [{"type": "text", "text": "Rest."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 2},
    } | changes


def send_call(route: respx.Route, call: int = -1) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(route.calls[call].request.content)
    return body


async def test_sends_system_apart_the_schema_and_no_temperature(provider: respx.MockRouter) -> None:
    route = provider.post(URL).respond(json=reply_body())
    messages: list[Message] = [{"role": "system", "content": "Now."}, *CONVERSATION]
    async with client() as llm:
        reply = await llm.complete(request_of(messages, temperature=0.0, schema=SCHEMA))
    assert send_call(route) == {
        "model": "claude",
        "max_tokens": 50,
        "system": "Now.\n\nBe brief.",
        "messages": [{"role": "user", "content": "What now?"}],
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    assert reply == ChatReply(text="Rest.", model="claude-2", prompt_tokens=7, completion_tokens=2)


async def test_leaves_out_what_was_not_asked_for(provider: respx.MockRouter) -> None:
    route = provider.post(URL).respond(json=reply_body())
    async with client() as llm:
        await llm.complete(request_of(CONVERSATION[1:]))
    assert send_call(route).keys() == {"model", "messages", "max_tokens"}


async def test_nothing_comes_from_the_environment(provider: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "stray-key")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "stray-token")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://stray.example")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "Authorization: Bearer stray-header\nX-Stray: stray-value")
    route = provider.post(URL).respond(json=reply_body())
    async with client() as llm:
        await llm.complete(request_of())
    assert "stray" not in str(route.calls[0].request.headers.raw)
    assert route.calls[0].request.headers["authorization"] == "Bearer sk-secret"


async def test_cached_prompt_tokens_count_and_only_text_is_text(provider: respx.MockRouter) -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Re"}, {"type": "text", "text": "st."}]
    usage = {"input_tokens": 7, "output_tokens": 2, "cache_read_input_tokens": 100, "cache_creation_input_tokens": None}
    provider.post(URL).respond(json=reply_body(content=content, usage=usage))
    async with client() as llm:
        reply = await llm.complete(request_of())
    assert (reply.text, reply.prompt_tokens) == ("Rest.", 107)


@pytest.mark.parametrize(
    ("changes", "finish", "refusal"),
    [
        ({"stop_reason": "stop_sequence"}, "stop", None),
        ({"stop_reason": "max_tokens"}, "length", None),
        ({"stop_reason": "model_context_window_exceeded"}, "length", None),
        ({"stop_reason": "pause_turn"}, "other", None),
        ({"stop_reason": "refusal", "content": []}, "refusal", ""),
        ({"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "No."}}, "refusal", "No."),
    ],
)
async def test_finish_reasons_and_refusals(
    provider: respx.MockRouter, changes: dict[str, Any], finish: str, refusal: str | None
) -> None:
    provider.post(URL).respond(json=reply_body(**changes))
    async with client() as llm:
        reply = await llm.complete(request_of())
    assert (reply.finish_reason, reply.refusal) == (finish, refusal)


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (401, False), (429, True), (529, True)])
async def test_error_answers_are_typed_and_silent(provider: respx.MockRouter, status: int, retryable: bool) -> None:
    route = provider.post(URL)
    route.respond(status, json={"type": "error", "error": {"type": "x", "message": "bad key sk-secret"}})
    async with client() as llm:
        with pytest.raises(ChatStatusError) as caught:
            await llm.complete(request_of(schema=SCHEMA))
    assert (caught.value.status, caught.value.retryable) == (status, retryable)
    assert "sk-secret" not in str(caught.value)
    assert route.call_count == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"type": "message"}',
        b'{"content": [{"text": 1}]}',
        b'{"content": [], "usage": {"input_tokens": 1, "output_tokens": 10000000000}}',
    ],
)
async def test_what_is_no_message_is_malformed(provider: respx.MockRouter, body: bytes) -> None:
    provider.post(URL).respond(content=body)
    async with client() as llm:
        with pytest.raises(ChatMalformedError):
            await llm.complete(request_of())


async def test_a_gateway_without_structured_output_is_asked_without(provider: respx.MockRouter) -> None:
    error = {"type": "error", "error": {"type": "x", "message": "output_config: Extra inputs are not permitted"}}
    route = provider.post(URL)
    route.side_effect = [httpx.Response(400, json=error), *[httpx.Response(200, json=reply_body())] * 2]
    async with client() as llm:
        for _ in range(2):
            await llm.complete(request_of(schema=SCHEMA))
    assert ["output_config" in send_call(route, call) for call in range(3)] == [True, False, False]


async def test_a_real_conversation_over_sockets() -> None:
    def answer_request(request: ScriptedRequest) -> ScriptedAnswer:
        return ScriptedAnswer(f"{request.system} {request.message_texts[-1]}")

    async with ScriptedServer(answer_request) as server, client(server.url) as llm:
        reply = await llm.complete(request_of())
    assert reply == ChatReply(text="Be brief. What now?", model="claude", prompt_tokens=4, completion_tokens=4)


async def test_silence_and_broken_connections_are_typed() -> None:
    async with (
        ScriptedServer(ScriptedAnswer("late", delay_s=600)) as slow,
        client(slow.url, call_timeout_s=0.05) as llm,
    ):
        with pytest.raises(ChatTimeoutError):
            await llm.complete(request_of())
    async with ScriptedServer(ScriptedAnswer("Rest.", send_bytes=0)) as rude, client(rude.url) as llm:
        with pytest.raises(ChatUnreachableError):
            await llm.complete(request_of())
        assert (llm.host, llm.model) == ("127.0.0.1", "claude")
