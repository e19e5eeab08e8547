"""OpenAPI: the framework's own document, with the request schemas that the configured features make.

Each operation says which role it takes (``x-role``) and which problems may answer it (``x-problems``): those its route
names, and those that follow from its role, its body and its parameters.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from bandstand.api.asgi.access import get_required_role
from bandstand.api.problems import (
    STATUS,
    ForbiddenError,
    HostRefusedError,
    InternalError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedMediaError,
)
from bandstand.api.schemas import (
    evaluations,
    judge_endpoints,
    judgements,
    launches,
    loops,
    reactions,
    revocations,
    simulations,
)
from bandstand.api.schemas.learning import Problem
from bandstand.api.schemas.requests import ID_SCHEMA, RequestBody, Wire
from bandstand.errors import BandstandError, InvalidRequestError, UnknownPolicyError

OTHER_BODIES = (
    *simulations.REQUEST_BODIES,
    *evaluations.REQUEST_BODIES,
    *revocations.REQUEST_BODIES,
    *reactions.REQUEST_BODIES,
    *judge_endpoints.REQUEST_BODIES,
    *judgements.REQUEST_BODIES,
    *loops.REQUEST_BODIES,
    *launches.REQUEST_BODIES,
)
_IDS = ("user_id", "decision_id")
_REFERENCE = "#/components/schemas/{model}"
_ANNOTATIONS = ("title", "description", "default")
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}


def describe_operation(*problems: type[BandstandError], body: RequestBody | None = None) -> dict[str, Any]:
    """What a route adds to its operation: its problems, and the JSON body that it reads itself."""
    extra: dict[str, Any] = {"x-problems": [problem.code for problem in problems]}
    if body is not None:
        content = {"schema": {"$ref": _REFERENCE.format(model=body.name)}, "examples": body.examples}
        extra["requestBody"] = {"required": True, "content": {"application/json": content}}
    return extra


def build_schema(framework: FastAPI, wire: Wire) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if framework.openapi_schema is None:
        document = get_openapi(
            title=framework.title,
            version=framework.version,
            summary=framework.summary,
            routes=framework.routes,
        )
        mode: JsonSchemaMode = "validation"
        inputs = [(body.name, mode, body.adapter) for body in (*wire.bodies, *OTHER_BODIES)]
        _, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
        problem = [(Problem.__name__, mode, TypeAdapter(Problem))]
        _, of_problems = TypeAdapter.json_schemas(problem, ref_template=_REFERENCE)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update({name: _allow_null(schema) for name, schema in definitions["$defs"].items()})
        schemas.update(of_problems["$defs"])
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete_operation(operation, method.upper(), path)
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"key": []}, {}]
        framework.openapi_schema = document
    return framework.openapi_schema


def _allow_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A request's schema as requests are read.

    ``null`` means that an optional field is left out (:mod:`.schemas.tolerance`).
    """
    required = schema.get("required", ())
    properties = schema.get("properties", {})
    nullable = {name: field if name in required else _to_nullable(field) for name, field in properties.items()}
    return {**schema, "properties": nullable} if properties else schema


def _to_nullable(field: dict[str, Any]) -> dict[str, Any]:
    if isinstance(field.get("type"), str) and "enum" not in field and "const" not in field:
        return {**field, "type": [field["type"], "null"]}
    choices = field.get("anyOf", [{name: value for name, value in field.items() if name not in _ANNOTATIONS}])
    if {"type": "null"} in choices:
        return field
    annotations = {name: field[name] for name in _ANNOTATIONS if name in field}
    return {"anyOf": [*choices, {"type": "null"}], **annotations}


def _complete_operation(operation: dict[str, Any], method: str, path: str) -> None:
    """Give an operation its summary, its role and its problems."""
    operation["summary"], _, more = operation["description"].partition("\n\n")
    operation["description"] = more or operation["summary"]
    operation["x-role"] = get_required_role(method, path)
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in _IDS:
            parameter["schema"] = ID_SCHEMA
    own = set(operation.get("x-problems", ()))
    codes = own | {problem.code for problem in _iter_implied_problems(operation)}
    known = sorted((status, problem.code, title) for problem, (status, title) in STATUS.items())
    operation["x-problems"] = [code for _, code, _ in known if code in codes]
    operation["responses"].pop("422", None)
    for status, code, title in known:
        if code in codes:
            response = operation["responses"].setdefault(str(status), {"description": "", "content": _PROBLEM})
            response["description"] += f"{'; ' if response['description'] else ''}`{code}`: {title}"


def _iter_implied_problems(operation: dict[str, Any]) -> Iterator[type[BandstandError]]:
    yield from (HostRefusedError, ForbiddenError, InvalidRequestError, InternalError)
    if operation["x-role"] == "open":
        operation["security"] = []
    else:
        yield UnauthorizedError
    if "requestBody" in operation:
        yield from (TooLargeError, UnsupportedMediaError)
    if any(parameter["name"] == "policy" for parameter in operation.get("parameters", ())):
        yield UnknownPolicyError
