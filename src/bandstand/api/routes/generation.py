"""The routes that write tips, and those that look after the prompts they are written with."""

from typing import Any, cast

import structlog
from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.disconnect import unless_gone
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.openapi import described
from bandstand.api.schemas.examples import GENERATE_EXAMPLES, RECOMMEND_EXAMPLES
from bandstand.api.schemas.generation import GenerateResponse, PromptList, PromptStats, PromptText, RecommendResponse
from bandstand.api.schemas.requests import Wire, checked_id, parsed
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
from bandstand.service.context import Deployment
from bandstand.service.generate import TipWriting, Written, generate
from bandstand.service.recommend import recommend

_WRITING = (GatewayError, NotJsonError, GatewayUnreachableError, PromptError)
_STORING = (OverloadedError, StorageUnavailableError, StorageFullError)
log = structlog.get_logger("bandstand")


def generation_router(deployment: Deployment, writing: TipWriting, wire: Wire, metrics: Metrics) -> APIRouter:
    """The routes over one deployment and its way to write tips."""
    routes = APIRouter(tags=["generation"])
    generate_extra = described(*_WRITING, *_STORING, body="GenerateRequest", examples=GENERATE_EXAMPLES)
    recommend_extra = described(*_WRITING, *_STORING, body="RecommendRequest", examples=RECOMMEND_EXAMPLES)

    @routes.post("/generate", response_model=GenerateResponse, openapi_extra=generate_extra)
    async def generate_tips(request: Request) -> Response:
        """Write tips from a user's tasks, as candidates for `/score`; fewer than asked for is no error."""
        body = parsed(wire.generate, await _body(request))
        work = generate(deployment, writing, body, client=_client(request))
        written = await unless_gone(request.receive, work)
        _count(metrics, written)
        return _json(written.answer())

    @routes.post("/recommend", response_model=RecommendResponse, openapi_extra=recommend_extra)
    async def recommend_tip(request: Request) -> Response:
        """Write tips from a user's tasks and pick one with the active policy, in one call."""
        body = parsed(wire.recommend, await _body(request))
        work = recommend(deployment, writing, body, client=_client(request))
        recommended = await unless_gone(request.receive, work)
        _count(metrics, recommended.written)
        if recommended.scored is not None:
            metrics.decision(recommended.scored.policy, exploring=recommended.scored.exploring)
        return _json(recommended.answer())

    @routes.get("/prompts", response_model=PromptList, openapi_extra=described())
    async def prompt_list() -> dict[str, Any]:
        """Every prompt in service, and the files that were left out."""
        return prompts.listing(writing.prompts)

    @routes.get("/prompts/stats", response_model=PromptStats, openapi_extra=described(StorageUnavailableError))
    async def prompt_stats() -> dict[str, Any]:
        """What the tips of each version came to."""
        return await prompts.stats(deployment, writing.prompts)

    @routes.get(
        "/prompts/{name:id}/{version:id}", response_model=PromptText, openapi_extra=described(UnknownPromptError)
    )
    async def prompt_text(name: str, version: str) -> dict[str, Any]:
        """One version of a prompt with its text."""
        return prompts.shown(writing.prompts, checked_id(name, "name"), checked_id(version, "version"))

    @routes.post("/prompts/reload", response_model=PromptList, openapi_extra=described(PromptsKeptError))
    async def reload_prompts() -> dict[str, Any]:
        """Read the prompts from disk again; requests under way keep theirs. Broken files are left out and listed."""
        await writing.prompts.reload()
        log_prompts(writing.prompts)
        return prompts.listing(writing.prompts)

    return routes


def log_prompts(served: prompts.Prompts) -> None:
    """Log what is in service, and one line for each file that was left out."""
    for broken in served.library.broken:
        log.error("prompt left out", file=broken.file, line=broken.line, reason=broken.reason)
    log.info("prompts", count=len(served.library), default=served.default)


async def _body(request: Request) -> bytes:
    return await read_json_body(request.receive, dict(request.headers.raw))


def _count(metrics: Metrics, written: Written) -> None:
    made = written.generation
    metrics.generation(made.prompt_version, len(made.tips), made.prompt_tokens, made.completion_tokens)


def _client(request: Request) -> str:
    return cast("str", request.state.client)


def _json(answer: dict[str, Any]) -> Response:
    return Response(to_json(answer), media_type="application/json")
