"""The pages of prompts: which are in service, what each version came to, and their texts."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import NothingHereError, visit_of
from bandstand.console.pages import Pages, link
from bandstand.generate.errors import PromptsKeptError, UnknownPromptError
from bandstand.service import prompts as service
from bandstand.service.context import Deployment
from bandstand.service.prompts import Prompts

_NOTES = {"reloaded": "The prompts were read from disk again."}


def prompt_routes(routes: APIRouter, pages: Pages, deployment: Deployment, prompts: Prompts) -> None:
    """Add the pages about prompts."""

    @routes.get("/prompts")
    async def prompt_list(request: Request, done: str = "") -> Response:
        return await _listed(request, note=_NOTES.get(done))

    @routes.get("/prompt")
    async def prompt(request: Request, name: str, version: str) -> Response:
        try:
            shown = service.shown(prompts, name, version)
        except UnknownPromptError:
            raise NothingHereError("there is no such prompt in service") from None
        return pages.render("prompt.html", visit_of(request), prompt=shown)

    @routes.post("/prompts/reload")
    async def reload_prompts(request: Request) -> Response:
        try:
            await prompts.reload()
        except PromptsKeptError as error:
            return await _listed(request, refused=error.detail, status=409)
        return RedirectResponse(link("/prompts", done="reloaded"), 303)

    async def _listed(
        request: Request, *, note: str | None = None, refused: str | None = None, status: int = 200
    ) -> Response:
        return pages.render(
            "prompts.html",
            visit_of(request),
            status,
            listing=service.listing(prompts),
            stats=await service.stats(deployment, prompts),
            automatic=prompts.automatic,
            note=note,
            refused=refused,
        )
