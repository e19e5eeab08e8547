"""Messages over the Anthropic wire.

API versions from 2026-10-21 on refuse ``temperature``, so none is sent: what a caller asks for there has no effect with
this provider.
"""

import time
from collections.abc import Callable, Mapping

import anthropic
from pydantic import BaseModel, Field, ValidationError

from bandstand.llm.chat import MAX_NAME_CHARS, MAX_REPORTED_TOKENS, ChatReply, ChatRequest, FinishReason
from bandstand.llm.providers.base import ProviderClient, to_malformed_error
from bandstand.llm.providers.endpoint import Endpoint

ANTHROPIC_URL = "https://api.anthropic.com"

_FINISH_REASONS: Mapping[str | None, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class AnthropicClient(ProviderClient):
    """A chat model behind ``POST {base_url}/v1/messages``.

    A schema is sent as ``output_config.format``; a gateway that refuses it is asked again without it, and from then on
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
        endpoint = Endpoint(
            base_url,
            call_timeout_s=call_timeout_s,
            max_connections=max_connections,
            clock=clock,
            wall_clock=wall_clock,
        )
        sdk = anthropic.AsyncAnthropic(
            base_url=base_url,
            api_key=api_key,
            max_retries=0,
            open_telemetry=False,
            http_client=endpoint.http,
        )
        super().__init__(model=model, endpoint=endpoint, package=anthropic, sdk=sdk, optional={"output_config"})

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`. The temperature is not sent."""
        wanted: dict[str, object] = {
            "model": self._model,
            "max_tokens": request.max_tokens,
            "messages": [message for message in request.messages if message["role"] != "system"],
        }
        system = "\n\n".join(message["content"] for message in request.messages if message["role"] == "system")
        if system:
            wanted["system"] = system
        if request.schema is not None:
            wanted["output_config"] = {"format": {"type": "json_schema", "schema": dict(request.schema)}}
        return _parse_reply(await self._request_content("/v1/messages", wanted, request.deadline), self._model)


class _Block(BaseModel):
    type: str
    text: str = ""


class _StopDetails(BaseModel):
    explanation: str | None = None


class _Usage(BaseModel):
    input_tokens: int = Field(ge=0, le=MAX_REPORTED_TOKENS)
    output_tokens: int = Field(ge=0, le=MAX_REPORTED_TOKENS)
    cache_creation_input_tokens: int | None = Field(default=None, ge=0, le=MAX_REPORTED_TOKENS)
    cache_read_input_tokens: int | None = Field(default=None, ge=0, le=MAX_REPORTED_TOKENS)

    @property
    def prompt_tokens(self) -> int:
        return self.input_tokens + (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)


class _Reply(BaseModel):
    content: list[_Block]
    model: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    usage: _Usage | None = None


def _parse_reply(content: bytes, model: str) -> ChatReply:
    try:
        reply = _Reply.model_validate_json(content)
    except ValidationError:
        raise to_malformed_error(content, "The model provider's answer is not a message.") from None
    finish = _FINISH_REASONS.get(reply.stop_reason, "other")
    explanation = reply.stop_details.explanation if reply.stop_details else None
    return ChatReply(
        text="".join(block.text for block in reply.content if block.type == "text"),
        model=reply.model or model,
        prompt_tokens=reply.usage.prompt_tokens if reply.usage else None,
        completion_tokens=reply.usage.output_tokens if reply.usage else None,
        finish_reason=finish,
        refusal=(explanation or "") if finish == "refusal" else None,
    )
