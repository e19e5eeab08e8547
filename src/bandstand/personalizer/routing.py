"""Personalizer's paths: three shapes of a version, one table of calls."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs

from pydantic_core import from_json, to_json

from bandstand.api.asgi.access import Role
from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.foreign_wire import ForeignCall, ForeignRequest, ForeignResponse
from bandstand.api.asgi.raw_path import decode_segment
from bandstand.api.problems import MethodNotAllowedError, NotFoundError
from bandstand.api.schemas.tolerance import repair_text
from bandstand.personalizer.errors import PersonalizerError, build_headers, render_error

Shape = Literal["path", "query"]
"""Whether a version stands in the path (v1.x) or in the query (2022-09-01-preview)."""

SEGMENT = "personalizer"
PATH_VERSIONS = frozenset({"v1.0", "v1.1", "v1.1-preview.1", "v1.1-preview.2", "v1.1-preview.3"})
QUERY_VERSION = "2022-09-01-preview"
_PARAMETER = "{id}"
_JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class PersonalizerRequest:
    """A call on its way to what answers it.

    Attributes:
        inner: headers, body and caller.
        shape: where its version stands.
        id: what the path names: an event, an evaluation.
    """

    inner: ForeignRequest
    shape: Shape
    id: str

    async def read_object(self, wire_code: str) -> dict[str, Any]:
        """The body, a JSON object.

        Raises:
            PersonalizerError: it is none; with that code.
            UnsupportedMediaError, TooLargeError: it is not read.
        """
        body = await read_json_body(self.inner.receive, self.inner.headers)
        try:
            value = from_json(repair_text(body), allow_inf_nan=False)
        except ValueError:
            raise PersonalizerError(400, wire_code, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise PersonalizerError(400, wire_code, "the body must be a JSON object")
        return value

    def get_parameter(self, name: str) -> str | None:
        """A parameter of the query; ``None`` if there is none, or not just one."""
        return get_parameter(self.inner.query, name)

    def answer(self, status: int, content: object = None) -> ForeignResponse:
        """An answer of JSON, or an empty one."""
        headers = self.inner.headers
        if content is None:
            return ForeignResponse(status, build_headers(headers), b"")
        return ForeignResponse(status, build_headers(headers, _JSON), to_json(content))


Handler = Callable[[PersonalizerRequest], Awaitable[ForeignResponse]]


class Route(NamedTuple):
    """One call.

    Attributes:
        path: its template below the version.
        shapes: the versions that have it.
    """

    method: str
    path: str
    role: Role
    handler: Handler
    shapes: frozenset[Shape] = frozenset({"path", "query"})


class RouteTable:
    """Finds calls by their raw paths."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes: dict[tuple[Shape, tuple[str, ...]], dict[str, Route]] = {}
        for route in routes:
            for shape in route.shapes:
                self._routes.setdefault((shape, tuple(route.path.split("/"))), {})[route.method] = route

    def find_call(self, method: str, path: str, query: bytes) -> ForeignCall:
        """The call of a raw path, from :data:`SEGMENT` on.

        Raises:
            NotFoundError, MethodNotAllowedError: there is none.
        """
        shape, segments = _split_path(path, query)
        template, parameter = _find_parameter(segments)
        found = self._routes.get((shape, template))
        if found is None:
            raise NotFoundError("no such resource")
        route = found.get(method)
        if route is None:
            raise MethodNotAllowedError("this resource knows other methods", ", ".join(sorted(found)))

        async def answer(request: ForeignRequest) -> ForeignResponse:
            try:
                return await route.handler(PersonalizerRequest(request, shape, parameter))
            except PersonalizerError as error:  # the gate knows nothing of its codes
                return render_error(error, request.headers)

        return ForeignCall(f"/{SEGMENT}/{route.path}", route.role, answer)


def _split_path(path: str, query: bytes) -> tuple[Shape, list[str]]:
    """The shape of a path, and its segments below the version.

    Raises:
        NotFoundError: the version is unknown.
    """
    segments = path.split("/")[2:]
    if segments and segments[0] in PATH_VERSIONS:
        return "path", segments[1:]
    if get_parameter(query, "api-version") == QUERY_VERSION:
        return "query", segments
    raise NotFoundError("no such version of the API")


def _find_parameter(segments: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The template of a path, and the decoded value of its parameter; no path has two."""
    for place, collection in enumerate(segments[:-1]):
        if collection in _COLLECTIONS:
            return (*segments[: place + 1], _PARAMETER, *segments[place + 2 :]), decode_segment(segments[place + 1])
    return tuple(segments), ""


_COLLECTIONS: frozenset[str] = frozenset({"events", "evaluations", "featureImportances"})


def get_parameter(query: bytes, name: str) -> str | None:
    """A parameter of a query; ``None`` if there is none, or not just one."""
    values: Mapping[str, list[str]] = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    given = values.get(name, [])
    return given[0] if len(given) == 1 else None
