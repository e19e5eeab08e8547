"""The pages of simulations: started, watched, looked at, compared."""

import asyncio
import math
from calendar import day_name
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.console.auth import get_form, get_visit
from bandstand.console.figures import build_comparison
from bandstand.console.form import Cursor, Form, get_field
from bandstand.console.pages import Pages, build_link
from bandstand.console.runs import LIVE_STATES, add_progress_routes, build_view, find_run, parse_summary
from bandstand.console.statements import describe_comparison, describe_simulation
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.service.context import ServiceContext
from bandstand.simulate.background import SimulationQueue
from bandstand.simulate.figures import build_figures
from bandstand.simulate.limits import DEFAULT_POLICIES, LIMITS, NumberLimit
from bandstand.simulate.report import describe_judge, describe_personas, describe_world

_PAGE = 25
_MAX_COMPARED = 4
_MIN_COMPARED = 2
_Z_95 = 1.96
_IN_WORDS: dict[str, Any] = {
    "describe_world": describe_world,
    "describe_personas": describe_personas,
    "describe_judge": describe_judge,
}
"""What the templates say of a plan."""
Runs = Annotated[tuple[int, ...], Query()]


class _NumberField(NamedTuple):
    name: str
    label: str
    limit: NumberLimit


_LABELS = {
    "personas": "Users",
    "days": "Days",
    "decisions_per_day": "Decisions a day",
    "candidates": "Candidates",
    "seeds": "Seeds",
    "first_seed": "First seed",
}
_NUMBERS = tuple(_NumberField(name, label, LIMITS[name]) for name, label in _LABELS.items())
_CHOICES = {
    "day_of_week": ("", *map(str, range(7))),
    "world": ("shipped", "uniform", "signed"),
    "judge": ("rule", "llm"),
    "events": ("sample", "none", "all"),
}


class _RunDifference(NamedTuple):
    """What a policy earned in one run more than in another, a decision; ``margin`` is half of the 95 % interval."""

    policy: str
    run: int
    base: int
    difference: float
    margin: float
    finding: str


def add_simulation_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, runs: SimulationQueue) -> None:
    """Add the pages about simulations."""
    _add_list_routes(routes, pages, runs)
    _add_start_routes(routes, pages, deployment, runs)
    _add_run_routes(routes, pages, runs)
    _add_comparison_routes(routes, pages, runs)


def _add_list_routes(routes: APIRouter, pages: Pages, runs: SimulationQueue) -> None:
    @routes.get("/simulations")
    async def list_simulations(request: Request, before: Cursor = None, done: str = "") -> Response:
        found = await runs.list_page(before=before, limit=_PAGE + 1)
        shown = found[:_PAGE]
        return pages.render(
            "simulations.html",
            get_visit(request),
            runs=[build_view(run) for run in shown],
            **_IN_WORDS,
            onward=build_link("/simulations", before=shown[-1].id) if len(found) > _PAGE else None,
            first_page=before is None,
            alive=any(run.state in LIVE_STATES for run in shown),
            note="The simulation is gone." if done == "deleted" else None,
        )


def _add_start_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, runs: SimulationQueue) -> None:
    names = list(deployment.catalogue.policies)
    blank: Form = {
        "policies": [name for name in DEFAULT_POLICIES if name in names],
        **{each.name: [str(each.limit.default)] for each in _NUMBERS},
        **{name: [values[0]] for name, values in _CHOICES.items()},
    }

    def render_form(request: Request, form: Form, faults: Sequence[FieldError] = (), status: int = 200) -> Response:
        return pages.render(
            "simulation_new.html",
            get_visit(request),
            status,
            form=form,
            faults={fault.field: fault.message for fault in faults},
            policies=names,
            numbers=_NUMBERS,
            weekdays=list(day_name),
        )

    @routes.get("/simulations/new")
    async def show_start_form(request: Request) -> Response:
        return render_form(request, blank)

    @routes.post("/simulations/new")
    async def start_simulation(request: Request) -> Response:
        form = get_form(request)
        try:
            run = await runs.start(_parse_form(form), get_visit(request).client)
        except InvalidRequestError as error:
            faults = error.errors or [FieldError("form", error.detail)]
            return render_form(request, {**{name: [""] for name in blank}, **form}, faults, 422)
        return RedirectResponse(build_link(f"/simulations/{run.id}"), 303)


