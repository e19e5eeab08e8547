"""Evaluation: a judge against labelled turns, each direction of error counted apart, before the gate and above it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bandstand.errors import InvalidRequestError
from bandstand.judge.calibration import Scored
from bandstand.judge.gate import Applied, Gate
from bandstand.judge.taxonomy import POLARITIES, Taxonomy
from bandstand.judge.training import metrics
from bandstand.judge.training.dataset import Row
from bandstand.judge.training.tier import Tier
from bandstand.judge.verdict import Judged, Unscored, Verdict

CONCURRENCY: Final = 32

Progress = Callable[[int, int], None]
"""Called with how many rows are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row, what the judge said of it, and what that would teach."""

    row: Row
    judged: Judged
    applied: Applied


async def judge_rows(
    tier: Tier,
    rows: Sequence[Row],
    *,
    gate: Gate | None = None,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Have a tier judge every row, so many at once; the outcomes keep the rows' order.

    Args:
        tier: the judge.
        rows: labelled turns.
        gate: what its verdicts would teach by; the contract's if left out.
        concurrency: how many judgements may run at once.
        progress: called after each.
    """
    gate = gate or Gate()
    free = asyncio.Semaphore(concurrency)
    done = 0

    async def one(row: Row) -> Outcome:
        nonlocal done
        async with free:
            judged = await tier.judge(row.turn.cut())
        done += 1
        if progress:
            progress(done, len(rows))
        return Outcome(row, judged, gate.applied(judged, tier.taxonomy))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(row)) for row in rows]
    return [task.result() for task in tasks]


async def evaluate(
    tier: Tier,
    rows: Sequence[Row],
    *,
    gate: Gate | None = None,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a tier on labelled turns: :func:`judge_rows`, then :func:`report`.

    Raises:
        InvalidRequestError: there are no rows.
    """
    if not rows:
        raise InvalidRequestError("there are no labelled turns to measure on")
    outcomes = await judge_rows(tier, rows, gate=gate, concurrency=concurrency, progress=progress)
    return measured(tier, outcomes, gate or Gate())


def measured(tier: Tier, outcomes: Sequence[Outcome], gate: Gate) -> dict[str, Any]:
    """Return :func:`report` with who judged and how the gate stood: ``judge``, its ``calibrations`` with their τ."""
    judge = {
        "tier": tier.name,
        "model": tier.model,
        "taxonomy": tier.taxonomy.name,
        "tau": gate.tau,
        "gate": gate.mode,
        "calibrations": {o.applied.calibration: o.applied.tau for o in outcomes if o.applied.calibration},
    }
    return report(outcomes, tier.taxonomy) | {"judge": judge}


def report(outcomes: Sequence[Outcome], taxonomy: Taxonomy) -> dict[str, Any]:
    """Return one JSON object of everything measured; a ratio of nothing to nothing is null.

    ``polarity`` and ``labels`` compare verdicts with truth where it is known, ``gated`` holds the same over the turns
    that would teach, ``coverage`` is their share, ``called`` the share of verdicts by polarity, and ``unscored`` counts
    failures by reason. Confidences are those after calibration.
    """
    failures = Counter(outcome.judged.reason.value for outcome in outcomes if isinstance(outcome.judged, Unscored))
    taught = [outcome for outcome in outcomes if outcome.applied.should_update]
    costs = [outcome.judged.usage.cost for outcome in outcomes]
    return {
        "n": len(outcomes),
        **_agreement(outcomes, taxonomy),
        "coverage": len(taught) / len(outcomes) if outcomes else None,
        "gated": _agreement(taught, taxonomy),
        "unscored": dict(sorted(failures.items())),
        "llm_calls": sum(outcome.judged.usage.llm_calls for outcome in outcomes),
        "llm_calls_saved": sum(outcome.judged.usage.llm_calls == 0 for outcome in outcomes),
        "cost": sum(cost for cost in costs if cost is not None) if None not in costs else None,
    }


def scored_outcomes(outcomes: Sequence[Outcome], taxonomy: Taxonomy) -> list[Scored]:
    """Return what a calibration is fitted to: every verdict whose truth is known."""
    return [
        Scored(
            verdict.confidence,
            correct,
            taxonomy.label(verdict.label).polarity == "negative",
            outcome.row.polarity == "negative",
        )
        for outcome, verdict in _verdicts(outcomes)
        if (correct := _correct(outcome.row, verdict, taxonomy)) is not None
    ]


def _verdicts(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, Verdict]]:
    return [(outcome, outcome.judged) for outcome in outcomes if isinstance(outcome.judged, Verdict)]


def _agreement(outcomes: Sequence[Outcome], taxonomy: Taxonomy) -> dict[str, Any]:
    verdicts = _verdicts(outcomes)
    called = Counter(taxonomy.label(verdict.label).polarity for _, verdict in verdicts)
    judged = [
        (outcome.applied.confidence, correct)
        for outcome, verdict in verdicts
        if (correct := _correct(outcome.row, verdict, taxonomy)) is not None
    ]
    signs = [(o.row.polarity, taxonomy.label(v.label).reward) for o, v in verdicts if o.row.polarity]
    return {
        "scored": len(verdicts),
        "polarity": _polarities(
            [(o.row.polarity, taxonomy.label(v.label).polarity) for o, v in verdicts if o.row.polarity]
        ),
        "labels": _labels([(o.row.label, v.label) for o, v in verdicts if o.row.label]),
        "topic_shift": _shifts([(o.row.topic_shift, v.label) for o, v in verdicts if o.row.topic_shift is not None]),
        "called": {side: called[side] / len(verdicts) if verdicts else None for side in POLARITIES},
        "ece": metrics.calibration_error([c for c, _ in judged], [right for _, right in judged]),
        "sign_flip_rate": metrics.sign_flip_rate([side for side, _ in signs], [reward for _, reward in signs]),
    }


def _polarities(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    truth, said = [true for true, _ in pairs], [called for _, called in pairs]
    return {
        "n": len(pairs),
        "accuracy": metrics.accuracy(truth, said),
        "always_other": metrics.constant_accuracy(truth, "other"),
        "macro_f1": metrics.macro_f1(truth, said),
        "negative_precision": metrics.precision(truth, said, "negative"),
        "negative_recall": metrics.recall(truth, said, "negative"),
        "positive_precision": metrics.precision(truth, said, "positive"),
        "positive_recall": metrics.recall(truth, said, "positive"),
        "kappa": metrics.kappa(truth, said),
        "confusion": metrics.confusion(truth, said),
    }


def _labels(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    truth, said = [true for true, _ in pairs], [called for _, called in pairs]
    return {
        "n": len(pairs),
        "accuracy": metrics.accuracy(truth, said),
        "macro_f1": metrics.macro_f1(truth, said),
        "kappa": metrics.kappa(truth, said),
        "confusion": metrics.confusion(truth, said),
    }


def _shifts(pairs: Sequence[tuple[bool, str]]) -> dict[str, Any]:
    truth = ["topic_shift" if shifts else "same" for shifts, _ in pairs]
    said = [label if label == "topic_shift" else "same" for _, label in pairs]
    return {
        "n": len(pairs),
        "precision": metrics.precision(truth, said, "topic_shift"),
        "recall": metrics.recall(truth, said, "topic_shift"),
    }


def _correct(row: Row, verdict: Verdict, taxonomy: Taxonomy) -> bool | None:
    """Compare labels where the true one is known, else polarities; None where neither is."""
    if row.label is not None:
        return row.label == verdict.label
    if row.polarity is not None:
        return row.polarity == taxonomy.label(verdict.label).polarity
    return None
