"""The pages of prompts: which are in service, what each version earned, and their texts."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_visit
from bandstand.console.pages import Pages, build_link
from bandstand.generate.errors import PromptsKeptError, UnknownPromptError
from bandstand.service import prompts as service
from bandstand.service.context import ServiceContext
from bandstand.service.prompts import PromptService

_NOTES = {"reloaded": "The prompts were read from disk again."}


def add_prompt_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, prompts: PromptService) -> None:
    """Add the pages about prompts."""

    @routes.get("/prompts")
    async def list_prompts(request: Request, done: str = "") -> Response:
        return await _render_prompts(request, note=_NOTES.get(done))

    @routes.get("/prompt")
    async def show_prompt(request: Request, name: str, version: str) -> Response:
        try:
            entry = service.get_detail(prompts, name, version)
        except UnknownPromptError:
            raise PageNotFoundError("there is no such prompt in service") from None
        return pages.render("prompt.html", get_visit(request), prompt=entry)

    @routes.post("/prompts/reload")
    async def reload_prompts(request: Request) -> Response:
        try:
            await prompts.reload()
        except PromptsKeptError as error:
            return await _render_prompts(request, refused=error.detail, status=409)
        return RedirectResponse(build_link("/prompts", done="reloaded"), 303)

    async def _render_prompts(
        request: Request, *, note: str | None = None, refused: str | None = None, status: int = 200
    ) -> Response:
        return pages.render(
            "prompts.html",
            get_visit(request),
            status,
            listing=service.list_prompts(prompts),
            stats=await service.load_stats(deployment, prompts),
            automatic=prompts.is_automatic,
            note=note,
            refused=refused,
        )
