"""A wire that is not ours, served under a path of its own: its calls, its errors, its way to send a key.

The front controller does for it what it does for every request (a request id, roles, metrics, the log of failures) and
leaves paths, bodies and errors to it, so that a client of the other wire never sees our formats.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from starlette.types import Receive

from bandstand.api.asgi.access import Headers, Role
from bandstand.errors import BandstandError

HeaderList = list[tuple[bytes, bytes]]


class ForeignRequest(NamedTuple):
    """A request whose call and caller are known.

    Attributes:
        headers: their names in lower case.
        query: as it came.
        client: name of the API key.
        receive: gives the body.
        request_id: under which failures are logged.
    """

    headers: Headers
    query: bytes
    client: str
    receive: Receive
    request_id: str


class ForeignResponse(NamedTuple):
    """A whole answer; the gate adds its length and the request id."""

    status: int
    headers: HeaderList
    body: bytes


class ForeignCall(NamedTuple):
    """What answers one method of one path.

    Attributes:
        route: the path's template, for metrics.
        role: whom it answers.
        answer: answers.
    """

    route: str
    role: Role
    answer: Callable[[ForeignRequest], Awaitable[ForeignResponse]]


class ForeignWire(Protocol):
    """What the gate asks of it."""

    def owns(self, path: str) -> bool:
        """Whether a raw path is one of its own."""

    def find_call(self, method: str, path: str, query: bytes) -> ForeignCall:
        """The call of a method and a raw path.

        Raises:
            NotFoundError, MethodNotAllowedError: there is none.
        """

    def to_own_headers(self, headers: HeaderList) -> HeaderList:
        """The headers with the key where :class:`bandstand.api.asgi.access.Access` looks for it."""

    def render_error(self, error: BandstandError, headers: Headers) -> ForeignResponse:
        """How it says what is wrong, to a request with such headers."""
