"""Counts what calls cost that are made through it, those that failed too."""

from collections.abc import Mapping, Sequence

from bandstand.llm.budget import most_prompt_tokens
from bandstand.llm.chat import ChatClient, ChatReply, Message
from bandstand.llm.errors import ChatError


class CountingClient:
    """Asks ``inner`` and adds up tokens; a call that ended without an answer, or uncounted, counts in full.

    Attributes:
        prompt_tokens: read, so far.
        completion_tokens: written, so far.

    Args:
        inner: the client to ask.
    """

    def __init__(self, inner: ChatClient) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._inner = inner

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._inner.model

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        deadline: float,
        temperature: float | None = None,
        schema: Mapping[str, object] | None = None,
    ) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`.

        Raises:
            ChatError: the call failed.
        """
        read, written = most_prompt_tokens(messages, schema), max_tokens
        try:
            reply = await self._inner.complete(
                messages, max_tokens=max_tokens, deadline=deadline, temperature=temperature, schema=schema
            )
            read = read if reply.prompt_tokens is None else reply.prompt_tokens
            written = written if reply.completion_tokens is None else reply.completion_tokens
        except ChatError as error:
            if not error.sent:
                read = written = 0
            raise
        finally:
            self.prompt_tokens += read
            self.completion_tokens += written
        return reply
