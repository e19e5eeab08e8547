"""A chat model with scripted replies: no network, no chance, the same protocol."""

from collections.abc import Callable, Iterable

from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.llm.errors import ChatUnreachableError

Line = str | ChatReply | Exception


class ScriptedClient:
    """Answers from a script: a line a call, or whatever a function makes of the request.

    A line is a text, a whole reply, or an error to raise. A script that has run out behaves as a provider that is gone.

    Args:
        script: the lines in order, or a function from the request to a line.
        model: the name it answers under.
    """

    def __init__(self, script: Iterable[Line] | Callable[[ChatRequest], Line], *, model: str = "scripted") -> None:
        self._model = model
        self._line = script if callable(script) else _build_line_function(script)
        self.calls: list[ChatRequest] = []

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer with the next line; see :class:`bandstand.llm.chat.ChatClient`."""
        self.calls.append(request)
        line = self._line(request)
        if isinstance(line, Exception):
            raise line
        if isinstance(line, ChatReply):
            return line
        prompt = count_tokens(*(message["content"] for message in request.messages))
        return ChatReply(text=line, model=self._model, prompt_tokens=prompt, completion_tokens=count_tokens(line))


def count_tokens(*texts: str) -> int:
    """What the scripted models count as tokens: words."""
    return sum(len(text.split()) for text in texts)


def _build_line_function(script: Iterable[Line]) -> Callable[[ChatRequest], Line]:
    lines = iter(script)
    return lambda _request: next(lines, ChatUnreachableError("The script has run out."))
