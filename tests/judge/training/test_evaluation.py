import asyncio
import json
from typing import Any

import pytest

from bandstand.errors import InvalidRequestError
from bandstand.judge.calibration import Calibrations, fit_calibration
from bandstand.judge.gate import Gate, applied
from bandstand.judge.taxonomy import Polarity, Taxonomy
from bandstand.judge.training.dataset import LabelledTurn, parse_rows
from bandstand.judge.training.evaluation import build_report, evaluate, judge_rows, scored_outcomes
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.turn import CutTurn, Turn
from bandstand.judge.verdict import Judged, Unscored, UnscoredReason, Usage, Verdict
from tests.judge.given import FOLLOWUP, TOLD, local, verdict


class Scripted:
    """A tier that says what the message tells it to: ``label confidence``, or ``! reason``."""

    name = "scripted"
    model = "scripted@1"

    def __init__(self) -> None:
        self.running = self.most_running = 0

    @property
    def taxonomy(self) -> Taxonomy:
        return FOLLOWUP

    async def judge(self, turn: CutTurn) -> Judged:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.001 * (len(turn.query_t1) % 3))
        self.running -= 1
        label, value = turn.query_t1.split()
        usage = Usage(llm_calls=1, cost=0.5)
        if label == "!":
            return Unscored(
                taxonomy="followup-v1", reason=UnscoredReason(value), tier="llm", model=self.model, usage=usage
            )
        return verdict(label, float(value), tier="llm", usage=usage)


def row(
    message: str, label: str | None = None, polarity: Polarity | None = None, shift: bool | None = None
) -> LabelledTurn:
    known = polarity or (FOLLOWUP.label(label).polarity if label else None)
    return LabelledTurn(1, Turn("", TOLD, message), label, known, shift)


ROWS = [
    row("neg_correction 0.9", "neg_correction"),
    row("neg_confusion 0.9", "neg_correction"),
    row("pos_praise 0.9", "neg_correction"),
    row("pos_praise 0.5", "pos_praise"),
    row("pos_progress 0.8", "neutral"),
    row("topic_shift 0.9", "neutral", shift=True),
    row("neutral 0.7", polarity="positive"),
    row("! timeout", "pos_praise"),
]


async def test_the_object_is_what_was_promised() -> None:
    found = await evaluate(Scripted(), ROWS)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) >= {"n", "polarity", "labels", "coverage", "ece", "sign_flip_rate", "gated", "llm_calls"}
    assert set(found["polarity"]) >= {"macro_f1", "negative_precision", "negative_recall", "kappa", "confusion"}
    assert set(found["gated"]) >= {"polarity", "labels", "ece", "sign_flip_rate"}
    assert set(found["gated"]["polarity"]) == set(found["polarity"])


async def test_the_numbers_are_those_of_the_rows() -> None:
    found = await evaluate(Scripted(), ROWS)
    assert (found["n"], found["scored"], found["unscored"]) == (8, 7, {"timeout": 1})
    assert (found["llm_calls"], found["llm_calls_saved"], found["cost"]) == (8, 0, 4.0)
    polarity = found["polarity"]
    assert polarity["confusion"] == {
        "negative": {"negative": 2, "other": 0, "positive": 1},
        "other": {"negative": 0, "other": 2, "positive": 0},
        "positive": {"negative": 0, "other": 1, "positive": 1},
    }
    assert (polarity["accuracy"], polarity["always_other"]) == (5 / 7, 2 / 7)
    assert (polarity["negative_precision"], polarity["negative_recall"]) == (1.0, 2 / 3)
    assert (found["labels"]["n"], found["labels"]["accuracy"]) == (6, 2 / 6)
    assert found["sign_flip_rate"] == 1 / 7
    assert found["topic_shift"] == {
        "n": 1,
        "f1": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "false_alarms": None,
    }
    assert found["called"] == {"negative": 2 / 7, "positive": 2 / 7, "other": 3 / 7}
    assert found["judge"] == {
        "tier": "scripted",
        "model": "scripted@1",
        "taxonomy": "followup-v1",
        "tau": 0.6,
        "gate": "hard",
        "calibrations": {},
    }


async def test_only_what_teaches_is_above_the_gate() -> None:
    found = await evaluate(Scripted(), ROWS)
    assert found["coverage"] == 5 / 8
    assert found["gated"]["scored"] == 5
    assert found["gated"]["sign_flip_rate"] == 1 / 5
    strict = await evaluate(Scripted(), ROWS, gate=Gate(tau=0.95))
    assert (strict["coverage"], strict["gated"]["polarity"]["macro_f1"]) == (0.0, None)
    soft = await evaluate(Scripted(), ROWS, gate=Gate(mode="soft"))
    assert soft["coverage"] == 6 / 8


async def test_rows_of_a_polarity_alone_measure_confidence_by_polarity() -> None:
    rows = [row("neg_correction 0.75", polarity="negative")] * 3 + [row("neg_confusion 0.75", polarity="other")]
    found = await evaluate(Scripted(), rows)
    assert found["ece"] == 0
    assert found["labels"]["macro_f1"] is None


async def test_a_cost_that_is_not_known_is_not_zero() -> None:
    unpriced = verdict(usage=Usage(llm_calls=1, cost=None))
    outcome = JudgedRow(ROWS[0], unpriced, applied(unpriced, FOLLOWUP))
    assert build_report([outcome], FOLLOWUP)["cost"] is None


async def test_order_is_kept_progress_is_told_and_calls_are_bounded() -> None:
    tier, seen = Scripted(), []
    outcomes = await judge_rows(tier, ROWS * 5, concurrency=3, progress=lambda done, of: seen.append((done, of)))
    assert [outcome.row for outcome in outcomes] == ROWS * 5
    assert tier.most_running == 3
    assert seen == [(number, 40) for number in range(1, 41)]


async def test_a_calibration_is_fitted_to_the_outcomes_and_acts_at_the_gate() -> None:
    rows = [row("neg_correction 0.9", "neg_correction")] * 12 + [row("neg_correction 0.9", "neutral")] * 12
    outcomes = await judge_rows(Scripted(), rows)
    calibration = fit_calibration(scored_outcomes(outcomes, FOLLOWUP), tier="llm", model="m@1", taxonomy="followup-v1")
    assert calibration(0.9) == 0.5
    assert calibration.tau is None
    found = await evaluate(Scripted(), rows, gate=Gate(calibrations=Calibrations((calibration,))))
    assert (found["coverage"], found["ece"]) == (0.0, 0.0)
    assert found["judge"]["calibrations"] == {calibration.name: 0.6}


async def test_what_has_no_truth_calibrates_nothing() -> None:
    outcomes = await judge_rows(Scripted(), [row("neutral 0.9", shift=False), row("! empty", "neutral")])
    assert scored_outcomes(outcomes, FOLLOWUP) == []


async def test_no_rows_are_no_measurement() -> None:
    with pytest.raises(InvalidRequestError, match="no labelled turns"):
        await evaluate(Scripted(), [])


async def test_the_local_tier_is_measured_like_any_other() -> None:
    lines = [json.dumps({"query_t": "", "answer_t": TOLD, "query_t1": "that's wrong", "label": "neg_correction"})]
    found: dict[str, Any] = await evaluate(local(), parse_rows(lines, FOLLOWUP).rows)
    assert (found["labels"]["macro_f1"], found["llm_calls"], found["llm_calls_saved"]) == (1.0, 0, 1)
    assert isinstance(local().verdict(Turn("", TOLD, "x").cut()), Verdict)
