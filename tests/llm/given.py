"""What the tests of the model clients are given."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from bandstand.llm.chat import ChatRequest, Message

CONVERSATION: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What now?"},
]
SCHEMA: dict[str, object] = {
    "title": "advice",
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


def request_of(messages: Iterable[Message] = CONVERSATION, *, max_tokens: int = 50, **fields: Any) -> ChatRequest:
    """A request that leaves time to answer, unless ``fields`` say otherwise."""
    return ChatRequest(messages=tuple(messages), max_tokens=max_tokens, **{"deadline": get_deadline(), **fields})


def get_deadline() -> float:
    """A deadline that no test meets."""
    return time.monotonic() + 30


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another task is about to bring about."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to await
            await asyncio.sleep(0.005)


class Clock:
    """Moves only when it is told to, or slept on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
