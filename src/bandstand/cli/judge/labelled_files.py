"""What ``bandstand judge`` does with a file of labelled turns: measures, calibrates, trains."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import typer

from bandstand.cli.judge.turn_files import describe_other_form, open_records, report_faults
from bandstand.cli.report import show_progress
from bandstand.config.settings import Settings
from bandstand.errors import InvalidRequestError
from bandstand.judge.artifacts import get_calibration_path, get_weights_path, read_calibrations, write_file
from bandstand.judge.calibration import MIN_EXAMPLES, Calibrations, Method, fit_calibration
from bandstand.judge.cascade import Mode
from bandstand.judge.gate import Gate
from bandstand.judge.local.classifier import shipped_weights
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES, Taxonomy
from bandstand.judge.training.cross_validation import evaluate_calibration, evaluate_training
from bandstand.judge.training.dataset import LabelledTurns, parse_records, parse_rows
from bandstand.judge.training.evaluation import (
    Progress,
    build_judge_report,
    build_report,
    judge_rows,
    scored_outcomes,
)
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.training.symmetry import read_balanced_set
from bandstand.judge.training.tier import Tier
from bandstand.judge.training.train import train_own
from bandstand.judge.verdict import Verdict
from bandstand.judging import configuration, llm_host, open_judges
from bandstand.judging import gate as judge_gate


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A file of labelled turns.

    Attributes:
        file: where it is.
        rows: what it held.
    """

    file: Path
    rows: LabelledTurns

    def describe(self) -> dict[str, Any]:
        """What every answer begins with: the file, and which of its lines were left out."""
        return {"file": str(self.file), "skipped": [{"at": at, "reason": reason} for at, reason in self.rows.bad]}


def read_labelled_file(file: Path, taxonomy: Taxonomy, *, strict: bool) -> LabelledFile:
    """Read labelled turns; bad lines are named on stderr and skipped, or refuse the file.

    Raises:
        InvalidRequestError: the file cannot be read, holds no labelled turn, or with ``strict`` a bad line.
    """
    with open_records(file) as records:
        rows = parse_records(records, taxonomy, strict=strict)
    if not rows.rows:
        raise InvalidRequestError(describe_other_form(file, rows.bad))
    report_faults(file, rows.bad)
    return LabelledFile(file, rows)


def read_balanced(taxonomy: Taxonomy, half: str | None) -> LabelledFile:
    """Read the balanced set that ships, or one of its halves."""
    return LabelledFile(Path("the balanced set"), parse_rows(read_balanced_set(half), taxonomy, strict=True))


@asynccontextmanager
async def open_judge(mode: Mode, taxonomy: str | None, settings: Settings) -> AsyncIterator[Tier]:
    """Open the judge that flags name, configured as in the service.

    If an LLM may be asked, its host is named on stderr.

    Raises:
        ConfigurationError: the deployment's own weights, taxonomies or rules are wrong, or the LLM has no key.
        InvalidRequestError: there is no such taxonomy.
    """
    host = llm_host(settings, mode=mode)
    if host is not None:
        typer.echo(f"{settings.judge_model} at {host} is asked where the tier {mode} asks it", err=True)
    async with open_judges(settings, mode=mode) as judges:
        yield judges.get_judge(taxonomy)


async def evaluate_judge(turns: LabelledFile, judge: Tier, settings: Settings) -> dict[str, Any]:
    """Measure a judge: :func:`bandstand.judge.training.evaluation.build_judge_report`, after the file's own facts."""
    gate = judge_gate(settings)
    return turns.describe() | build_judge_report(judge, await _collect_outcomes(turns, judge, gate), gate)


