"""What the routes share: the request's body and caller, pages of a list, the answer's JSON, ids in paths."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json
from starlette.convertors import Convertor, register_url_convertor

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.raw_path import decode_segment
from bandstand.api.schemas.requests import RequestBody
from bandstand.errors import OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.store.records import LAST_SEQ

WRITE_ERRORS = (OverloadedError, StorageUnavailableError, StorageFullError)
"""What may answer every call that writes to the ledger."""

EventCursor = Annotated[int, Query(ge=0, le=LAST_SEQ)]
"""Where a page of a list begins, as the page before it says in ``next``."""

PageSize = Annotated[int, Query(ge=1, le=1000)]


class _PathSegment(Convertor[str]):
    """One segment of the raw path: ``{name:id}``."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return decode_segment(value)

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _PathSegment())


def build_router(tag: str) -> APIRouter:
    """Make a router whose operations have a tag, and are called as their functions are."""
    return APIRouter(tags=[tag], generate_unique_id_function=lambda route: route.name)


async def parse_request(request: Request, body: RequestBody) -> dict[str, Any]:
    """The request's body, validated.

    Raises:
        UnsupportedMediaError, TooLargeError, InvalidRequestError: it is no such body.
    """
    return body.parse(await read_json_body(request.receive, dict(request.headers.raw)))


def get_client(request: Request) -> str:
    """Name of the API key that the request came with."""
    return cast("str", request.state.client)


def may_see_content(request: Request) -> bool:
    """Whether the caller may see contents, raw features and what quotes users' words."""
    return cast("bool", request.state.may_see_content)


def get_admission(request: Request) -> Callable[[], Awaitable[None]]:
    """Where heavy work waits for its turn; see :mod:`bandstand.api.asgi.admission`."""
    return cast("Callable[[], Awaitable[None]]", request.state.enter)


def to_json_response(content: object) -> Response:
    """A result or a document as JSON, in the order of its fields, without another look at its schema."""
    return Response(to_json(content), media_type="application/json")
