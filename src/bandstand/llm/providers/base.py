"""What the two wires have in common: a provider's SDK carries the bytes, and what becomes of them is decided here.

Both SDKs come from one generator and are called alike. They do authentication and transport; their retries are off.
The request is posted as a plain body rather than through a typed method, because which parameters it holds is
negotiated (see ``negotiation``), and because the typed method costs the event loop about as much again (0.85 ms against
1.45 ms a call on the machine it was measured on).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any, Self

import httpx2

from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.llm.errors import ChatError, ChatMalformedError, ChatStatusError
from bandstand.llm.providers.endpoint import Endpoint
from bandstand.llm.providers.negotiation import ParameterNegotiation

_FIRST_ERROR = 400
_LAST_ERROR = 599


class ProviderClient(ABC):
    """One model of one provider.

    Args:
        model: the model to ask.
        endpoint: where it is.
        package: the SDK, which holds the errors that it raises.
        sdk: its client.
        optional: the parameters that may be left out of a call.
        renamed: by optional parameter, the name that the same value has where the parameter is refused.
    """

    def __init__(
        self,
        *,
        model: str,
        endpoint: Endpoint,
        package: ModuleType,
        sdk: Any,
        optional: Collection[str],
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._model = model
        self._endpoint = endpoint
        self._package = package
        self._sdk = sdk
        self._negotiation = ParameterNegotiation(optional)
        self._renamed = renamed
        # Only the settings read the environment.
        sdk._custom_headers = {}  # noqa: SLF001 - …_CUSTOM_HEADERS; the SDKs offer no way to decline it

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._model

    @property
    def host(self) -> str:
        """The host that text goes to."""
        return self._endpoint.host

    @abstractmethod
    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`."""

    async def aclose(self) -> None:
        """Close the connections; calls under way fail."""
        await self._sdk.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _request_content(self, path: str, wanted: Mapping[str, object], deadline: float) -> bytes:
        """The body of the answer to ``wanted``.

        The request is repeated without each optional parameter that is refused.
        """
        rejected = self._negotiation.rejected
        while True:
            body = {name: value for name, value in wanted.items() if name not in rejected}
            body |= {self._renamed[name]: wanted[name] for name in self._renamed.keys() & rejected & wanted.keys()}
            try:
                response = await self._post(path, body, deadline)
            except self._package.APIStatusError as error:
                newly_rejected = self._negotiation.find_rejected(body, error.status_code, error.body)
                if newly_rejected is None:
                    raise self._endpoint.to_status_error(error.response) from None
                rejected |= {newly_rejected}
            else:
                self._negotiation.add_rejected(rejected)
                return response.content

    async def _post(self, path: str, body: Mapping[str, object], deadline: float) -> httpx2.Response:
        async with self._endpoint.call(deadline) as timeout:
            try:
                response: httpx2.Response = await self._sdk.post(
                    path, cast_to=httpx2.Response, body=body, options={"timeout": timeout}
                )
            except self._package.APITimeoutError as error:
                raise self._endpoint.to_timeout_error(error) from None
            except self._package.APIConnectionError as error:
                raise self._endpoint.to_unreachable_error(error) from None
        return response


def to_malformed_error(content: bytes, detail: str) -> ChatError:
    """Return the error for a response with status 200 that is not an answer: of the status that it names, or malformed.

    Args:
        content: the body.
        detail: one sentence for a body that names no status.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return ChatMalformedError(detail)
    choices = body.get("choices") if isinstance(body, dict) else None
    places = [body, *(choices if isinstance(choices, list) else [])]
    errors = [place.get("error") for place in places if isinstance(place, dict)]
    if isinstance(body, dict) and body.get("object") == "error":
        errors.append(body)
    error = next((each for each in errors if each), None)
    status = error.get("code") if isinstance(error, dict) else None
    if isinstance(status, int) and not isinstance(status, bool) and _FIRST_ERROR <= status <= _LAST_ERROR:
        return ChatStatusError(status)
    return ChatMalformedError(detail, sent=error is None)
