"""What ``bandstand judge`` does with a file of labelled turns: measures, calibrates, trains."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import typer

from bandstand.cli.report import progress
from bandstand.config.settings import Settings
from bandstand.errors import InvalidRequestError
from bandstand.judge.artifacts import calibration_path, keep, own_calibrations, weights_path
from bandstand.judge.calibration import MIN_EXAMPLES, Calibrations, Method, fit_calibration
from bandstand.judge.cascade import Mode
from bandstand.judge.gate import Gate
from bandstand.judge.local.classifier import shipped_weights
from bandstand.judge.taxonomy import SHIPPED, Taxonomy
from bandstand.judge.training.cross_validation import calibrated_elsewhere, trained_elsewhere
from bandstand.judge.training.dataset import Rows, parse_rows
from bandstand.judge.training.evaluation import Outcome, judge_rows, measured, report, scored_outcomes
from bandstand.judge.training.tier import Tier
from bandstand.judge.training.train import train_own
from bandstand.judge.verdict import Verdict
from bandstand.judging import configuration, llm_host, open_judges
from bandstand.judging import gate as judge_gate

_NAMED = 20
"""Most bad lines that are named on stderr; a file of another kind has thousands."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file of labelled turns.

    Attributes:
        file: where it is.
        rows: what it held.
    """

    file: Path
    rows: Rows

    def head(self) -> dict[str, Any]:
        """What every answer begins with: the file, and which of its lines were left out."""
        return {"file": str(self.file), "skipped": [{"at": at, "reason": reason} for at, reason in self.rows.bad]}


def labelled(file: Path, taxonomy: Taxonomy, *, strict: bool) -> Labelled:
    """Read labelled turns; bad lines are named on stderr and skipped, or refuse the file.

    Raises:
        InvalidRequestError: the file cannot be read, holds no labelled turn, or with ``strict`` a bad line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise InvalidRequestError(f"{str(file)!r}: {reason}") from error
    rows = parse_rows(text.split("\n"), taxonomy, strict=strict)  # splitlines would split at what stands in a turn
    for at, reason in rows.bad[:_NAMED]:
        typer.echo(f"{file}, {at}: {reason}; skipped", err=True)
    if len(rows.bad) > _NAMED:
        typer.echo(f"{file}: {len(rows.bad) - _NAMED:,} more lines skipped", err=True)
    if not rows.rows:
        raise InvalidRequestError(f"{str(file)!r} holds no labelled turns")
    return Labelled(file, rows)


@asynccontextmanager
async def chosen(mode: Mode, taxonomy: str | None, settings: Settings) -> AsyncIterator[Tier]:
    """Open the judge that flags name, as the service has it; where an LLM may be asked, its host is named on stderr.

    Raises:
        ConfigurationError: the deployment's own weights, taxonomies or rules are wrong, or the LLM has no key.
        InvalidRequestError: there is no such taxonomy.
    """
    host = llm_host(settings, mode=mode)
    if host is not None:
        typer.echo(f"{settings.judge_model} at {host} is asked where the tier {mode} asks it", err=True)
    async with open_judges(settings, mode=mode) as judges:
        yield judges.under(taxonomy)


async def evaluated(turns: Labelled, judge: Tier, settings: Settings) -> dict[str, Any]:
    """Measure a judge: :func:`bandstand.judge.training.evaluation.measured`, after the file's own facts."""
    gate = judge_gate(settings)
    return turns.head() | measured(judge, await _judged(turns, judge, gate), gate)


async def calibrated(
    turns: Labelled, judge: Tier, settings: Settings, *, method: Method, target_precision: float
) -> dict[str, Any]:
    """Fit a calibration to the verdicts of each tier that gave enough of them, and keep them where they are used.

    ``before`` and ``after`` are what the tier's verdicts are worth without a calibration, and with one fitted to the
    other four fifths of them.

    Raises:
        InvalidRequestError: no tier gave enough verdicts whose truth is known.
        ConfigurationError: the file of calibrations is broken, or cannot be written.
    """
    taxonomy, bare = judge.taxonomy, replace(judge_gate(settings), calibrations=Calibrations())
    kept, told = own_calibrations(settings.state_dir), []
    for (tier, model), outcomes in _by_tier(await _judged(turns, judge, bare)).items():
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
        calibration, elsewhere = fit(scored), calibrated_elsewhere(outcomes, taxonomy, gate=bare, fit=fit)
        kept = kept.renewed(calibration)
        known = calibration.as_json()
        del known["points"]
        after = None if elsewhere is None else report(elsewhere, taxonomy)
        told.append(known | {"before": report(outcomes, taxonomy), "after": after})
    if not told:
        raise InvalidRequestError(
            f"a calibration needs at least {MIN_EXAMPLES} verdicts of a tier whose truth is known"
        )
    path = calibration_path(settings.state_dir)
    keep(path, json.dumps(kept.as_json(), indent=1).encode())
    return turns.head() | {"written": str(path), "calibrations": told}


async def trained(turns: Labelled, taxonomy: Taxonomy, settings: Settings, *, name: str) -> dict[str, Any]:
    """Train the text model on a team's own labels, from the shipped weights on, and keep it where it is used.

    ``before`` and ``after`` are what the local tier is worth without it, and with weights trained on the other four
    fifths of the rows.

    Raises:
        InvalidRequestError: too few rows have a label or a polarity.
        ConfigurationError: the weights cannot be written.
    """
    rows, own = turns.rows.rows, configuration(settings)
    start = shipped_weights(taxonomy.name) if taxonomy.name in SHIPPED else None
    gate = replace(judge_gate(settings), calibrations=Calibrations())
    weights = train_own(rows, taxonomy, name=name, start=start)
    before = await judge_rows(own.local(taxonomy.name), rows, gate=gate)
    elsewhere = await trained_elsewhere(rows, taxonomy, partial(own.local, taxonomy.name), start=start, gate=gate)
    path = weights_path(settings.state_dir, taxonomy)
    keep(path, weights.to_bytes())
    return turns.head() | {
        "written": str(path),
        "model": f"{weights.name}@{weights.hash[:8]}",
        "n": len(rows),
        "before": report(before, taxonomy),
        "after": None if elsewhere is None else report(elsewhere, taxonomy),
    }


async def _judged(turns: Labelled, judge: Tier, gate: Gate) -> list[Outcome]:
    with progress("turns", len(turns.rows.rows)) as steps:
        return await judge_rows(judge, turns.rows.rows, gate=gate, progress=steps.so_far)


def _by_tier(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """The verdicts of each tier and model, in order."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if isinstance(outcome.judged, Verdict):
            found.setdefault((outcome.judged.tier, outcome.judged.model), []).append(outcome)
    return found
