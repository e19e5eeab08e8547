"""What is needed of a chat client, whoever makes it."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypedDict, runtime_checkable


class Message(TypedDict):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatReply(Protocol):
    """What a model answered."""

    @property
    def text(self) -> str:
        """The answer."""

    @property
    def model(self) -> str:
        """The model that gave it."""

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens read, where the gateway says so."""

    @property
    def completion_tokens(self) -> int | None:
        """Tokens written, where the gateway says so."""

    @property
    def finish_reason(self) -> str:
        """``length`` where the token limit cut the answer."""

    @property
    def refusal(self) -> str | None:
        """Not None where the model declined."""


class ChatClient(Protocol):
    """Something that answers a conversation.

    A failure of the gateway is raised as a ``BandstandError`` that is a :class:`GatewayFault` too.
    """

    @property
    def model(self) -> str:
        """The model that it asks."""

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        deadline: float,
        temperature: float | None,
        schema: Mapping[str, object] | None,
    ) -> ChatReply:
        """Ask for one answer before ``deadline``, in monotonic seconds."""


@runtime_checkable
class GatewayFault(Protocol):
    """What a client's error says about the gateway."""

    @property
    def reached(self) -> bool:
        """Whether the gateway answered at all."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed a moment later."""

    @property
    def retry_after_s(self) -> float | None:
        """How long the gateway is to be left alone, in seconds, where that is known."""

    @property
    def sent(self) -> bool:
        """Whether a model may have worked, and charge, for it."""
