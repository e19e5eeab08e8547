"""The pages of simulations: started, watched, looked at, compared."""

import asyncio
import json
from calendar import day_name
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.console.auth import NothingHereError, form_of, visit_of
from bandstand.console.figures import compared
from bandstand.console.form import Form, field
from bandstand.console.pages import Pages, link
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.service.context import Deployment
from bandstand.simulate.background import BackgroundRuns
from bandstand.simulate.errors import UnknownRunError
from bandstand.simulate.figures import figures
from bandstand.simulate.report import judged_by, personas_of, world_of
from bandstand.store.tables.simulations import Run

_PAGE = 25
_MOST_COMPARED = 4
_MOST = 2**62  # what a number of a run can be
_ALIVE = frozenset({"queued", "running"})
_FEWEST_COMPARED = 2
Runs = Annotated[tuple[int, ...], Query()]
_POLICIES = ("linucb-v1", "egreedy-v1", "linucb-v2")


class _NumberField(NamedTuple):
    name: str
    label: str
    default: int
    least: int
    most: int


_NUMBERS = (
    _NumberField("personas", "Users", 14, 1, 10_000),
    _NumberField("days", "Days", 30, 1, 3_650),
    _NumberField("decisions_per_day", "Decisions a day", 4, 1, 100),
    _NumberField("candidates", "Candidates", 5, 1, 100),
    _NumberField("seeds", "Seeds", 20, 1, 1_000),
    _NumberField("first_seed", "First seed", 0, 0, 2**31),
)
_CHOICES = {
    "day_of_week": ("", *map(str, range(7))),
    "world": ("shipped", "uniform", "signed"),
    "judge": ("rule", "llm"),
    "events": ("sample", "none", "all"),
}


def simulation_routes(routes: APIRouter, pages: Pages, deployment: Deployment, runs: BackgroundRuns) -> None:
    """Add the pages about simulations."""
    _list(routes, pages, runs)
    _start(routes, pages, deployment, runs)
    _one(routes, pages, runs)
    _comparison(routes, pages, runs)


def _list(routes: APIRouter, pages: Pages, runs: BackgroundRuns) -> None:
    @routes.get("/simulations")
    async def simulation_list(request: Request, before: int | None = None, done: str = "") -> Response:
        found = await runs.page(before=before, limit=_PAGE + 1)
        shown = found[:_PAGE]
        return pages.render(
            "simulations.html",
            visit_of(request),
            runs=[_told(run) for run in shown],
            onward=link("/simulations", before=shown[-1].id) if len(found) > _PAGE else None,
            first_page=before is None,
            alive=any(run.state in _ALIVE for run in shown),
            note="The simulation is gone." if done == "deleted" else None,
        )


def _start(routes: APIRouter, pages: Pages, deployment: Deployment, runs: BackgroundRuns) -> None:
    names = list(deployment.catalogue.policies)
    blank: Form = {
        "policies": [name for name in _POLICIES if name in names],
        **{each.name: [str(each.default)] for each in _NUMBERS},
        **{name: [values[0]] for name, values in _CHOICES.items()},
    }

    def shown(request: Request, form: Form, faults: Sequence[FieldError] = (), status: int = 200) -> Response:
        return pages.render(
            "simulation_new.html",
            visit_of(request),
            status,
            form=form,
            faults={fault.field: fault.message for fault in faults},
            policies=names,
            numbers=_NUMBERS,
            weekdays=list(day_name),
        )

    @routes.get("/simulations/new")
    async def ask_start(request: Request) -> Response:
        return shown(request, blank)

    @routes.post("/simulations/new")
    async def start(request: Request) -> Response:
        form = form_of(request)
        try:
            run = await runs.start(_document(form), visit_of(request).client)
        except InvalidRequestError as error:
            faults = error.errors or [FieldError("form", error.detail)]
            return shown(request, {**{name: [""] for name in blank}, **form}, faults, 422)
        return RedirectResponse(link(f"/simulations/{run.id}"), 303)