def _add_run_routes(routes: APIRouter, pages: Pages, runs: SimulationQueue) -> None:
    @routes.get("/simulations/{run:int}")
    async def show_simulation(request: Request, run: int) -> Response:
        found, visit = await find_run(runs, run), get_visit(request)

        def render_page() -> Response:
            summary = parse_summary(found)
            titles = describe_simulation(summary) if summary and summary["policies"] else {}
            return pages.render(
                "simulation.html", visit, run=build_view(found), summary=summary, titles=titles, **_IN_WORDS
            )

        return await asyncio.to_thread(render_page)  # a large summary is not read between two requests of the product

    @routes.get("/simulations/{run:int}/figures.json")
    async def get_run_figures(run: int) -> Response:
        found = await find_run(runs, run)

        def render_figures() -> Response:
            summary = parse_summary(found)
            figures = {} if summary is None else build_figures(summary, _get_per_day(build_view(found).plan))
            return JSONResponse(figures, headers={"cache-control": "no-store"})

        return await asyncio.to_thread(render_figures)

    @routes.get("/simulations/{run:int}/delete")
    async def show_delete_form(request: Request, run: int) -> Response:
        return pages.render("simulation_delete.html", get_visit(request), run=build_view(await find_run(runs, run)))

    add_progress_routes(routes, runs, "/simulations")


def _add_comparison_routes(routes: APIRouter, pages: Pages, runs: SimulationQueue) -> None:
    @routes.get("/simulations/compare")
    async def show_comparison(request: Request, run: Runs = ()) -> Response:
        wanted = list(dict.fromkeys(run))
        chosen = wanted[:_MAX_COMPARED]
        found, visit = [await find_run(runs, number) for number in chosen], get_visit(request)

        def render_page() -> Response:
            shown = [(build_view(each), parse_summary(each)) for each in found]
            summaries = {view.id: summary for view, summary in shown if summary}
            return pages.render(
                "simulation_compare.html",
                visit,
                runs=shown,
                **_IN_WORDS,
                differences=_compute_differences(summaries),
                title=describe_comparison(summaries),
                enough=len(found) >= _MIN_COMPARED,
                most=_MAX_COMPARED,
                left_out=len(wanted) - len(chosen),
                source=build_link("/simulations/compare.json") + "?" + "&".join(f"run={number}" for number in chosen),
            )

        return await asyncio.to_thread(render_page)

    @routes.get("/simulations/compare.json")
    async def get_comparison_figures(run: Runs = ()) -> Response:
        found = [await find_run(runs, number) for number in list(dict.fromkeys(run))[:_MAX_COMPARED]]

        def render_figures() -> Response:
            summaries = {each.id: summary for each in found if (summary := parse_summary(each)) is not None}
            per_day = max((_get_per_day(build_view(each).plan) for each in found), default=1)
            return JSONResponse({"reward": build_comparison(summaries, per_day)}, headers={"cache-control": "no-store"})

        return await asyncio.to_thread(render_figures)


def _get_per_day(plan: Mapping[str, Any]) -> int:
    """Decisions of a user in a day."""
    per_day: int = plan["decisions_per_day"]
    return per_day


def _compute_differences(summaries: Mapping[int, Mapping[str, Any]]) -> list[_RunDifference]:
    """Hold every run against the first, for each policy that both have; errors as if the runs were independent."""
    numbers = list(summaries)
    differences = []
    for run in numbers[1:]:
        first, other = summaries[numbers[0]]["policies"], summaries[run]["policies"]
        for policy in first.keys() & other.keys():
            earned, held = other[policy], first[policy]
            if earned["expected_stderr"] is None or held["expected_stderr"] is None:
                continue
            difference = earned["expected_reward"] - held["expected_reward"]
            margin = _Z_95 * math.hypot(earned["expected_stderr"], held["expected_stderr"])
            finding = (
                "earns more" if difference > margin else "earns less" if difference < -margin else "not told apart"
            )
            differences.append(_RunDifference(policy, run, numbers[0], difference, margin, finding))
    return sorted(differences)


def _parse_form(form: Form) -> dict[str, Any]:
    """What a posted form asks for, as a request would have it.

    Raises:
        InvalidRequestError: names every field that is wrong.
    """
    faults = []
    document: dict[str, Any] = {"policies": form.get("policies", [])}
    for each in _NUMBERS:
        text = get_field(form, each.name).strip()
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1  # noqa: PLR2004 (any longer is too large)
        least, most, _ = each.limit
        if not least <= number <= most:
            faults.append(FieldError(each.name, f"must be a whole number from {least:,} to {most:,}"))
        document[each.name] = number
    for name, values in _CHOICES.items():
        document[name] = get_field(form, name)
        if document[name] not in values:
            faults.append(FieldError(name, f"must be one of {', '.join(filter(None, values))}"))
    if not document["policies"]:
        faults.append(FieldError("policies", "choose at least one"))
    if faults:
        raise InvalidRequestError(faults[0].message, faults)
    document["day_of_week"] = int(document["day_of_week"]) if document["day_of_week"] else None
    return document
