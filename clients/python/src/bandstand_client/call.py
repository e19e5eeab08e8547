"""A call of the service, as a value: what is sent, how its answer is read, and whether it may be sent twice."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from bandstand_client.reading import Answer

T = TypeVar("T")
A = TypeVar("A", bound="Answer")

Method = Literal["GET", "POST", "DELETE"]
LONG_S = 90.0
"""The deadline, in seconds, of calls that an LLM may have to answer, or that go over many events."""
_DOTS = frozenset({".", ".."})


class Call(Generic[T]):
    """One call.

    Attributes:
        method: of HTTP.
        route: its path as the interface names it, for events and messages: ``/decisions/{id}``.
        target: path and query as they are sent, after the service's own path.
        parse: reads the answer's JSON; a ``ValueError``, ``TypeError`` or ``KeyError`` says that it is none of ours.
        content: the body.
        idempotency_key: so that the service answers it once, however often it is sent.
        repeatable: whether it may be sent again where nobody knows whether it happened.
        seconds: its deadline; None for the client's own.
        counted: whether the circuit breaker hears how it ended: what products do all day, not what an LLM may delay.
        text: the answer is plain text and no JSON.
    """

    __slots__ = (
        *("content", "counted", "idempotency_key", "method", "parse"),
        *("repeatable", "route", "seconds", "target", "text"),
    )

    def __init__(
        self,
        method: Method,
        route: str,
        target: str,
        parse: Callable[[Any], T],
        content: bytes | None = None,
        *,
        idempotency_key: str | None = None,
        repeatable: bool = True,
        seconds: float | None = None,
        counted: bool = False,
        text: bool = False,
    ) -> None:
        self.method: Method = method
        self.route = route
        self.target = target
        self.parse = parse
        self.content = content
        self.idempotency_key = idempotency_key
        self.repeatable = repeatable
        self.seconds = seconds
        self.counted = counted
        self.text = text

    @property
    def name(self) -> str:
        """Method and route, for people."""
        return f"{self.method} {self.route}"


def build_get(route: str, parse: Callable[[Any], T], *, ids: Mapping[str, str] | None = None, **query: Any) -> Call[T]:
    """Build a ``GET``; of the query, what is None is left out."""
    return Call("GET", route, build_target(route, ids, query), parse)


def build_post(
    route: str,
    parse: Callable[[Any], T],
    body: Mapping[str, Any] | None = None,
    *,
    ids: Mapping[str, str] | None = None,
    repeatable: bool = True,
    seconds: float | None = None,
) -> Call[T]:
    """Build a ``POST``; of the body's own fields, what is None is left out."""
    content = None if body is None else encode_json({name: value for name, value in body.items() if value is not None})
    target = build_target(route, ids, {})
    return Call("POST", route, target, parse, content, repeatable=repeatable, seconds=seconds)


def build_delete(
    route: str, parse: Callable[[Any], T], *, ids: Mapping[str, str] | None = None, **query: Any
) -> Call[T]:
    """Build a ``DELETE``."""
    return Call("DELETE", route, build_target(route, ids, query), parse)


def build_target(route: str, ids: Mapping[str, str] | None, query: Mapping[str, Any]) -> str:
    """Fill a route with ids, each percent-encoded whole, and add a query.

    Example:
        >>> build_target("/decisions/{id}", {"id": "a/b"}, {"limit": 3, "before": None})
        '/decisions/a%2Fb?limit=3'
        >>> build_target("/decisions/{id}", {"id": ".."}, {})
        '/decisions/%2E%2E'
    """
    target = route.format_map({name: quote_id(value) for name, value in ids.items()}) if ids else route
    given = [(name, value) for name, value in query.items() if value is not None]
    return f"{target}?{urlencode(given)}" if given else target


def quote_id(value: str) -> str:
    """Percent-encode an id as one segment of a path; ``.`` and ``..`` too, which libraries fold away."""
    return value.replace(".", "%2E") if value in _DOTS else quote(value, safe="")


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Encode a body; a number that JSON does not have is a ``ValueError``."""
    return json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def to_text(moment: datetime | str | None) -> str | None:
    """A moment as the wire has it: ISO 8601 with its zone."""
    return moment.isoformat() if isinstance(moment, datetime) else moment


def read_nothing(_: Any) -> None:
    """Read an answer that has no body."""


def build_parser(kind: type[A]) -> Callable[[Any], A]:
    """Make the function that reads an answer of a kind.

    Example:
        >>> from bandstand_client.answers import KnownUser
        >>> build_parser(KnownUser)({"user_id": "ada"})
        KnownUser(user_id='ada')
    """

    def parse(value: Any) -> A:
        from bandstand_client.reading import parse_answer

        return parse_answer(kind, value)

    return parse
