"""A call of /score or /reward on its way through the gate."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct, field

from bandstand.api.asgi.request_heads import Permit, RequestHead

ResponseHeaders = Sequence[tuple[bytes, bytes]]

JSON_HEADERS: ResponseHeaders = ((b"content-type", b"application/json"),)
"""Of every answer that is no problem."""

_NO_PERMIT = Permit()


class Response(NamedTuple):
    """A whole response, ready to be written to the wire."""

    status: int
    headers: ResponseHeaders
    body: bytes
    request_id: str

    def build_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers, with those that every answer has."""
        length = (b"content-length", str(len(self.body)).encode())
        return [*self.headers, length, (b"x-request-id", self.request_id.encode())]


class HotCall(Struct, eq=False):
    """What came, and what the gate notes of it until it is answered.

    Attributes:
        head: with what it began.
        body: what has come of it.
        permit: with which it goes; of a call that is refused, what was known by then.
        request_id: under which it is logged.
        started: when, by the clock of performance counters.
    """

    head: RequestHead
    body: bytes = b""
    permit: Permit = _NO_PERMIT
    request_id: str = ""
    started: float = 0.0

    def respond(self, status: int, headers: ResponseHeaders, body: bytes) -> None:
        """Send the answer, under the call's id; the class of the protocol that read the call defines how."""
        raise NotImplementedError


def _create_future() -> "asyncio.Future[Response]":
    return asyncio.get_running_loop().create_future()


class AwaitedCall(HotCall, eq=False):
    """A call whose answer is awaited.

    Attributes:
        answered: has the answer.
    """

    answered: asyncio.Future[Response] = field(default_factory=_create_future)

    def respond(self, status: int, headers: ResponseHeaders, body: bytes) -> None:
        """Let whoever waits have the answer."""
        if not self.answered.done():  # whoever asked may have gone
            self.answered.set_result(Response(status, headers, body, self.request_id))
