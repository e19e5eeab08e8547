"""The values of one call to a chat model, and the protocol that every client keeps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

FinishReason = Literal["stop", "length", "refusal", "other"]

MAX_REPORTED_TOKENS = 1_000_000_000
"""A provider that reports more for one call does not count tokens."""
MAX_NAME_CHARS = 1_000
"""Characters of a model's name; a longer one is not taken for a name."""

_TOKENS_PER_MESSAGE = 16


class Message(TypedDict):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def build_messages(system: str, user: str) -> tuple[Message, ...]:
    """The conversation that a rendered prompt begins: a system message and a user message."""
    return ({"role": "system", "content": system}, {"role": "user", "content": user})


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call, or of several together.

    Attributes:
        prompt_tokens: read.
        completion_tokens: written, thinking included.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total(self) -> int:
        """Read and written together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        return TokenUsage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)

    def __mul__(self, times: int) -> "TokenUsage":
        return TokenUsage(times * self.prompt_tokens, times * self.completion_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request to a model.

    Attributes:
        messages: system messages first, then user and assistant in turn.
        max_tokens: the most tokens to write, thinking included.
        deadline: when to give up, in seconds of the client's clock (``time.monotonic``).
        temperature: None for the model's own; ignored where a provider no longer takes one.
        schema: a JSON schema of an object, named by its ``title``, that the answer should keep. Strictly enforced
            where the provider can, ignored where it cannot: the caller still has to parse.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    deadline: float
    temperature: float | None = None
    schema: Mapping[str, object] | None = None

    def compute_token_bound(self) -> TokenUsage:
        """The most tokens that one call can read and write.

        Byte-level tokenizers make at most one token of each byte; each message adds a few that mark its borders.
        """
        text = sum(len(message["content"].encode("utf-8", "replace")) for message in self.messages)
        shape = 0 if self.schema is None else len(json.dumps(dict(self.schema)).encode())
        return TokenUsage(text + shape + _TOKENS_PER_MESSAGE * (len(self.messages) + 1), self.max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What a model answered.

    Attributes:
        text: the answer; empty where the model gave none.
        model: the model as the provider names it, else as it was requested.
        prompt_tokens: tokens read, None if the provider did not say.
        completion_tokens: tokens written, thinking included; None if the provider did not say.
        finish_reason: ``stop``; ``length`` when the token limit cut the answer; ``refusal`` when the model or a
            filter declined; ``other`` for anything else.
        refusal: the words of a refusal (empty if there are none), or None if the model did not refuse.
        token_probabilities: each token of the text with its probability; None if they were not requested, or the
            provider gives none.
    """

    text: str
    model: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: FinishReason = "stop"
    refusal: str | None = None
    token_probabilities: tuple[tuple[str, float], ...] | None = None

    def compute_usage(self, bound: TokenUsage) -> TokenUsage:
        """The tokens that the provider reports; those of ``bound`` where it reports none."""
        return TokenUsage(
            bound.prompt_tokens if self.prompt_tokens is None else self.prompt_tokens,
            bound.completion_tokens if self.completion_tokens is None else self.completion_tokens,
        )


class ChatClient(Protocol):
    """Something that answers a conversation."""

    @property
    def model(self) -> str:
        """The model that this client asks."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer.

        Raises:
            ChatError: the call failed; the subclass says how, ``retryable`` whether another try may help.
            BudgetExceededError: the day's budget does not allow the call; nothing was sent.
        """
