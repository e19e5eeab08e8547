"""Evaluation: a judge against labelled turns, each direction of error counted apart, before the gate and above it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from bandstand.errors import InvalidRequestError
from bandstand.judge.calibration import CalibrationExample
from bandstand.judge.gate import Gate
from bandstand.judge.taxonomy import POLARITIES, Taxonomy
from bandstand.judge.training import metrics
from bandstand.judge.training.bootstrap import estimate_error
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.training.symmetry import measure_symmetry
from bandstand.judge.training.tier import Tier
from bandstand.judge.verdict import Unscored, Verdict

CONCURRENCY: Final = 32

Progress = Callable[[int, int], None]
"""Called with how many rows are done, and of how many."""


async def judge_rows(
    tier: Tier,
    rows: Sequence[LabelledTurn],
    *,
    gate: Gate | None = None,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
) -> list[JudgedRow]:
    """Let a tier judge every row, several at once; the outcomes keep the rows' order.

    Args:
        tier: the judge.
        rows: labelled turns.
        gate: what its verdicts would teach by; the contract's if left out.
        concurrency: how many judgements may run at once.
        progress: called after each.
    """
    gate = gate or Gate()
    slots = asyncio.Semaphore(concurrency)
    done = 0

    async def judge_row(row: LabelledTurn) -> JudgedRow:
        nonlocal done
        async with slots:
            judged = await tier.judge(row.turn.cut())
        done += 1
        if progress:
            progress(done, len(rows))
        return JudgedRow(row, judged, gate.apply(judged, tier.taxonomy))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(judge_row(row)) for row in rows]
    return [task.result() for task in tasks]


async def evaluate(
    tier: Tier,
    rows: Sequence[LabelledTurn],
    *,
    gate: Gate | None = None,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a tier on labelled turns: :func:`judge_rows`, then :func:`build_report`.

    Raises:
        InvalidRequestError: there are no rows.
    """
    if not rows:
        raise InvalidRequestError("there are no labelled turns to measure on")
    outcomes = await judge_rows(tier, rows, gate=gate, concurrency=concurrency, progress=progress)
    return build_judge_report(tier, outcomes, gate or Gate())


def build_judge_report(tier: Tier, outcomes: Sequence[JudgedRow], gate: Gate) -> dict[str, Any]:
    """Return :func:`build_report` with who judged and how the gate stood (``judge``, ``calibrations`` with their τ)."""
    judge = {
        "tier": tier.name,
        "model": tier.model,
        "taxonomy": tier.taxonomy.name,
        "tau": gate.tau,
        "gate": gate.mode,
        "calibrations": {o.applied.calibration: o.applied.tau for o in outcomes if o.applied.calibration},
    }
    return build_report(outcomes, tier.taxonomy) | {"judge": judge}


def build_report(outcomes: Sequence[JudgedRow], taxonomy: Taxonomy) -> dict[str, Any]:
    """Return one JSON object of everything measured; a ratio of nothing to nothing is null.

    ``polarity`` and ``labels`` compare verdicts with truth where it is known, ``gated`` holds the same over the turns
    that would teach, ``coverage`` is their share, ``called`` the share of verdicts by polarity, ``symmetry`` what
    becomes of praise and of complaints, and ``unscored`` counts failures by reason. Confidences are those after
    calibration.
    ``errors`` has the standard errors of the chief measures, by bootstrap over turns.
    """
    failures = Counter(outcome.judged.reason.value for outcome in outcomes if isinstance(outcome.judged, Unscored))
    taught = [outcome for outcome in outcomes if outcome.applied.should_update]
    costs = [outcome.judged.usage.cost for outcome in outcomes]
    return {
        "n": len(outcomes),
        **_compute_agreement(outcomes, taxonomy),
        "coverage": len(taught) / len(outcomes) if outcomes else None,
        "gated": _compute_agreement(taught, taxonomy),
        "symmetry": measure_symmetry(outcomes, taxonomy),
        "errors": _estimate_errors(outcomes, taxonomy),
        "unscored": dict(sorted(failures.items())),
        "llm_calls": sum(outcome.judged.usage.llm_calls for outcome in outcomes),
        "llm_calls_saved": sum(outcome.judged.usage.llm_calls == 0 for outcome in outcomes),
        "cost": sum(cost for cost in costs if cost is not None) if None not in costs else None,
    }


def _estimate_errors(outcomes: Sequence[JudgedRow], taxonomy: Taxonomy) -> dict[str, float | None]:
    def pick(section: str, measure: str, *, gated: bool = False) -> float | None:
        return estimate_error(
            [outcome for outcome in outcomes if not gated or outcome.applied.should_update],
            lambda drawn: _compute_agreement(drawn, taxonomy)[section].get(measure),
        )

    return {
        "macro_f1": pick("polarity", "macro_f1"),
        "gated_negative_precision": pick("polarity", "negative_precision", gated=True),
        "topic_shift_f1": pick("topic_shift", "f1"),
        "topic_shift_false_alarms": pick("topic_shift", "false_alarms"),
    }


