"""The routes that write tips, and those that look after the prompts they are written with."""

import structlog
from fastapi import APIRouter, Request, Response

from bandstand.api.asgi.disconnect import cancel_on_disconnect
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, build_router, get_client, parse_request, to_json_response
from bandstand.api.schemas.generation import GenerateResponse, PromptList, PromptStats, PromptText, RecommendResponse
from bandstand.api.schemas.requests import Wire, validate_id
from bandstand.errors import StorageUnavailableError
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
from bandstand.service.prompts import PromptDetail, PromptListing, PromptReport
from bandstand.service.recommend import observe_recommendation, recommend

_WRITING = (GatewayError, NotJsonError, GatewayUnreachableError, PromptError)
log = structlog.get_logger("bandstand")


def build_generation_router(deployment: ServiceContext, writing: TipWriting, wire: Wire, metrics: Metrics) -> APIRouter:
    """The routes over one deployment and its way to write tips."""
    routes = build_router("generation")
    generate_extra = describe_operation(*_WRITING, *WRITE_ERRORS, body=wire.generate)
    recommend_extra = describe_operation(*_WRITING, *WRITE_ERRORS, body=wire.recommend)

    @routes.post("/generate", response_model=GenerateResponse, openapi_extra=generate_extra)
    async def generate_tips(request: Request) -> Response:
        """Write tips from a user's tasks, as candidates for `/score`; fewer than requested is no error."""
        body = await parse_request(request, wire.generate)
        work = generate(deployment, writing, body, client=get_client(request))
        written = await cancel_on_disconnect(request.receive, work)
        _count_generation(metrics, written)
        return to_json_response(written)

    @routes.post("/recommend", response_model=RecommendResponse, openapi_extra=recommend_extra)
    async def recommend_tip(request: Request) -> Response:
        """Write tips from a user's tasks and pick one with the active policy, in one call."""
        body = await parse_request(request, wire.recommend)
        work = recommend(deployment, writing, body, client=get_client(request))
        recommended = await cancel_on_disconnect(request.receive, work)
        _count_generation(metrics, recommended)
        if recommended.policy is not None:
            metrics.record_decision(recommended.policy, exploring=bool(recommended.exploring))
            observe_recommendation(deployment, body, recommended)
        return to_json_response(recommended)

    @routes.get("/prompts", response_model=PromptList, openapi_extra=describe_operation())
    async def prompt_list() -> PromptListing:
        """Every prompt in service, and the files that were left out."""
        return prompts.list_prompts(writing.prompts)

    @routes.get("/prompts/stats", response_model=PromptStats, openapi_extra=describe_operation(StorageUnavailableError))
    async def prompt_stats() -> PromptReport:
        """What the tips of each version earned."""
        return await prompts.load_stats(deployment, writing.prompts)

    @routes.get(
        "/prompts/{name:id}/{version:id}",
        response_model=PromptText,
        openapi_extra=describe_operation(UnknownPromptError),
    )
    async def prompt_text(name: str, version: str) -> PromptDetail:
        """One version of a prompt with its text."""
        return prompts.get_detail(writing.prompts, validate_id(name, "name"), validate_id(version, "version"))

    @routes.post("/prompts/reload", response_model=PromptList, openapi_extra=describe_operation(PromptsKeptError))
    async def reload_prompts() -> PromptListing:
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


def _count_generation(metrics: Metrics, written: WrittenTips) -> None:
    metrics.record_generation(
        written.prompt_version, len(written.candidates), written.prompt_tokens, written.completion_tokens
    )
