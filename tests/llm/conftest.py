"""respx for SDKs that have moved on to httpx2."""

from collections.abc import Iterator
from typing import Any

import httpcore2
import httpx
import pytest
import respx
from respx.mocks import HTTPCoreMocker


class _HTTPCore2Mocker(HTTPCoreMocker):
    """respx patches httpcore; the provider SDKs speak through httpcore2."""

    name = "httpcore2"
    targets = [target.replace("httpcore.", "httpcore2.") for target in HTTPCoreMocker.targets]  # noqa: RUF012 - as in respx

    @classmethod
    def from_sync_httpx_response(cls, httpx_response: httpx.Response, target: Any, **kwargs: Any) -> httpcore2.Response:
        return httpcore2.Response(
            status=httpx_response.status_code,
            headers=httpx_response.headers.raw,
            content=httpx_response.content,
            extensions=httpx_response.extensions,
        )


@pytest.fixture
def provider() -> Iterator[respx.MockRouter]:
    """Answers every outbound call of the SDKs in place of the network."""
    with respx.mock(using=_HTTPCore2Mocker.name, assert_all_called=False) as router:
        yield router
