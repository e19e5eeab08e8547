"""The pages of evaluations: request, follow, read."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.console.auth import get_form, get_visit
from bandstand.console.form import Cursor, Form, get_field
from bandstand.console.pages import Pages, build_link
from bandstand.console.runs import add_progress_routes, build_view, find_run, parse_summary
from bandstand.console.statements import describe_evaluation
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.evaluate.background import EvaluationQueue
from bandstand.evaluate.estimators.formulas import FORMULAS, LEDGER_FORMULAS
from bandstand.evaluate.figures import build_figures
from bandstand.evaluate.page import COLUMN_HEADINGS, format_heading, format_rows, format_summary, format_warnings
from bandstand.evaluate.plan import DEFAULT_ESTIMATORS
from bandstand.evaluate.report import ASSUMPTIONS
from bandstand.service.context import ServiceContext
from bandstand.times import format_timestamp, parse_bound

_PAGE = 25
_TIMES = ("since", "until")
_MISSING = {"": None, "0": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class _PolicyView:
    """One policy of a report, ready to print.

    Attributes:
        name: its name.
        heading: in what state it was evaluated.
        rows: cells under ``COLUMN_HEADINGS``.
        doubts: why not to believe them, in words.
        sentence: what the surest estimate says, against what was logged.
    """

    name: str
    heading: str
    rows: Sequence[Sequence[str]]
    doubts: Sequence[str]
    sentence: str


def add_evaluation_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, runs: EvaluationQueue) -> None:
    """Add the pages about evaluations."""
    _add_list_routes(routes, pages, runs)
    _add_start_routes(routes, pages, deployment, runs)
    _add_run_routes(routes, pages, deployment, runs)


def _add_list_routes(routes: APIRouter, pages: Pages, runs: EvaluationQueue) -> None:
    @routes.get("/evaluations")
    async def list_evaluations(request: Request, before: Cursor = None, done: str = "") -> Response:
        found = await runs.list_page(before=before, limit=_PAGE + 1)
        shown = found[:_PAGE]
        return pages.render(
            "evaluations.html",
            get_visit(request),
            runs=[build_view(run) for run in shown],
            onward=build_link("/evaluations", before=shown[-1].id) if len(found) > _PAGE else None,
            first_page=before is None,
            note="The evaluation is gone." if done == "deleted" else None,
        )


def _add_start_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, runs: EvaluationQueue) -> None:
    names = list(deployment.catalogue.policies)
    blank: Form = {
        "policies": [],
        "estimators": list(DEFAULT_ESTIMATORS),
        "since": [""],
        "until": [""],
        "missing": [""],
    }

    def render_form(request: Request, form: Form, faults: Sequence[FieldError] = (), status: int = 200) -> Response:
        return pages.render(
            "evaluation_new.html",
            get_visit(request),
            status,
            form=form,
            faults={fault.field: fault.message for fault in faults},
            policies=names,
            active=deployment.active_policy,
            estimators=[(name, ASSUMPTIONS[name]) for name in (*FORMULAS, *LEDGER_FORMULAS)],
        )

    @routes.get("/evaluations/new")
    async def show_evaluation_form(request: Request) -> Response:
        return render_form(request, blank)

    @routes.post("/evaluations/new")
    async def start_evaluation(request: Request) -> Response:
        form = get_form(request)
        try:
            run = await runs.start(_parse_form(form), get_visit(request).client)
        except InvalidRequestError as error:
            faults = error.errors or [FieldError("form", error.detail)]
            empty: Form = {name: [""] if len(values) == 1 else [] for name, values in blank.items()}
            return render_form(request, {**empty, **form}, faults, 422)
        return RedirectResponse(build_link(f"/evaluations/{run.id}"), 303)


def _add_run_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext, runs: EvaluationQueue) -> None:
    @routes.get("/evaluations/{run:int}")
    async def show_evaluation(request: Request, run: int) -> Response:
        found = await find_run(runs, run)
        report = parse_summary(found)
        return pages.render(
            "evaluation.html",
            get_visit(request),
            run=build_view(found),
            summary=None if report is None else format_summary(report),
            policies=[] if report is None else [_build_policy_view(each, report) for each in report["policies"]],
            columns=COLUMN_HEADINGS,
            assumptions=[] if report is None else _list_assumptions(report),
            titles={} if report is None else describe_evaluation(report),
            active=deployment.active_policy,
        )

    @routes.get("/evaluations/{run:int}/figures.json")
    async def get_evaluation_figures(run: int) -> Response:
        report = parse_summary(await find_run(runs, run))
        figures = {} if report is None else await asyncio.to_thread(build_figures, report)
        return JSONResponse(figures, headers={"cache-control": "no-store"})

    add_progress_routes(routes, runs, "/evaluations")


def _parse_form(form: Form) -> dict[str, Any]:
    """What a posted form asks for, as a request would have it.

    Raises:
        InvalidRequestError: names every field that is wrong.
    """
    faults = []
    document: dict[str, Any] = {"policies": form.get("policies", []), "estimators": form.get("estimators", [])}
    for name, message in (("policies", "choose at least one"), ("estimators", "choose at least one")):
        if not document[name]:
            faults.append(FieldError(name, message))
    for name in _TIMES:
        text = get_field(form, name).strip()
        try:
            document[name] = format_timestamp(parse_bound(text)) if text else None
        except ValueError:
            faults.append(FieldError(name, "write 2026-01-31 or 2026-01-31T12:00, in UTC"))
    missing = get_field(form, "missing")
    if missing not in _MISSING:
        faults.append(FieldError("missing", "choose one of the two"))
    if faults:
        raise InvalidRequestError(faults[0].message, faults)
    return {**document, "missing_reward": _MISSING[missing]}


def _build_policy_view(policy: Mapping[str, Any], report: Mapping[str, Any]) -> _PolicyView:
    return _PolicyView(
        name=policy["policy"],
        heading=format_heading(policy),
        rows=format_rows(policy),
        doubts=format_warnings(policy),
        sentence=_format_finding(policy, report["log"]["mean_reward"]),
    )


def _format_finding(policy: Mapping[str, Any], logged: float) -> str:
    """What the estimate with the narrowest interval says, in one sentence.

    The direct method has the narrowest of all, which says nothing of its bias: it speaks only where it is alone.
    """
    known = [each for each in policy["estimates"] if each["low"] is not None and each["high"] is not None]
    known = [each for each in known if each["estimator"] != "dm"] or known
    if not known:
        return "The log cannot say what it would have earned."
    best = min(known, key=lambda each: each["high"] - each["low"])
    amount = f"{best['value']:.3f} a decision ({best['low']:.3f} to {best['high']:.3f}, {best['estimator']})"
    if any(not each["estimators"] or best["estimator"] in each["estimators"] for each in policy["doubts"]):
        return f"The log cannot tell yet: {amount}, against {logged:.3f}, is not to be believed, for the reason below."
    if best["low"] > logged:
        return f"It would have earned more than was logged: {amount}, against {logged:.3f}."
    if best["high"] < logged:
        return f"It would have earned less than was logged: {amount}, against {logged:.3f}."
    return f"Not told apart from what was logged: {amount}, against {logged:.3f}."


def _list_assumptions(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = dict.fromkeys(each["estimator"].partition("(")[0] for each in report["policies"][0]["estimates"])
    return [(name, ASSUMPTIONS[name]) for name in names]
