"""Heads of hot requests that came before.

A client that keeps its connection sends the same head with each request, but for the length of the body. What follows
from a head alone (its header fields, the route, the caller) is found out once, and then looked up by the head's own
bytes. So a head that is looked up means what it meant when the parser read it.
"""

from collections.abc import Mapping

from msgspec import Struct
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from bandstand.api.asgi.access import ANONYMOUS
from bandstand.api.asgi.latency_histogram import Latencies
from bandstand.api.asgi.raw_path import decode_segment

_MAX_HEADS = 1024
_MAX_HEAD_BYTES = 1024
_MAX_DIGITS = 5
MAX_BODY = HIGH_WATER_LIMIT
"""Bytes of a body of which the server reads no further before somebody asks."""
_NO_LATENCIES = Latencies(())


class Permit(Struct, frozen=True, eq=False):
    """What the gate found out about a caller and where the call goes.

    Attributes:
        client: name of the API key.
        name: of the call, ``score`` or ``reward``.
        policy: the policy that the path names, if it names one.
        route: the path's template.
        query: validated.
        given_id: the id that the caller gave its request; without one, each request has one of ours.
        latencies: of the answers of this route.
    """

    client: str = ANONYMOUS
    name: str = ""
    policy: str | None = None
    route: str = "unmatched"
    query: bytes = b""
    given_id: str | None = None
    latencies: Latencies = _NO_LATENCIES


HeadKey = tuple[bytes, bytes]
"""A head's bytes before and after the length of the body, of which all the others may be the same in each request."""


class RequestHead(Struct, eq=False):
    """The head of a hot request, and of all that begin with the same bytes.

    Attributes:
        path: the raw path.
        query: as it came.
        headers: their names in lower case, their values trimmed; without the length of the body.
        permit: with which the gate let such a request in; ``None`` as long as it has not, or if that depends on more.
    """

    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    permit: Permit | None = None


def parse_hot_path(path: str) -> tuple[str, str | None, str]:
    """Name of the call, its policy if the raw path names one, and its template.

    >>> parse_hot_path("/score"), parse_hot_path("/reward/my%2Dpolicy")
    (('score', None, '/score'), ('reward', 'my-policy', '/reward/{policy}'))
    """
    _, name, *rest = path.split("/")
    return (name, decode_segment(rest[0]), f"/{name}/{{policy}}") if rest else (name, None, f"/{name}")


def split_request(data: bytes) -> tuple[HeadKey, bytes, bytes] | None:
    r"""Split what came into a head without the length of the body, that length's digits, and what has come of the body.

    ``None`` if there is no whole head, or none that is worth looking up.

    >>> split_request(b"POST /score HTTP/1.1\r\ncontent-length: 2\r\nhost: a\r\n\r\n{}")
    ((b'POST /score HTTP/1.1\r\ncontent-l', b'host: a'), b'2', b'{}')
    """
    head, blank, body = data.partition(b"\r\n\r\n")
    before, announced, rest = head.partition(b"ength: ")
    if not (blank and announced):
        return None
    digits, _, after = rest.partition(b"\r\n")
    return (before, after), digits, body


def parse_length(digits: bytes) -> int | None:
    """The length of a hot request's body; ``None`` if there is none, or it is too long.

    >>> parse_length(b"1200"), parse_length(b"1_2"), parse_length(b"70000")
    (1200, None, None)
    """
    if digits.isdigit() and len(digits) <= _MAX_DIGITS and (length := int(digits)) <= MAX_BODY:
        return length
    return None


class KnownHeads:
    """The heads of one server's hot requests, by their bytes.

    These hold API keys, and are in memory only. Some differ in each request, by an id or a trace of its own. So the
    number of heads is bounded, and all are forgotten when there are too many: those that come again are soon known.
    """

    def __init__(self) -> None:
        self._heads: dict[HeadKey, RequestHead] = {}
        self.find = self._heads.get

    def __len__(self) -> int:
        """How many are known."""
        return len(self._heads)

    def add(self, key: HeadKey, head: RequestHead) -> None:
        """Know a head from now on, if it is short, and if the number that is left out of its key is the body's length.

        Args:
            key: of the bytes that the parser took for this head.
            head: what it made of them.
        """
        before, after = key
        name = before.rpartition(b"\n")[2]
        if name.lower() == b"content-l" and len(before) + len(after) <= _MAX_HEAD_BYTES:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[key] = head