async def calibrate_judge(
    turns: LabelledFile,
    judge: Tier,
    settings: Settings,
    *,
    method: Method,
    target_precision: float,
    progress: Progress | None = None,
    before_write: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Fit a calibration to the verdicts of each tier that gave enough of them, and keep them where they are used.

    ``before`` and ``after`` are what the tier's verdicts are worth without a calibration, and with one fitted to the
    other four fifths of them.

    Args:
        turns: labelled turns.
        judge: whose verdicts are calibrated.
        settings: the deployment's.
        method: how confidence is mapped.
        target_precision: of the negative verdicts above τ, how many must be right.
        progress: called after each turn; shown on a terminal if left out.
        before_write: called before the file is written; what it raises keeps it as it was.

    Raises:
        InvalidRequestError: no tier gave enough verdicts whose truth is known.
        ConfigurationError: the file of calibrations is broken, or cannot be written.
    """
    taxonomy, bare = judge.taxonomy, replace(judge_gate(settings), calibrations=Calibrations())
    kept, told = read_calibrations(settings.state_dir), []
    for (tier, model), outcomes in _group_by_tier(await _collect_outcomes(turns, judge, bare, progress)).items():
        scored = scored_outcomes(outcomes, taxonomy)
        if len(scored) < MIN_EXAMPLES:
            typer.echo(f"{tier}: only {len(scored)} verdicts whose truth is known; not calibrated", err=True)
            continue
        fit = partial(
            fit_calibration,
            tier=tier,
            model=model,
            taxonomy=taxonomy.name,
            method=method,
            target_precision=target_precision,
        )
        calibration, elsewhere = fit(scored), evaluate_calibration(outcomes, taxonomy, gate=bare, fit=fit)
        kept = kept.with_calibration(calibration)
        known = calibration.as_json()
        del known["points"]
        after = None if elsewhere is None else build_report(elsewhere, taxonomy)
        told.append(known | {"before": build_report(outcomes, taxonomy), "after": after})
    if not told:
        raise InvalidRequestError(
            f"a calibration needs at least {MIN_EXAMPLES} verdicts of a tier whose truth is known"
        )
    if before_write is not None:
        before_write()
    path = get_calibration_path(settings.state_dir)
    write_file(path, json.dumps(kept.as_json(), indent=1).encode())
    return turns.describe() | {"written": str(path), "calibrations": told}


async def train_judge(
    turns: LabelledFile,
    taxonomy: Taxonomy,
    settings: Settings,
    *,
    name: str,
    progress: Progress | None = None,
    before_write: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train the text model on a team's own labels, from the shipped weights on, and keep it where it is used.

    ``before`` and ``after`` are what the local tier is worth without it, and with weights trained on the other four
    fifths of the rows.

    Args:
        turns: labelled turns.
        taxonomy: whose labels they have.
        settings: the deployment's.
        name: what verdicts call the weights.
        progress: called after each turn that is judged, as it is before and by what was learned from the others.
        before_write: called before the file is written; what it raises keeps it as it was.

    Raises:
        InvalidRequestError: too few rows have a label or a polarity.
        ConfigurationError: the weights cannot be written.
    """
    rows, own = turns.rows.rows, configuration(settings)
    start = shipped_weights(taxonomy.name) if taxonomy.name in SHIPPED_TAXONOMIES else None
    gate = replace(judge_gate(settings), calibrations=Calibrations())
    weights = train_own(rows, taxonomy, name=name, start=start)
    step = None if progress is None else _count_steps(progress, 2 * len(rows))
    before = await judge_rows(own.build_local(taxonomy.name), rows, gate=gate, progress=step)
    elsewhere = await evaluate_training(
        rows, taxonomy, partial(own.build_local, taxonomy.name), start=start, gate=gate, progress=step
    )
    if before_write is not None:
        before_write()
    path = get_weights_path(settings.state_dir, taxonomy)
    write_file(path, weights.to_bytes())
    return turns.describe() | {
        "written": str(path),
        "model": f"{weights.name}@{weights.hash[:8]}",
        "n": len(rows),
        "before": build_report(before, taxonomy),
        "after": None if elsewhere is None else build_report(elsewhere, taxonomy),
    }


def _count_steps(progress: Progress, total: int) -> Progress:
    """Count turns on over several rounds of judging, of which each counts its own."""
    steps = count(1)
    return lambda _done, _total: progress(next(steps), total)


async def _collect_outcomes(
    turns: LabelledFile, judge: Tier, gate: Gate, progress: Progress | None = None
) -> list[JudgedRow]:
    if progress is not None:
        return await judge_rows(judge, turns.rows.rows, gate=gate, progress=progress)
    with show_progress("turns", len(turns.rows.rows)) as steps:
        return await judge_rows(judge, turns.rows.rows, gate=gate, progress=steps.update)


def _group_by_tier(outcomes: Sequence[JudgedRow]) -> dict[tuple[str, str], list[JudgedRow]]:
    """The verdicts of each tier and model, in order."""
    found: dict[tuple[str, str], list[JudgedRow]] = {}
    for outcome in outcomes:
        if isinstance(outcome.judged, Verdict):
            found.setdefault((outcome.judged.tier, outcome.judged.model), []).append(outcome)
    return found
