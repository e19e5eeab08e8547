"""Counts what calls cost, those that failed too, for whoever asks for a piece of work that makes them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from bandstand.llm.chat import ChatClient, ChatReply, Message
from bandstand.llm.errors import ChatError
from bandstand.llm.middleware.budget import compute_max_prompt_tokens


class UsageTally:
    """Tokens of the calls that a piece of work has made so far.

    Attributes:
        prompt_tokens: read.
        completion_tokens: written.
    """

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0


_tally: ContextVar[UsageTally | None] = ContextVar("tally", default=None)


@contextmanager
def track_usage() -> Iterator[UsageTally]:
    """Count what is called inside, by this task and those that it starts."""
    tally = UsageTally()
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


class CountingClient:
    """Asks ``inner`` and adds to the caller's tally; a call without an answer, or without counts, counts in full.

    Args:
        inner: the client to ask.
    """

    def __init__(self, inner: ChatClient) -> None:
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
        read, written = compute_max_prompt_tokens(messages, schema), max_tokens
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
            tally = _tally.get()
            if tally is not None:
                tally.prompt_tokens += read
                tally.completion_tokens += written
        return reply
