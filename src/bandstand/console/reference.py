"""The page of the interface: every route with its parameters, an example and its answers, as OpenAPI has them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response

from bandstand.console.pages import HEADERS, Pages


class OperationDoc(NamedTuple):
    """One method of one path.

    Attributes:
        parameters: name, place (path, query or header) and description of each.
        example: a body that it takes, as JSON text; ``None`` where it takes none.
        answers: status and description of each.
    """

    method: str
    path: str
    summary: str
    description: str
    parameters: list[tuple[str, str, str]]
    example: str | None
    answers: list[tuple[str, str]]


def add_reference_routes(routes: APIRouter, pages: Pages) -> None:
    """Add the page, which stands outside the console: whoever may read the OpenAPI document may read it."""

    @routes.get("/docs")
    async def show_reference(request: Request) -> Response:
        document = request.app.openapi()
        sections: dict[str, list[OperationDoc]] = {}
        for tag, operation in _iter_operations(document):
            sections.setdefault(tag, []).append(operation)
        page = pages.render("reference.html", None, sections=sections, title=document["info"]["title"])
        page.headers.update(HEADERS)
        return page


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
