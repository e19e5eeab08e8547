"""How good training or calibration is on unseen turns: fitted to four fifths, tested on the remaining fifth.

A part is a run of neighbouring rows, since neighbours are often of one dialogue, and a dialogue that stands on both
sides tells the judge what it is asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from bandstand.judge.calibration import MIN_EXAMPLES, Calibration, CalibrationExample, Calibrations
from bandstand.judge.gate import Gate
from bandstand.judge.local.classifier import Weights
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.evaluation import Progress, judge_rows, scored_outcomes
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.training.tier import Tier
from bandstand.judge.training.train import MIN_ROWS, train_own

FOLDS: Final = 5

_Any = TypeVar("_Any")


def split(items: Sequence[_Any], fold: int, folds: int = FOLDS) -> tuple[list[_Any], list[_Any]]:
    """Return the items outside a part and those inside it; parts are runs of neighbours, of nearly one size.

    >>> split("abcdefg", 1, 3)
    (['a', 'b', 'e', 'f', 'g'], ['c', 'd'])
    """
    start, end = fold * len(items) // folds, (fold + 1) * len(items) // folds
    return [*items[:start], *items[end:]], list(items[start:end])


async def evaluate_training(
    rows: Sequence[LabelledTurn],
    taxonomy: Taxonomy,
    judge_with: Callable[[Weights], Tier],
    *,
    start: Weights | None,
    gate: Gate | None = None,
    progress: Progress | None = None,
) -> list[JudgedRow] | None:
    """Judge every part by weights trained on the other parts.

    Args:
        rows: labelled turns.
        taxonomy: whose labels they have.
        judge_with: makes the judge of its weights.
        start: what training starts from; from nothing if None.
        gate: what the verdicts would teach by.
        progress: called after each turn of a part, with how many of it are done.

    Returns:
        The outcomes in the rows' order; None if the other parts are too few to train with.
    """
    outcomes: list[JudgedRow] = []
    for part in range(FOLDS):
        known, held_out = split(rows, part)
        if len(known) < MIN_ROWS:
            return None
        judge = judge_with(train_own(known, taxonomy, name="elsewhere", start=start))
        outcomes += await judge_rows(judge, held_out, gate=gate, progress=progress)
    return outcomes


def evaluate_calibration(
    outcomes: Sequence[JudgedRow],
    taxonomy: Taxonomy,
    *,
    gate: Gate,
    fit: Callable[[Sequence[CalibrationExample]], Calibration],
) -> list[JudgedRow] | None:
    """Apply to the verdicts of every part a calibration, with its τ, that was fitted to the other parts.

    Args:
        outcomes: verdicts of one judge.
        taxonomy: whose labels they have.
        gate: what they would teach by; its calibrations are left out.
        fit: makes a calibration from verdicts and true labels.

    Returns:
        The outcomes in order; None if the other parts are too few to fit to.
    """
    calibrated: list[JudgedRow] = []
    for part in range(FOLDS):
        known, held_out = split(outcomes, part)
        scored = scored_outcomes(known, taxonomy)
        if len(scored) < MIN_EXAMPLES:
            return None
        fold_gate = replace(gate, calibrations=Calibrations((fit(scored),)))
        calibrated += [JudgedRow(each.row, each.judged, fold_gate.apply(each.judged, taxonomy)) for each in held_out]
    return calibrated
