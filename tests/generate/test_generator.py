"""The conversation: corrections, sums, one deadline, typed failures."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from bandstand.errors import BandstandError, OverloadedError
from bandstand.generate.errors import GatewayError, GatewayUnreachableError, NotJsonError
from bandstand.generate.generator import TipGenerator, get_day_period
from bandstand.generate.parse import TIPS_SCHEMA
from bandstand.generate.tips import GeneratedTip
from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.llm.errors import (
    BudgetExceededError,
    ChatMalformedError,
    ChatStatusError,
    ChatTimeoutError,
    ChatUnreachableError,
    CircuitOpenError,
)
from bandstand.llm.providers.openai_compatible import OpenAICompatibleClient
from bandstand.testing.scripted_llm import Line, ScriptedClient
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedServer
from tests.generate.given import REQUEST, load_shipped

GOOD = json.dumps({"tips": [{"id": "tip-1", "content": "Pay the rent.", "rationale": None}]})
PAID = GeneratedTip(id="tip-1", content="Pay the rent.", task=0)  # it names the task


def build_reply(text: str, prompt: int | None = 100, completion: int | None = 10, **more: Any) -> ChatReply:
    return ChatReply(text=text, model="m-1", prompt_tokens=prompt, completion_tokens=completion, **more)


async def test_asks_with_the_prompt_and_returns_the_tips() -> None:
    client = ScriptedClient([build_reply(GOOD)])
    prompt = load_shipped("v2-mentor")
    generation = await TipGenerator(client, deadline_s=60, clock=lambda: 1000.0).generate(REQUEST, prompt)
    (call,) = client.calls
    assert [message["role"] for message in call.messages] == ["system", "user"]
    assert call.messages[0]["content"].startswith("You are a mentor")
    assert "Pay the rent" in call.messages[1]["content"]
    assert (call.temperature, call.deadline, call.schema) == (0.7, 1060.0, TIPS_SCHEMA)
    assert generation.tips == (PAID,)
    assert (generation.model, generation.prompt_version, generation.prompt_digest) == (
        "m-1",
        "v2-mentor",
        prompt.digest,
    )
    assert (generation.prompt_tokens, generation.completion_tokens, generation.tries) == (100, 10, 1)
    assert (generation.requested, generation.missing, generation.tasks_left_out) == (2, 1, 0)


@pytest.mark.parametrize(("n", "max_tokens"), [(1, 4096), (20, 4096), (50, 10_000)])
async def test_fifty_tips_are_given_the_room_that_they_take(n: int, max_tokens: int) -> None:
    client = ScriptedClient([build_reply(GOOD)])
    await TipGenerator(client).generate(replace(REQUEST, n=n), load_shipped())
    assert client.calls[0].max_tokens == max_tokens


async def test_corrects_twice_in_the_same_conversation_and_sums_the_tokens() -> None:
    client = ScriptedClient([build_reply("Sure!"), build_reply("[7]", None, None), build_reply(GOOD, 300, 30)])
    generation = await TipGenerator(client).generate(REQUEST, load_shipped())
    assert (generation.tips, generation.tries) == ((PAID,), 3)
    assert (generation.prompt_tokens, generation.completion_tokens) == (400, 40)
    first, second, third = (call.messages for call in client.calls)
    assert second[:2] == first
    assert third[:4] == second
    assert [message["role"] for message in third[2:]] == ["assistant", "user", "assistant", "user"]
    assert third[2]["content"] == "Sure!"
    assert third[3]["content"] == (
        "Your answer could not be used. The answer is not JSON: Expecting value at line 1. Answer again with nothing "
        'but the JSON object that was asked for: {"tips": [{"id": "...", "content": "...", "rationale": "...", '
        '"task_id": "..."}]}, no text around it and no code fence.'
    )
    assert "Tip 1 is not an object." in third[5]["content"]
    assert len({call.deadline for call in client.calls}) == 1


async def test_gives_up_after_two_corrections() -> None:
    client = ScriptedClient(["no", "{}", "", GOOD])
    with pytest.raises(NotJsonError):
        await TipGenerator(client).generate(REQUEST, load_shipped())
    assert len(client.calls) == 3


async def test_an_answer_cut_off_is_asked_for_in_fewer_words() -> None:
    client = ScriptedClient([build_reply("", finish_reason="length"), build_reply(GOOD)])
    await TipGenerator(client).generate(REQUEST, load_shipped())
    *_, assistant, correction = client.calls[1].messages
    assert assistant["content"] == "(nothing)"
    assert "fewer words" in correction["content"]


async def test_a_refusal_is_not_argued_with() -> None:
    client = ScriptedClient([build_reply("", refusal="no", finish_reason="refusal"), GOOD])
    with pytest.raises(GatewayError, match="declined"):
        await TipGenerator(client).generate(REQUEST, load_shipped())
    assert len(client.calls) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ChatStatusError(500), GatewayError),
        (ChatStatusError(401), GatewayError),
        (ChatMalformedError("nonsense"), GatewayError),
        (ChatUnreachableError("gone"), GatewayUnreachableError),
        (ChatTimeoutError("slow"), GatewayUnreachableError),
        (CircuitOpenError(retry_after_s=3), GatewayUnreachableError),
        (BudgetExceededError("spent"), BudgetExceededError),
    ],
)
@pytest.mark.parametrize("before", [[], ["not JSON"]])
async def test_failures_are_typed_at_any_try(
    before: list[Line], fault: Exception, expected: type[BandstandError]
) -> None:
    with pytest.raises(expected) as caught:
        await TipGenerator(ScriptedClient([*before, fault])).generate(REQUEST, load_shipped())
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("fault", "seconds"), [(ChatUnreachableError("gone"), 5), (CircuitOpenError(retry_after_s=28.2), 29)]
)
async def test_a_gateway_that_is_left_alone_says_for_how_long(fault: Exception, seconds: int) -> None:
    with pytest.raises(GatewayUnreachableError) as caught:
        await TipGenerator(ScriptedClient([fault])).generate(REQUEST, load_shipped())
    assert caught.value.retry_after == seconds


async def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(ZeroDivisionError):
        await TipGenerator(ScriptedClient([ZeroDivisionError()])).generate(REQUEST, load_shipped())


async def test_so_many_at_once_and_no_more() -> None:
    client = _Held()
    generator = TipGenerator(client, max_concurrent=2)
    under_way = [asyncio.create_task(generator.generate(REQUEST, load_shipped())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await generator.generate(REQUEST, load_shipped())
    under_way[0].cancel()
    await asyncio.gather(*under_way[:1], return_exceptions=True)
    under_way.append(asyncio.create_task(generator.generate(REQUEST, load_shipped())))
    await asyncio.sleep(0)
    client.release.set()
    assert [(await task).tips for task in under_way[1:]] == [(PAID,), (PAID,)]
    assert (await generator.generate(REQUEST, load_shipped())).tips == (PAID,)


@pytest.mark.parametrize(
    ("period", "hours"),
    [
        ("night", [0, 4, 22, 23]),
        ("morning", [5, 9]),
        ("midday", [10, 13]),
        ("afternoon", [14, 17]),
        ("evening", [18, 21]),
    ],
)
def test_periods_of_the_day(period: str, hours: list[int]) -> None:
    assert {get_day_period(hour) for hour in hours} == {period}


class TestOverSockets:
    async def test_a_gateway_without_structured_output_and_a_chatty_model(self) -> None:
        texts = iter(["Here you go!", f"```json\n{GOOD}\n```"])
        unsupported = frozenset({"response_format"})
        async with (
            ScriptedServer(
                lambda request: ScriptedAnswer(
                    "" if unsupported & request.body.keys() else next(texts), refuse=unsupported
                )
            ) as server,
            OpenAICompatibleClient(base_url=server.url, api_key=None, model="tip-generator") as client,
        ):
            generation = await TipGenerator(client).generate(REQUEST, load_shipped())
        assert (generation.tips, generation.tries, generation.model) == ((PAID,), 2, "tip-generator")
        assert [len(request.message_texts) for request in server.requests] == [1, 1, 3]
        assert all(request.path == "/chat/completions" for request in server.requests)

    async def test_the_deadline_covers_every_try(self) -> None:
        async with (
            ScriptedServer(ScriptedAnswer("not JSON", delay_s=0.1)) as server,
            OpenAICompatibleClient(base_url=server.url, api_key=None, model="m") as client,
        ):
            with pytest.raises(GatewayUnreachableError):  # with time for each: three that are no JSON
                await TipGenerator(client, deadline_s=0.25).generate(REQUEST, load_shipped())
        assert len(server.requests) <= 3

    async def test_who_hangs_up_hangs_up_on_the_gateway(self) -> None:
        async with (
            ScriptedServer(ScriptedAnswer(GOOD, delay_s=600)) as server,
            OpenAICompatibleClient(base_url=server.url, api_key=None, model="m") as client,
        ):
            task = asyncio.create_task(TipGenerator(client).generate(REQUEST, load_shipped()))
            async with asyncio.timeout(60):
                while not server.requests:  # noqa: ASYNC110 - the server offers no event to await
                    await asyncio.sleep(0.005)
                task.cancel()
                while not server.disconnects:  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.005)
            assert task.cancelled()


class _Held:
    """Answers well, once it is let."""

    model = "held"

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def complete(self, _request: ChatRequest) -> ChatReply:
        await self.release.wait()
        return build_reply(GOOD)
