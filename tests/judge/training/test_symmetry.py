from typing import Any

import pytest

from bandstand.judge.gate import applied
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.training.symmetry import HALVES, measure_symmetry, read_balanced_set
from bandstand.judge.turn import Turn
from tests.judge.given import FOLLOWUP, unscored, verdict


def judged_row(true: str, label: str | None, confidence: float = 0.9, **more: Any) -> JudgedRow:
    about, target, said_target = more.get("about", ""), more.get("target"), more.get("said_target")
    row = LabelledTurn(1, Turn("", "", "x", about), true, FOLLOWUP.label(true).polarity, None, target, "kind", "en")
    judged = verdict(label, confidence, target=said_target, about=bool(about)) if label else unscored()
    return JudgedRow(row, judged, applied(judged, FOLLOWUP))


PRAISE, COMPLAINT = "pos_praise", "neg_correction"


def test_the_bias_of_a_gate_that_withholds_complaints_is_that_of_the_example() -> None:
    rows = [judged_row(PRAISE, PRAISE)] * 9 + [judged_row(PRAISE, PRAISE, 0.1)]
    rows += [judged_row(COMPLAINT, COMPLAINT)] * 6 + [judged_row(COMPLAINT, COMPLAINT, 0.1)] * 4
    found = measure_symmetry(rows, FOLLOWUP)
    assert found["gate_bias"]["value"] == pytest.approx(0.16)
    assert found["bias"]["value"] == pytest.approx(0.16)
    assert found["praise"] == {"n": 10, "right": 9, "wrong_way": 0}
    assert found["complaint"] == {"n": 10, "right": 6, "wrong_way": 0}


def test_a_judge_that_withholds_alike_has_none() -> None:
    rows = [judged_row(true, true, confidence) for true in (PRAISE, COMPLAINT) for confidence in (0.9, 0.9, 0.1)]
    found = measure_symmetry(rows, FOLLOWUP)
    assert found["gate_bias"]["value"] == pytest.approx(0)
    assert found["right"]["value"] == pytest.approx(2 / 3)


def test_the_wrong_way_is_a_share_of_all_turns_and_shows_in_what_is_taught() -> None:
    rows = [judged_row(PRAISE, PRAISE), judged_row(COMPLAINT, PRAISE), judged_row("neutral", "neutral")]
    found = measure_symmetry(rows, FOLLOWUP)
    assert found["wrong_way"]["value"] == pytest.approx(1 / 3)
    assert found["gate_bias"]["value"] == pytest.approx(0)
    assert found["bias"]["value"] == pytest.approx(0.8)


def test_praise_of_another_target_is_no_feedback_and_must_not_teach() -> None:
    more: dict[str, Any] = {"about": "terse", "target": "content"}
    silent = judged_row(PRAISE, PRAISE, said_target="content", **more)
    heard = judged_row(PRAISE, PRAISE, said_target="behaviour", **more)
    found = measure_symmetry([silent, heard], FOLLOWUP)
    assert found["none"] == {"n": 2, "right": 1, "wrong_way": 0}
    assert found["false_teaching"]["value"] == pytest.approx(0.5)
    assert found["right"]["value"] is None


def test_a_turn_without_a_verdict_is_feedback_that_was_not_heard() -> None:
    assert measure_symmetry([judged_row(COMPLAINT, None)], FOLLOWUP)["right"]["value"] == 0


def test_the_shipped_set_has_two_halves_and_no_more() -> None:
    assert sorted(read_balanced_set()) == sorted(line for half in HALVES for line in read_balanced_set(half))
