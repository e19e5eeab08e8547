"""The routes that write tips, and those that look after the prompts they are written with."""

from typing import Any, cast

import structlog
from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.disconnect import cancel_on_disconnect
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.openapi import describe_operation
from bandstand.api.schemas.examples import GENERATE_EXAMPLES, RECOMMEND_EXAMPLES
from bandstand.api.schemas.generation import GenerateResponse, PromptList, PromptStats, PromptText, RecommendResponse
from bandstand.api.schemas.requests import Wire, parse_body, validate_id
from bandstand.errors import OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.generate.errors import (
    GatewayError,
    GatewayUnreachableError,
    NotJsonError,
    PromptsKeptError,
    UnknownPromptError,
)
from bandstand.prompts.errors import PromptError
from bandstand.service import prompts
from bandstand.service.context import ServiceContext
from bandstand.service.generate import TipWriting, WrittenTips, generate
from bandstand.service.recommend import recommend

_WRITING = (GatewayError, NotJsonError, GatewayUnreachableError, PromptError)
_STORING = (OverloadedError, StorageUnavailableError, StorageFullError)
log = structlog.get_logger("bandstand")


def build_generation_router(deployment: ServiceContext, writing: TipWriting, wire: Wire, metrics: Metrics) -> APIRouter:
    """The routes over one deployment and its way to write tips."""
    routes = APIRouter(tags=["generation"])
    generate_extra = describe_operation(*_WRITING, *_STORING, body="GenerateRequest", examples=GENERATE_EXAMPLES)
    recommend_extra = describe_operation(*_WRITING, *_STORING, body="RecommendRequest", examples=RECOMMEND_EXAMPLES)

    @routes.post("/generate", response_model=GenerateResponse, openapi_extra=generate_extra)
    async def generate_tips(request: Request) -> Response:
        """Write tips from a user's tasks, as candidates for `/score`; fewer than asked for is no error."""
        body = parse_body(wire.generate, await _read_body(request))
        work = generate(deployment, writing, body, client=_get_client(request))
        written = await cancel_on_disconnect(request.receive, work)
        _count_generation(metrics, written)
        return _to_json_response(written.to_response())

    @routes.post("/recommend", response_model=RecommendResponse, openapi_extra=recommend_extra)
    async def recommend_tip(request: Request) -> Response:
        """Write tips from a user's tasks and pick one with the active policy, in one call."""
        body = parse_body(wire.recommend, await _read_body(request))
        work = recommend(deployment, writing, body, client=_get_client(request))
        recommended = await cancel_on_disconnect(request.receive, work)
        _count_generation(metrics, recommended.written)
        if recommended.scored is not None:
            metrics.record_decision(recommended.scored.policy, exploring=recommended.scored.exploring)
        return _to_json_response(recommended.to_response())

    @routes.get("/prompts", response_model=PromptList, openapi_extra=describe_operation())
    async def prompt_list() -> dict[str, Any]:
        """Every prompt in service, and the files that were left out."""
        return prompts.list_prompts(writing.prompts)

    @routes.get("/prompts/stats", response_model=PromptStats, openapi_extra=describe_operation(StorageUnavailableError))
    async def prompt_stats() -> dict[str, Any]:
        """What the tips of each version came to."""
        return await prompts.load_stats(deployment, writing.prompts)

    @routes.get(
        "/prompts/{name:id}/{version:id}",
        response_model=PromptText,
        openapi_extra=describe_operation(UnknownPromptError),
    )
    async def prompt_text(name: str, version: str) -> dict[str, Any]:
        """One version of a prompt with its text."""
        return prompts.get_detail(writing.prompts, validate_id(name, "name"), validate_id(version, "version"))

    @routes.post("/prompts/reload", response_model=PromptList, openapi_extra=describe_operation(PromptsKeptError))
    async def reload_prompts() -> dict[str, Any]:
        """Read the prompts from disk again; requests under way keep theirs. Broken files are left out and listed."""
        await writing.prompts.reload()
        log_prompts(writing.prompts)
        return prompts.list_prompts(writing.prompts)

    return routes


def log_prompts(served: prompts.PromptService) -> None:
    """Log what is in service, and one line for each file that was left out."""
    for broken in served.library.broken:
        log.error("prompt left out", file=broken.file, line=broken.line, reason=broken.reason)
    log.info("prompts", count=len(served.library), default=served.default)


async def _read_body(request: Request) -> bytes:
    return await read_json_body(request.receive, dict(request.headers.raw))


def _count_generation(metrics: Metrics, written: WrittenTips) -> None:
    made = written.generation
    metrics.record_generation(made.prompt_version, len(made.tips), made.prompt_tokens, made.completion_tokens)


def _get_client(request: Request) -> str:
    return cast("str", request.state.client)


def _to_json_response(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
