"""The pages of loops: which there are, how each learns, and who changed what."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.bandit.loop_definition import DEFAULT_LOOP, LearningMode
from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.form import get_field
from bandstand.console.pages import Pages, build_link, build_loop_address
from bandstand.errors import LoopRefusedError, UnknownLoopError
from bandstand.service.loop_runtime import ManagedLoop
from bandstand.service.loop_status import LoopEntry, list_loop_entries, list_loops
from bandstand.service.loops import Loops

_NOTES = {"changed": "It learns so from now on."}
_MODES: dict[str, LearningMode] = {"online": "online", "apprentice": "apprentice", "logging": "logging"}


def add_loop_routes(routes: APIRouter, pages: Pages, loops: Loops, own: str) -> None:
    """Add the pages about loops.

    Args:
        routes: where.
        pages: renders them.
        loops: which there are.
        own: the loop whose console it is; but for the default one's, it shows no other.
    """
    only = None if own == DEFAULT_LOOP else own

    def render_loops(
        request: Request, *, note: str | None = None, refused: str | None = None, status: int = 200
    ) -> Response:
        return pages.render(
            "loops.html",
            get_visit(request),
            status,
            own=own,
            loops=[(each, build_loop_address(each.name, own)) for each in list_loops(loops, only).loops],
            changes=[(each, _describe_change(each)) for each in list_loop_entries(loops, only)],
            modes=_MODES,
            note=note,
            refused=refused,
        )

    @routes.get("/loops")
    async def show_loops(request: Request, done: str = "") -> Response:
        return render_loops(request, note=_NOTES.get(done))

    def find_change(name: str, mode: str) -> tuple[ManagedLoop, LearningMode]:
        try:
            loop, wanted = loops.get(name), _MODES[mode]
        except (UnknownLoopError, KeyError):
            raise PageNotFoundError("there is no such loop, or no such mode") from None
        if only not in {None, name}:
            raise PageNotFoundError("there is no such loop, or no such mode")
        return loop, wanted

    @routes.get("/loops/mode")
    async def show_mode_change(request: Request, name: str, mode: str) -> Response:
        loop, wanted = find_change(name, mode)
        return pages.render("loop_mode.html", get_visit(request), loop=loop.definition, mode=wanted)

    @routes.post("/loops/mode")
    async def change_mode(request: Request) -> Response:
        form = get_form(request)
        loop, mode = find_change(get_field(form, "name"), get_field(form, "mode"))
        try:
            await loops.set_mode(loop.name, mode, get_visit(request).client)
        except LoopRefusedError as error:
            return render_loops(request, refused=error.detail, status=409)
        return RedirectResponse(build_link("/loops", done="changed"), 303)


def _describe_change(entry: LoopEntry) -> list[str]:
    """What is another after a change: the field, what it was and what it is."""
    before, after = entry.before or {}, entry.after or {}
    if entry.action != "change":
        return []
    return [
        f"{key}: {before.get(key, 'as by default')} → {after.get(key, 'as by default')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
