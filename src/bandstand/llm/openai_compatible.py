"""Chat completions over the OpenAI wire: OpenAI, LiteLLM, vLLM, Ollama and whatever else speaks it.

The SDK does authentication and transport; its retries are off. The request is posted as a plain body rather than
through the typed method, because which parameters it holds is negotiated (see ``negotiation``), and because the typed
method costs the event loop about as much again (0.85 ms against 1.45 ms a call on the machine it was measured on).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from bandstand.llm.chat import ChatReply, FinishReason, Message
from bandstand.llm.endpoint import Endpoint
from bandstand.llm.errors import ChatError, ChatMalformedError
from bandstand.llm.negotiation import Negotiation

_FINISH: Mapping[str | None, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "refusal"}


class OpenAICompatibleClient:
    """A chat model behind ``POST {base_url}/chat/completions``.

    A schema is sent as ``response_format`` with ``strict``; a gateway that refuses it, ``temperature`` or
    ``max_completion_tokens`` (then ``max_tokens``) is asked again without, and from then on never with it.

    Args:
        base_url: such as ``https://api.openai.com/v1`` or ``http://localhost:4000``.
        api_key: None for a gateway that wants none (it is sent the word ``none``, since the SDK insists on a key).
        model: the model or alias to ask for.
        call_timeout_s: the longest one call may take.
        max_connections: how many calls may be on the wire at once.
        clock: monotonic seconds, the scale of every deadline.
        wall_clock: seconds since the epoch, for dates in ``Retry-After``.

    Raises:
        ConfigurationError: ``base_url`` is not a URL.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        model: str,
        call_timeout_s: float = 60.0,
        max_connections: int = 100,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._endpoint = Endpoint(
            base_url,
            call_timeout_s=call_timeout_s,
            max_connections=max_connections,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._negotiation = Negotiation({"response_format", "temperature", "max_completion_tokens"})
        self._sdk = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            http_client=self._endpoint.http,
        )
        # The SDK reads these from the environment, and here only the settings do.
        self._sdk.organization = self._sdk.project = self._sdk.admin_api_key = None
        self._sdk._custom_headers = {}  # noqa: SLF001 - OPENAI_CUSTOM_HEADERS; the SDK offers no way to decline it

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._model

    @property
    def host(self) -> str:
        """The host that text goes to."""
        return self._endpoint.host

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        deadline: float,
        temperature: float | None = None,
        schema: Mapping[str, object] | None = None,
    ) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`."""
        wanted: dict[str, object] = {
            "model": self._model,
            "messages": list(messages),
            "max_completion_tokens": max_tokens,
        }
        if temperature is not None:
            wanted["temperature"] = temperature
        if schema is not None:
            wanted["response_format"] = _response_format(schema)
        refused = self._negotiation.refused
        while True:
            body = {name: value for name, value in wanted.items() if name not in refused}
            if "max_completion_tokens" in refused:
                body["max_tokens"] = max_tokens
            try:
                response = await self._post(body, deadline)
            except openai.APIStatusError as error:
                refusal = self._negotiation.newly_refused(body, error.status_code, error.body)
                if refusal is None:
                    raise self._endpoint.status_error(error.response) from None
                refused |= {refusal}
            else:
                self._negotiation.learn(refused)
                return _reply(response.content, self._model)

    async def aclose(self) -> None:
        """Close the connections; calls under way fail."""
        await self._sdk.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _post(self, body: Mapping[str, object], deadline: float) -> httpx2.Response:
        async with self._endpoint.call(deadline) as timeout:
            try:
                return await self._sdk.post(
                    "/chat/completions", cast_to=httpx2.Response, body=body, options={"timeout": timeout}
                )
            except openai.APITimeoutError as error:
                raise self._endpoint.timed_out(error) from None
            except openai.APIConnectionError as error:
                raise self._endpoint.unreachable(error) from None


def _response_format(schema: Mapping[str, object]) -> dict[str, object]:
    name = str(schema.get("title", "answer"))
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": dict(schema)}}


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Usage | None = None


def _reply(content: bytes, asked: str) -> ChatReply:
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError:
        raise _malformed() from None
    choice = completion.choices[0]
    usage = completion.usage or _Usage()
    finish = _FINISH.get(choice.finish_reason, "other")
    refusal = choice.message.refusal
    if refusal is None and finish == "refusal":
        refusal = ""
    return ChatReply(
        text=choice.message.content or "",
        model=completion.model or asked,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        finish_reason="refusal" if refusal is not None else finish,
        refusal=refusal,
    )


def _malformed() -> ChatError:
    return ChatMalformedError("The model provider's answer is not a chat completion.")
