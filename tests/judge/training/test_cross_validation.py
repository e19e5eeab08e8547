from functools import partial

import pytest

from bandstand.judge.calibration import Calibration, CalibrationExample, fit_calibration
from bandstand.judge.gate import Gate
from bandstand.judge.local.classifier import Weights
from bandstand.judge.local.local_judge import Local
from bandstand.judge.training.cross_validation import FOLDS, evaluate_calibration, evaluate_training, split
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.evaluation import build_report
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.turn import Turn
from tests.judge.given import FOLLOWUP, TOLD, verdict

FIT = partial(fit_calibration, tier="local", model="m@1", taxonomy="followup-v1")


@pytest.mark.parametrize("count", [0, 1, 4, 5, 7, 100])
def test_every_row_is_in_one_part_and_never_on_both_sides(count: int) -> None:
    rows = list(range(count))
    halves = [split(rows, part) for part in range(FOLDS)]
    assert [row for _, asked in halves for row in asked] == rows
    for known, asked in halves:
        assert sorted(known + asked) == rows
        assert count // FOLDS <= len(asked) <= -(-count // FOLDS)


def outcome(number: int, confidence: float, *, right: bool) -> JudgedRow:
    row = LabelledTurn(number, Turn("", TOLD, "x"), "neg_correction" if right else "neutral", "other", None)
    if right:
        row = LabelledTurn(number, Turn("", TOLD, "x"), "neg_correction", "negative", None)
    judged = verdict("neg_correction", confidence)
    return JudgedRow(row, judged, Gate().apply(judged, FOLLOWUP))


def test_a_part_is_calibrated_by_the_others_and_their_tau() -> None:
    outcomes = [outcome(number, 0.9, right=number % 2 == 0) for number in range(100)]
    calibrated = evaluate_calibration(outcomes, FOLLOWUP, gate=Gate(), fit=FIT)
    assert calibrated is not None
    assert [each.judged for each in calibrated] == [each.judged for each in outcomes]
    assert {each.applied.confidence for each in calibrated} == {0.5}
    assert (build_report(outcomes, FOLLOWUP)["coverage"], build_report(calibrated, FOLLOWUP)["coverage"]) == (1.0, 0.0)


def test_the_map_of_a_part_never_saw_it() -> None:
    """The last fifth alone is always right: its own calibration would say so, the others' cannot."""
    outcomes = [outcome(number, 0.9, right=number >= 80) for number in range(100)]
    seen: list[float] = []

    def fit(scored: list[CalibrationExample]) -> Calibration:
        seen.append(sum(one.correct for one in scored) / len(scored))
        return FIT(scored)

    calibrated = evaluate_calibration(outcomes, FOLLOWUP, gate=Gate(), fit=fit)  # type: ignore[arg-type]  # of lists
    assert calibrated is not None
    assert seen == [0.25, 0.25, 0.25, 0.25, 0.0]
    assert {each.applied.confidence for each in calibrated[80:]} == {0.0}


def test_too_few_to_fit_to_is_said() -> None:
    few = [outcome(number, 0.9, right=True) for number in range(24)]
    assert evaluate_calibration(few, FOLLOWUP, gate=Gate(), fit=FIT) is None


def build_labelled(count: int) -> list[LabelledTurn]:
    says = {"chef's kiss": "positive", "computer says nope": "negative", "brb": "other"}
    texts = list(says)
    return [
        LabelledTurn(at, Turn("", TOLD, texts[at % 3]), None, says[texts[at % 3]], None)  # type: ignore[arg-type]  # polarities
        for at in range(count)
    ]


@pytest.mark.slow
async def test_a_part_is_judged_by_weights_of_the_others() -> None:
    trained: list[Weights] = []

    def judge_with(weights: Weights) -> Local:
        trained.append(weights)
        return Local.shipped(FOLLOWUP, weights)

    rows = build_labelled(60)
    outcomes = await evaluate_training(rows, FOLLOWUP, judge_with, start=None)
    assert outcomes is not None
    assert [each.row for each in outcomes] == rows
    assert len(trained) == FOLDS
    found = build_report(outcomes, FOLLOWUP)
    assert found["polarity"]["accuracy"] == 1.0
    assert await evaluate_training(build_labelled(24), FOLLOWUP, judge_with, start=None) is None
