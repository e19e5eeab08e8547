"""The usage of all calls of a piece of work, failed ones included."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest, TokenUsage
from bandstand.llm.errors import ChatError


class UsageTally:
    """Tokens of the calls that a piece of work has made so far.

    Attributes:
        usage: of all of them together.
    """

    def __init__(self) -> None:
        self.usage = TokenUsage()


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
        """The model that this client asks."""
        return self._inner.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`.

        Raises:
            ChatError: the call failed.
        """
        usage = bound = request.compute_token_bound()
        try:
            reply = await self._inner.complete(request)
            usage = reply.compute_usage(bound)
        except ChatError as error:
            if not error.sent:
                usage = TokenUsage()
            raise
        finally:
            tally = _tally.get()
            if tally is not None:
                tally.usage += usage
        return reply
