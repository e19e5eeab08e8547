"""The nouns of one call to a chat model, and the protocol every client keeps.

A caller in a sibling package declares the part of :class:`ChatClient` it needs as a protocol of its own; everything
that crosses the border (messages, schema, reply) is therefore structural.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

FinishReason = Literal["stop", "length", "refusal", "other"]

MAX_REPORTED_TOKENS = 1_000_000_000
"""A provider that reports more for one call does not count tokens."""
MAX_NAME_CHARS = 1_000
"""Characters of a model's name; what is longer is none."""


class Message(TypedDict):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What a model answered.

    Attributes:
        text: the answer; empty where the model gave none.
        model: the model as the provider names it, else as it was asked for.
        prompt_tokens: tokens read, None where the provider did not say.
        completion_tokens: tokens written, thinking included; None where the provider did not say.
        finish_reason: ``stop``; ``length`` when the token limit cut the answer; ``refusal`` when the model or a
            filter declined; ``other`` for anything else.
        refusal: the words of a refusal (empty where there are none), or None where the model did not refuse.
    """

    text: str
    model: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: FinishReason = "stop"
    refusal: str | None = None


class ChatClient(Protocol):
    """Something that answers a conversation."""

    @property
    def model(self) -> str:
        """The model this client asks."""

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        deadline: float,
        temperature: float | None = None,
        schema: Mapping[str, object] | None = None,
    ) -> ChatReply:
        """Ask for one answer.

        Args:
            messages: system messages first, then user and assistant in turn.
            max_tokens: the most tokens to write, thinking included.
            deadline: when to give up, in seconds of the client's clock (``time.monotonic``).
            temperature: None for the model's own; ignored where a provider no longer takes one.
            schema: a JSON schema of an object, named by its ``title``, that the answer should keep. Strictly enforced
                where the provider can, ignored where it cannot: the caller still has to parse.

        Raises:
            ChatError: the call failed; the subclass says how, ``retryable`` whether another try may help.
        """
