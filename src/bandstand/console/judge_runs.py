"""Calibrations and trainings on people's labels, as the page of the review starts and shows them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.form import get_field
from bandstand.console.pages import build_link, format_percent
from bandstand.console.runs import RunView, add_progress_routes, build_view, parse_summary
from bandstand.judge.calibration import MIN_EXAMPLES
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service.judge_runs import JudgeRunPlan, JudgeRunQueue, UnknownJudgeRunError
from bandstand.store.tables.console_queries import ConsoleSource
from bandstand.store.tables.run_table import RunRecord

_SHOWN = 5
_PATH = "/judge/runs"
_PAGE = "/judge/review"
_ACTS = "In use since the service's last start."
_WAITS = "Not in use yet: the service and its judge read it at their next start."
_REPLACED = "Not in use: a newer one took its place."
_WORSE = "That is worse than before: more labels may help, or it is taken back."
_OUTDATED = "It is of the judge before its newest training, so calibrate again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What people's labels under a taxonomy can be used for.

    Attributes:
        taxonomy: its name.
        labels: turns with a label and their words.
        missing: how many more are needed first.
    """

    taxonomy: str
    labels: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRunView:
    """A run, ready to print.

    Attributes:
        run: how it stands.
        findings: what came out, a sentence each.
        effect: from when it acts; empty where it has taught nothing.
    """

    run: RunView
    findings: Sequence[str]
    effect: str


def add_judge_run_routes(routes: APIRouter, judging: JudgeWorker, sight: ConsoleSource, runs: JudgeRunQueue) -> None:
    """Add the form that starts a run, how far one is, and the forms that stop it and delete it."""

    @routes.post(_PATH)
    async def start_judge_run(request: Request) -> Response:
        form = get_form(request)
        plan = JudgeRunPlan.build(get_field(form, "kind"), get_field(form, "taxonomy"))
        if plan.taxonomy not in judging.options.taxonomies:
            raise PageNotFoundError("there is no taxonomy of that name")
        counts = await sight.count_labelled_turns()
        await runs.start(plan, counts.get(plan.taxonomy, 0), get_visit(request).client)
        return RedirectResponse(build_link(_PAGE), 303)

    add_progress_routes(routes, runs, _PATH, _PAGE)


async def load_lessons(judging: JudgeWorker, sight: ConsoleSource) -> list[Lesson]:
    """What can be learned: under the default taxonomy, and under every other that people gave labels of."""
    counts = await sight.count_labelled_turns()
    names = [name for name in judging.options.taxonomies if name in counts or name == judging.options.default_taxonomy]
    return [
        Lesson(taxonomy=name, labels=counts.get(name, 0), missing=max(0, MIN_EXAMPLES - counts.get(name, 0)))
        for name in names
    ]


async def list_judge_runs(runs: JudgeRunQueue) -> list[JudgeRunView]:
    """The newest runs, newest first."""
    found = []
    for each in await runs.list_page(before=None, limit=_SHOWN):
        with suppress(UnknownJudgeRunError):  # it was deleted meanwhile
            found.append(await runs.get(each.id))
    return list(_build_views(found, runs.made_at))


def _build_views(newest_first: Sequence[RunRecord], made_at: float) -> Iterator[JudgeRunView]:
    replaced: set[tuple[str, str]] = set()
    for record in newest_first:
        plan, report = JudgeRunPlan.from_json(record.plan), parse_summary(record)
        effect = ""
        if record.state == "done" and report is not None:
            key = plan.kind, plan.taxonomy
            if key in replaced:
                effect = _REPLACED
            elif plan.kind == "calibrate" and ("train", plan.taxonomy) in replaced:
                effect = _OUTDATED
            else:
                effect = _ACTS if (record.ended or 0.0) < made_at else _WAITS
            replaced.add(key)
        findings = () if report is None else tuple(_format_findings(plan, report))
        yield JudgeRunView(run=build_view(record), findings=findings, effect=effect)


def _format_findings(plan: JudgeRunPlan, report: Mapping[str, Any]) -> Iterator[str]:
    """What was learned, and how good it is on labels that it was not learned from."""
    if report["skipped"]:
        yield f"{report['skipped']:,} of the labels were left out: they contradict others, or their label is gone."
    if plan.kind == "train":
        yield f"{report['model']} was trained on {report['n']:,} labels."
        yield from _format_comparison("Praise, complaint or neither, told right", report, "accuracy")
        yield from _format_comparison("What it calls a complaint is one", report, "negative_precision")
        yield from _format_comparison("Complaints that it finds", report, "negative_recall")
        if _is_less(_get_share(report, "after", "accuracy"), _get_share(report, "before", "accuracy")):
            yield _WORSE
        return
    for each in report["calibrations"]:
        yield f"{each['tier']} ({each['model']}) was calibrated on {each['examples']:,} verdicts."
        before, after = each["before"]["ece"], (each["after"] or {}).get("ece")
        if before is not None and after is not None:
            yield f"How far its confidence is off, on average: {before:.3f} before, {after:.3f} after."
            if before < after:
                yield _WORSE
        elif before is not None:
            yield f"How far its confidence was off, on average: {before:.3f}. {_describe_missing_after()}"
        wanted = format_percent(each["target_precision"], 0)
        yield (
            f"Complaints teach from a confidence of {each['tau']:.2f} on, where {wanted} of them are right."
            if each["tau"] is not None
            else f"No threshold makes {wanted} of its complaints right; JUDGE_TAU stays in force."
        )


def _format_comparison(what: str, report: Mapping[str, Any], measure: str) -> Iterator[str]:
    before, after = (_get_share(report, when, measure) for when in ("before", "after"))
    if before is not None and after is not None:
        yield f"{what}: {format_percent(before, 0)} before, {format_percent(after, 0)} after."
    elif before is not None and measure == "accuracy":
        yield f"{what}: {format_percent(before, 0)} before. {_describe_missing_after()}"


def _get_share(report: Mapping[str, Any], when: str, measure: str) -> float | None:
    share: float | None = None if report[when] is None else report[when]["polarity"][measure]
    return share


def _is_less(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one < other


def _describe_missing_after() -> str:
    return "There are too few labels to say what it is after, on labels that it has not seen."
