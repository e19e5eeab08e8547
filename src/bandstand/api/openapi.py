"""OpenAPI: the framework's own document, with the request schemas that the configured features make."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from bandstand.api.wire import Problem, Wire

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "A problem (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def schema(framework: FastAPI, wire: Wire) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if framework.openapi_schema is None:
        document = get_openapi(
            title=framework.title,
            version=framework.version,
            summary=framework.summary,
            routes=framework.routes,
        )
        mode: JsonSchemaMode = "validation"
        adapters: dict[str, TypeAdapter[Any]] = {**wire.adapters(), "Problem": TypeAdapter(Problem)}
        inputs = [(name, mode, adapter) for name, adapter in adapters.items()]
        _, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(definitions["$defs"])
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"key": []}, {}]
        framework.openapi_schema = document
    return framework.openapi_schema
