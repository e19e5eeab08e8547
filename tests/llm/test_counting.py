"""What is counted of calls: what the provider says, else the most that it can have been."""

import asyncio
from contextlib import suppress

import pytest

from bandstand.llm.budget import most_prompt_tokens
from bandstand.llm.chat import ChatReply
from bandstand.llm.counting import CountingClient
from bandstand.llm.errors import ChatError, ChatStatusError, ChatTimeoutError
from bandstand.llm.retry import Backoff, RetryingClient
from bandstand.llm.scripted import Line, ScriptedClient
from tests.llm.given import CONVERSATION, SCHEMA, soon

BOUND = most_prompt_tokens(CONVERSATION, SCHEMA)
TOLD = ChatReply(text="", model="m", prompt_tokens=7, completion_tokens=2)


async def counted(*lines: Line) -> tuple[int, int]:
    counting = CountingClient(ScriptedClient(lines))
    client = RetryingClient(counting, backoff=Backoff(tries=3, first_s=0))
    with suppress(ChatError):
        await client.complete(CONVERSATION, max_tokens=100, deadline=soon(), schema=SCHEMA)
    return counting.prompt_tokens, counting.completion_tokens


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
    assert await counted(*lines) == tokens


async def test_a_call_that_is_cancelled_counts_in_full() -> None:
    class Never(ScriptedClient):
        async def complete(self, *_: object, **__: object) -> ChatReply:
            return await asyncio.Future()

    counting = CountingClient(Never([]))
    assert counting.model == "scripted"
    call = asyncio.create_task(counting.complete(CONVERSATION, max_tokens=100, deadline=soon()))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (counting.prompt_tokens, counting.completion_tokens) == (most_prompt_tokens(CONVERSATION, None), 100)
