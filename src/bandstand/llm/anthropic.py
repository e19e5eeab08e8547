"""Messages over the Anthropic wire.

The SDK does authentication and transport; its retries and tracing are off. API versions from 2026-10-21 on refuse
``temperature``, so none is sent: what a caller asks for there has no effect with this provider.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import anthropic
import httpx2
from pydantic import BaseModel, Field, ValidationError

from bandstand.llm.chat import ChatReply, FinishReason, Message
from bandstand.llm.endpoint import Endpoint
from bandstand.llm.errors import ChatMalformedError
from bandstand.llm.negotiation import Negotiation

ANTHROPIC_URL = "https://api.anthropic.com"

_FINISH: Mapping[str | None, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class AnthropicClient:
    """A chat model behind ``POST {base_url}/v1/messages``.

    A schema is sent as ``output_config.format``; a gateway that refuses it is asked again without, and from then on
    never with it.

    Args:
        base_url: the provider's own, or a gateway that speaks this wire.
        api_key: the key.
        model: the model to ask.
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
        base_url: str = ANTHROPIC_URL,
        api_key: str,
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
        self._negotiation = Negotiation({"output_config"})
        self._sdk = anthropic.AsyncAnthropic(
            base_url=base_url,
            api_key=api_key,
            max_retries=0,
            open_telemetry=False,
            http_client=self._endpoint.http,
        )
        # Only the settings read the environment.
        self._sdk._custom_headers = {}  # noqa: SLF001 - ANTHROPIC_CUSTOM_HEADERS; the SDK offers no way to decline it

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
        temperature: float | None = None,  # noqa: ARG002 - part of the protocol; this provider refuses it
        schema: Mapping[str, object] | None = None,
    ) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`."""
        wanted: dict[str, object] = {
            "model": self._model,
            "max_tokens": max_tokens,
            "messages": [message for message in messages if message["role"] != "system"],
        }
        system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        if system:
            wanted["system"] = system
        if schema is not None:
            wanted["output_config"] = {"format": {"type": "json_schema", "schema": dict(schema)}}
        refused = self._negotiation.refused
        while True:
            body = {name: value for name, value in wanted.items() if name not in refused}
            try:
                response = await self._post(body, deadline)
            except anthropic.APIStatusError as error:
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
                    "/v1/messages", cast_to=httpx2.Response, body=body, options={"timeout": timeout}
                )
            except anthropic.APITimeoutError as error:
                raise self._endpoint.timed_out(error) from None
            except anthropic.APIConnectionError as error:
                raise self._endpoint.unreachable(error) from None


class _Block(BaseModel):
    type: str
    text: str = ""


class _StopDetails(BaseModel):
    explanation: str | None = None


class _Usage(BaseModel):
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    cache_creation_input_tokens: int | None = Field(default=None, ge=0)
    cache_read_input_tokens: int | None = Field(default=None, ge=0)

    @property
    def prompt_tokens(self) -> int:
        return self.input_tokens + (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)


class _Reply(BaseModel):
    content: list[_Block]
    model: str | None = None
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    usage: _Usage | None = None


def _reply(content: bytes, asked: str) -> ChatReply:
    try:
        reply = _Reply.model_validate_json(content)
    except ValidationError:
        raise ChatMalformedError("The model provider's answer is not a message.") from None
    finish = _FINISH.get(reply.stop_reason, "other")
    explanation = reply.stop_details.explanation if reply.stop_details else None
    return ChatReply(
        text="".join(block.text for block in reply.content if block.type == "text"),
        model=reply.model or asked,
        prompt_tokens=reply.usage.prompt_tokens if reply.usage else None,
        completion_tokens=reply.usage.output_tokens if reply.usage else None,
        finish_reason=finish,
        refusal=(explanation or "") if finish == "refusal" else None,
    )