def _one(routes: APIRouter, pages: Pages, runs: BackgroundRuns) -> None:
    @routes.get("/simulations/{run:int}")
    async def simulation(request: Request, run: int) -> Response:
        found, visit = await _found(runs, run), visit_of(request)

        def shown() -> Response:
            return pages.render("simulation.html", visit, run=_told(found), summary=_summary(found))

        return await asyncio.to_thread(shown)  # a large summary is not read between two requests of the product

    @routes.get("/simulations/{run:int}/progress.json")
    async def progress(run: int) -> Response:
        told = _told(await _found(runs, run))
        return JSONResponse(
            {name: told[name] for name in ("state", "alive", "done", "total", "share", "left")},
            headers={"cache-control": "no-store"},
        )

    @routes.get("/simulations/{run:int}/figures.json")
    async def run_figures(run: int) -> Response:
        found = await _found(runs, run)

        def drawn() -> Response:
            summary = _summary(found)
            return JSONResponse({} if summary is None else figures(summary), headers={"cache-control": "no-store"})

        return await asyncio.to_thread(drawn)

    @routes.post("/simulations/{run:int}/cancel")
    async def cancel(run: int) -> Response:
        await _found(runs, run)
        await runs.cancel(run)
        return RedirectResponse(link(f"/simulations/{run}"), 303)

    @routes.get("/simulations/{run:int}/delete")
    async def ask_delete(request: Request, run: int) -> Response:
        return pages.render("simulation_delete.html", visit_of(request), run=_told(await _found(runs, run)))

    @routes.post("/simulations/{run:int}/delete")
    async def delete(run: int) -> Response:
        await _found(runs, run)
        await runs.delete(run)
        return RedirectResponse(link("/simulations", done="deleted"), 303)


def _comparison(routes: APIRouter, pages: Pages, runs: BackgroundRuns) -> None:
    @routes.get("/simulations/compare")
    async def compare(request: Request, run: Runs = ()) -> Response:
        wanted = list(dict.fromkeys(run))
        chosen = wanted[:_MOST_COMPARED]
        found, visit = [await _found(runs, number) for number in chosen], visit_of(request)

        def shown() -> Response:
            return pages.render(
                "simulation_compare.html",
                visit,
                runs=[(_told(each), _summary(each)) for each in found],
                enough=len(found) >= _FEWEST_COMPARED,
                most=_MOST_COMPARED,
                left_out=len(wanted) - len(chosen),
                source=link("/simulations/compare.json") + "?" + "&".join(f"run={number}" for number in chosen),
            )

        return await asyncio.to_thread(shown)

    @routes.get("/simulations/compare.json")
    async def comparison_figures(run: Runs = ()) -> Response:
        found = [await _found(runs, number) for number in list(dict.fromkeys(run))[:_MOST_COMPARED]]

        def drawn() -> Response:
            summaries = {each.id: summary for each in found if (summary := _summary(each)) is not None}
            return JSONResponse({"reward": compared(summaries)}, headers={"cache-control": "no-store"})

        return await asyncio.to_thread(drawn)


async def _found(runs: BackgroundRuns, run: int) -> Run:
    if not 0 < run < _MOST:
        raise NothingHereError("there is no simulation of that number")
    try:
        return await runs.get(run)
    except UnknownRunError:
        raise NothingHereError("there is no simulation of that number: deleted, or never started") from None


def _document(form: Form) -> dict[str, Any]:
    """What a posted form asks for, as a request would have it.

    Raises:
        InvalidRequestError: names every field that is wrong.
    """
    faults = []
    document: dict[str, Any] = {"policies": form.get("policies", [])}
    for each in _NUMBERS:
        text = field(form, each.name).strip()
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1  # noqa: PLR2004 (any longer is too large)
        if not each.least <= number <= each.most:
            faults.append(FieldError(each.name, f"must be a whole number from {each.least:,} to {each.most:,}"))
        document[each.name] = number
    for name, values in _CHOICES.items():
        document[name] = field(form, name)
        if document[name] not in values:
            faults.append(FieldError(name, f"must be one of {', '.join(filter(None, values))}"))
    if not document["policies"]:
        faults.append(FieldError("policies", "choose at least one"))
    if faults:
        raise InvalidRequestError(faults[0].message, faults)
    document["day_of_week"] = int(document["day_of_week"]) if document["day_of_week"] else None
    return document


def _told(run: Run) -> dict[str, Any]:
    plan = json.loads(run.plan)
    left = None
    if run.state == "running" and run.started is not None and run.heartbeat is not None and run.done:
        left = (run.heartbeat - run.started) / run.done * (run.total - run.done)
    seconds = None if run.started is None or run.ended is None else run.ended - run.started
    return {
        "id": run.id,
        "state": run.state,
        "alive": run.state in _ALIVE,
        "client": run.client,
        "origin": run.origin,
        "created": run.created,
        "seconds": seconds,
        "done": run.done,
        "total": run.total,
        "share": run.done / run.total if run.total else 0.0,
        "left": left,
        "plan": plan,
        "world": world_of(plan),
        "personas": personas_of(plan),
        "judge": judged_by(plan),
        "error": run.error,
    }


def _summary(run: Run) -> dict[str, Any] | None:
    summary: dict[str, Any] | None = json.loads(run.summary) if run.summary else None
    return summary
