"""The page of the interface: every route with its parameters, an example and its answers, as OpenAPI has them."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.console.auth import get_visit
from bandstand.console.pages import HEADERS, Pages, build_address, build_link, set_prefix
from bandstand.console.session import Sessions, Visit

AuthorizeReader = Callable[[Mapping[str, str]], None]
"""Refuses headers without a key that may read."""

_KEY_HEADERS = frozenset({"authorization", "x-api-key"})


class OperationDoc(NamedTuple):
    """One method of one path.

    Attributes:
        parameters: name, place (path, query or header) and description of each.
        example: a body that it takes, as JSON text; ``None`` if it takes none.
        answers: status and description of each.
    """

    method: str
    path: str
    summary: str
    description: str
    parameters: list[tuple[str, str, str]]
    example: str | None
    answers: list[tuple[str, str]]


def add_reference_routes(
    open_routes: APIRouter,
    guarded_routes: APIRouter,
    pages: Pages,
    sessions: Sessions,
    authorize_reader: AuthorizeReader,
) -> None:
    """Add the page, for callers that may read the OpenAPI document.

    With a key in a header, or logged in at the console.
    """

    def render(request: Request, visit: Visit | None, document_link: str) -> Response:
        document = request.app.openapi()
        sections: dict[str, list[OperationDoc]] = {}
        for tag, operation in _iter_operations(document):
            sections.setdefault(tag, []).append(operation)
        title = document["info"]["title"]
        return pages.render("reference.html", visit, sections=sections, title=title, document=document_link)

    @open_routes.get("/docs")
    async def show_reference(request: Request) -> Response:
        set_prefix(request.state.prefix)
        if sessions.requires_key:
            if "text/html" in request.headers.get("accept", "") and _KEY_HEADERS.isdisjoint(request.headers):
                return RedirectResponse(build_link("/docs"), 303)  # a person in a browser is asked for a key
            authorize_reader(request.headers)
        page = render(request, None, build_address("/openapi.json"))
        page.headers.update(HEADERS)
        return page

    @guarded_routes.get("/docs")
    async def show_guarded_reference(request: Request) -> Response:
        return render(request, get_visit(request), build_link("/openapi.json"))

    @guarded_routes.get("/openapi.json")
    async def show_document(request: Request) -> Response:
        document = request.app.openapi()
        prefix = build_address("")
        return JSONResponse({**document, "servers": [{"url": prefix}]} if prefix else document)


def _iter_operations(document: Mapping[str, Any]) -> Iterator[tuple[str, OperationDoc]]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            summary, description = told.get("summary", ""), told.get("description", "")
            yield (
                told.get("tags", [""])[0],
                OperationDoc(
                    method=method.upper(),
                    path=path,
                    summary=summary,
                    description="" if description == summary else description,
                    parameters=[
                        (each["name"], each["in"], each.get("description", "")) for each in told.get("parameters", ())
                    ],
                    example=_find_example(told.get("requestBody", {})),
                    answers=[(status, answer["description"]) for status, answer in sorted(told["responses"].items())],
                ),
            )


def _find_example(body: Mapping[str, Any]) -> str | None:
    for content in body.get("content", {}).values():
        for example in content.get("examples", {}).values():
            return json.dumps(example["value"], indent=2, ensure_ascii=False)
    return None
