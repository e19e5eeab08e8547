"""Chat completions over the OpenAI wire: OpenAI, LiteLLM, vLLM, Ollama and whatever else speaks it."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import openai
from pydantic import BaseModel, Field, ValidationError

from bandstand.llm.chat import MAX_NAME_CHARS, MAX_REPORTED_TOKENS, ChatReply, ChatRequest, FinishReason
from bandstand.llm.providers.base import ProviderClient, to_malformed_error
from bandstand.llm.providers.endpoint import Endpoint

_MALFORMED = "The model provider's answer is not a chat completion."
_SPOKEN = frozenset({"text", "output_text"})
_FINISH_REASONS: Mapping[str | None, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "refusal"}


class OpenAICompatibleClient(ProviderClient):
    """A chat model behind ``POST {base_url}/chat/completions``.

    A schema is sent as ``response_format`` with ``strict``; a gateway that refuses it, ``temperature``, ``logprobs`` or
    ``max_completion_tokens`` (then ``max_tokens``) is asked again without it, and from then on never with it.

    Args:
        base_url: such as ``https://api.openai.com/v1`` or ``http://localhost:4000``.
        api_key: None for a gateway that wants none (it is sent the word ``none``, since the SDK insists on a key).
        model: the model or alias to ask for.
        token_probabilities: whether to ask for the probability of every token, where the gateway has it.
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
        token_probabilities: bool = False,
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
        sdk = openai.AsyncOpenAI(base_url=base_url, api_key=api_key or "none", max_retries=0, http_client=endpoint.http)
        # The SDK reads these from the environment, and here only the settings do.
        sdk.organization = sdk.project = sdk.admin_api_key = None
        self._token_probabilities = token_probabilities
        super().__init__(
            model=model,
            endpoint=endpoint,
            package=openai,
            sdk=sdk,
            optional={"response_format", "temperature", "max_completion_tokens", "logprobs"},
            renamed={"max_completion_tokens": "max_tokens"},
        )

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`."""
        wanted: dict[str, object] = {
            "model": self._model,
            "messages": list(request.messages),
            "max_completion_tokens": request.max_tokens,
        }
        if request.temperature is not None:
            wanted["temperature"] = request.temperature
        if request.schema is not None:
            wanted["response_format"] = _build_response_format(request.schema)
        if self._token_probabilities:
            wanted["logprobs"] = True
        return _parse_reply(await self._request_content("/chat/completions", wanted, request.deadline), self._model)


def _build_response_format(schema: Mapping[str, object]) -> dict[str, object]:
    name = str(schema.get("title", "answer"))
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": dict(schema)}}


class _Part(BaseModel):
    type: str = "text"
    text: str = ""


class _Message(BaseModel):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Token(BaseModel):
    token: str
    logprob: float


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Choice(BaseModel):
    message: _Message
    logprobs: object = None
    finish_reason: str | None = None
    error: Any = None


class _Usage(BaseModel):
    prompt_tokens: int | None = Field(default=None, ge=0, le=MAX_REPORTED_TOKENS)
    completion_tokens: int | None = Field(default=None, ge=0, le=MAX_REPORTED_TOKENS)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    model: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    usage: _Usage | None = None


def _parse_reply(content: bytes, model: str) -> ChatReply:
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError:
        raise to_malformed_error(content, _MALFORMED) from None
    choice = completion.choices[0]
    if choice.error is not None or choice.finish_reason == "error":
        raise to_malformed_error(content, _MALFORMED)
    usage = completion.usage or _Usage()
    finish = _FINISH_REASONS.get(choice.finish_reason, "other")
    refusal = choice.message.refusal
    if refusal is None and finish == "refusal":
        refusal = ""
    return ChatReply(
        text=_join_parts(choice.message.content),
        model=completion.model or model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        finish_reason="refusal" if refusal is not None else finish,
        refusal=refusal,
        token_probabilities=_parse_token_probabilities(choice.logprobs),
    )


def _parse_token_probabilities(logprobs: object) -> tuple[tuple[str, float], ...] | None:
    """Read what a gateway says of its tokens; what is not as OpenAI writes it is no reason to lose the answer."""
    try:
        tokens = _Logprobs.model_validate(logprobs).content
    except ValidationError:
        return None
    return None if tokens is None else tuple((each.token, math.exp(min(each.logprob, 0.0))) for each in tokens)


def _join_parts(content: str | list[_Part] | None) -> str:
    """Return the words of a reply, which some gateways send in parts; parts that are thinking are left out."""
    if isinstance(content, list):
        return "".join(part.text for part in content if part.type in _SPOKEN)
    return content or ""
