"""What is counted of calls: what the provider says, else the most that it can have been."""

import asyncio
from contextlib import suppress

import pytest

from bandstand.llm.chat import ChatReply, ChatRequest, TokenUsage
from bandstand.llm.errors import ChatError, ChatStatusError, ChatTimeoutError
from bandstand.llm.middleware.retry import Backoff, RetryingClient
from bandstand.llm.middleware.usage import CountingClient, track_usage
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.llm.given import SCHEMA, request_of

BOUND = request_of(schema=SCHEMA).compute_token_bound().prompt_tokens
TOLD = ChatReply(text="", model="m", prompt_tokens=7, completion_tokens=2)


async def count_tokens(*lines: Line) -> TokenUsage:
    client = RetryingClient(CountingClient(ScriptedClient(lines)), backoff=Backoff(tries=3, first_s=0))
    with track_usage() as tally, suppress(ChatError):
        await client.complete(request_of(max_tokens=100, schema=SCHEMA))
    return tally.usage


@pytest.mark.parametrize(
    ("lines", "tokens"),
    [
        ([TOLD], (7, 2)),
        ([ChatReply(text="", model="m")], (BOUND, 100)),
        ([ChatStatusError(503), TOLD], (7, 2)),
        ([ChatTimeoutError("late"), TOLD], (BOUND + 7, 102)),
        ([ChatStatusError(400)], (0, 0)),
        ([ChatTimeoutError("late")] * 3, (3 * BOUND, 300)),
    ],
)
async def test_every_try_is_counted(lines: list[Line], tokens: tuple[int, int]) -> None:
    assert await count_tokens(*lines) == TokenUsage(*tokens)


async def test_a_call_that_is_cancelled_counts_in_full() -> None:
    class Never(ScriptedClient):
        async def complete(self, _request: ChatRequest) -> ChatReply:
            return await asyncio.Future()

    client = CountingClient(Never([]))
    assert client.model == "scripted"
    with track_usage() as tally:
        call = asyncio.create_task(client.complete(request_of(max_tokens=100)))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert tally.usage == request_of(max_tokens=100).compute_token_bound()


async def test_each_piece_of_work_has_a_tally_of_its_own() -> None:
    client = CountingClient(ScriptedClient(lambda call: ChatReply(text="", model="m", prompt_tokens=call.max_tokens)))

    async def run_work(tokens: int) -> int:
        with track_usage() as tally:
            for _ in range(3):
                await asyncio.sleep(0)
                await client.complete(request_of(max_tokens=tokens))
        return tally.usage.prompt_tokens

    assert list(await asyncio.gather(run_work(1), run_work(10), run_work(100))) == [3, 30, 300]
    await client.complete(request_of(max_tokens=1))  # nobody counts
