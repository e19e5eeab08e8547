"""The scripted model."""

import pytest

from bandstand.llm.chat import ChatClient, ChatReply
from bandstand.llm.errors import ChatStatusError, ChatUnreachableError
from bandstand.testing.scripted_llm import ScriptedClient
from tests.llm.given import SCHEMA, request_of


async def call_model(client: ChatClient) -> ChatReply:
    return await client.complete(request_of(max_tokens=9, deadline=60.0, temperature=0.1, schema=SCHEMA))


async def test_reads_its_lines_in_order_and_then_is_gone() -> None:
    whole = ChatReply(text="b", model="other")
    client = ScriptedClient(["a", whole, ChatStatusError(500)])
    assert await call_model(client) == ChatReply(text="a", model="scripted", prompt_tokens=4, completion_tokens=1)
    assert await call_model(client) is whole
    with pytest.raises(ChatStatusError):
        await call_model(client)
    with pytest.raises(ChatUnreachableError):
        await call_model(client)


async def test_a_function_sees_the_whole_call() -> None:
    client = ScriptedClient(lambda call: f"{call.messages[-1]['content']} {call.max_tokens} {call.temperature}")
    assert (await call_model(client)).text == "What now? 9 0.1"
    assert client.calls[0].schema == SCHEMA
    assert client.calls[0].deadline == 60.0
