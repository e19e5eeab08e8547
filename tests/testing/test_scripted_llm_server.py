"""The scripted server, seen by a plain HTTP client."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE

import httpx2
import pytest

from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedServer
from tests.llm.given import wait_until

BODY = {"model": "m", "messages": [{"role": "user", "content": "one two"}]}


async def test_keeps_a_connection_and_speaks_both_wires_under_any_prefix() -> None:
    async with ScriptedServer(ScriptedAnswer("three")) as server, httpx2.AsyncClient(trust_env=False) as http:
        openai = (await http.post(f"{server.url}/v1/chat/completions", json=BODY)).json()
        anthropic = (await http.post(f"{server.url}/anthropic/v1/messages", json=BODY)).json()
    assert openai["choices"][0]["message"]["content"] == "three"
    assert openai["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    assert anthropic["content"] == [{"type": "text", "text": "three"}]
    assert anthropic["usage"] == {"input_tokens": 2, "output_tokens": 1}
    assert [request.wire for request in server.requests] == ["openai", "anthropic"]
    assert server.requests[0].headers["content-type"] == "application/json"


async def test_other_routes_are_404() -> None:
    async with ScriptedServer(ScriptedAnswer()) as server, httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{server.url}/v1/chat/completions")).status_code == 404
        assert (await http.post(f"{server.url}/v1/models", json={})).status_code == 404
    assert server.requests == []


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
async def test_errors_carry_status_message_and_headers(path: str) -> None:
    answer = ScriptedAnswer("slow down", status=429, headers={"retry-after": "3"})
    async with ScriptedServer(answer) as server, httpx2.AsyncClient(trust_env=False) as http:
        response = await http.post(f"{server.url}/{path}", json=BODY)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "3"
    assert response.json()["error"]["message"] == "slow down"


async def test_raw_bodies_go_out_as_they_are_and_usage_can_be_left_out() -> None:
    answers = iter([ScriptedAnswer(raw=b"{nonsense"), ScriptedAnswer("x", report_usage=False)])
    async with (
        ScriptedServer(lambda _request: next(answers)) as server,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        assert (await http.post(f"{server.url}/messages", json=BODY)).content == b"{nonsense"
        assert "usage" not in (await http.post(f"{server.url}/messages", json=BODY)).json()


async def test_thinks_as_long_as_it_is_told() -> None:
    async with (
        ScriptedServer(ScriptedAnswer(delay_s=0.05)) as server,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        began = time.monotonic()
        await asyncio.gather(*(http.post(f"{server.url}/messages", json=BODY) for _ in range(20)))
        assert time.monotonic() - began >= 0.05


async def test_closing_ends_conversations_under_way() -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        async with ScriptedServer(ScriptedAnswer(delay_s=60)) as server:
            asking = asyncio.create_task(http.post(f"{server.url}/messages", json=BODY))
            await wait_until(lambda: bool(server.requests))
        with pytest.raises(httpx2.TransportError):
            await asking


async def test_closing_what_was_never_started_is_no_error() -> None:
    await ScriptedServer(ScriptedAnswer()).aclose()


async def test_runs_as_a_program() -> None:
    words = ("-m", "bandstand.testing.scripted_llm_server", "--text", "three")
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=PIPE)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with httpx2.AsyncClient(trust_env=False) as http:
            reply = await http.post(f"{url}/chat/completions", json=BODY)
        assert reply.json()["choices"][0]["message"]["content"] == "three"
    finally:
        process.terminate()
        await process.wait()