def scored_outcomes(outcomes: Sequence[JudgedRow], taxonomy: Taxonomy) -> list[CalibrationExample]:
    """Return what a calibration is fitted to: every verdict whose truth is known."""
    return [
        CalibrationExample(
            verdict.confidence,
            correct,
            taxonomy.label(verdict.label).polarity == "negative",
            outcome.row.polarity == "negative",
        )
        for outcome, verdict in _select_verdicts(outcomes)
        if (correct := _is_correct(outcome.row, verdict, taxonomy)) is not None
    ]


def _select_verdicts(outcomes: Sequence[JudgedRow]) -> list[tuple[JudgedRow, Verdict]]:
    return [(outcome, outcome.judged) for outcome in outcomes if isinstance(outcome.judged, Verdict)]


def _compute_agreement(outcomes: Sequence[JudgedRow], taxonomy: Taxonomy) -> dict[str, Any]:
    verdicts = _select_verdicts(outcomes)
    called = Counter(taxonomy.label(verdict.label).polarity for _, verdict in verdicts)
    judged = [
        (outcome.applied.confidence, correct)
        for outcome, verdict in verdicts
        if (correct := _is_correct(outcome.row, verdict, taxonomy)) is not None
    ]
    signs = [(o.row.polarity, taxonomy.label(v.label).reward) for o, v in verdicts if o.row.polarity]
    return {
        "scored": len(verdicts),
        "polarity": _compute_polarity_metrics(
            [(o.row.polarity, taxonomy.label(v.label).polarity) for o, v in verdicts if o.row.polarity]
        ),
        "labels": _compute_label_metrics([(o.row.label, v.label) for o, v in verdicts if o.row.label]),
        "topic_shift": _compute_shift_metrics(
            [(o.row.topic_shift, v.label) for o, v in verdicts if o.row.topic_shift is not None]
        ),
        "called": {side: called[side] / len(verdicts) if verdicts else None for side in POLARITIES},
        "ece": metrics.compute_calibration_error([c for c, _ in judged], [right for _, right in judged]),
        "sign_flip_rate": metrics.compute_sign_flip_rate([side for side, _ in signs], [reward for _, reward in signs]),
    }


def _compute_polarity_metrics(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    truth, predicted = [true for true, _ in pairs], [called for _, called in pairs]
    return {
        "n": len(pairs),
        "accuracy": metrics.compute_accuracy(truth, predicted),
        "always_other": metrics.compute_constant_accuracy(truth, "other"),
        "macro_f1": metrics.compute_macro_f1(truth, predicted),
        "negative_precision": metrics.compute_precision(truth, predicted, "negative"),
        "negative_recall": metrics.compute_recall(truth, predicted, "negative"),
        "positive_precision": metrics.compute_precision(truth, predicted, "positive"),
        "positive_recall": metrics.compute_recall(truth, predicted, "positive"),
        "kappa": metrics.compute_kappa(truth, predicted),
        "confusion": metrics.compute_confusion(truth, predicted),
    }


def _compute_label_metrics(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    truth, predicted = [true for true, _ in pairs], [called for _, called in pairs]
    return {
        "n": len(pairs),
        "accuracy": metrics.compute_accuracy(truth, predicted),
        "macro_f1": metrics.compute_macro_f1(truth, predicted),
        "kappa": metrics.compute_kappa(truth, predicted),
        "confusion": metrics.compute_confusion(truth, predicted),
    }


def _compute_shift_metrics(pairs: Sequence[tuple[bool, str]]) -> dict[str, Any]:
    truth = ["topic_shift" if shifts else "same" for shifts, _ in pairs]
    predicted = [label if label == "topic_shift" else "same" for _, label in pairs]
    return {
        "n": len(pairs),
        "f1": metrics.compute_f1(truth, predicted, "topic_shift"),
        "precision": metrics.compute_precision(truth, predicted, "topic_shift"),
        "recall": metrics.compute_recall(truth, predicted, "topic_shift"),
        "false_alarms": metrics.compute_false_alarm_rate(truth, predicted, "topic_shift"),
    }


def _is_correct(row: LabelledTurn, verdict: Verdict, taxonomy: Taxonomy) -> bool | None:
    """Compare labels where the true one is known, else polarities; None if neither is."""
    if row.label is not None:
        return row.label == verdict.label
    if row.polarity is not None:
        return row.polarity == taxonomy.label(verdict.label).polarity
    return None
