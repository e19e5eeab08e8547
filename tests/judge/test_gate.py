from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.errors import ConfigurationError
from bandstand.judge.calibration import Calibration, Calibrations
from bandstand.judge.gate import GATE_REASONS, TAU, Gate, GateMode, WithheldReason, applied
from bandstand.judge.verdict import TARGETS, Target, UnscoredReason
from tests.judge.given import CORRECTION, FOLLOWUP, LAW, unscored, verdict

DOUBTING = Calibration(
    tier="local",
    model="m@1",
    taxonomy="followup-v1",
    method="isotonic",
    points=((0.0, 0.0), (1.0, 0.5)),
    tau=None,
    target_precision=0.7,
    examples=100,
)


def test_tau_is_the_contracts() -> None:
    assert TAU == 0.6


@pytest.mark.parametrize("label", FOLLOWUP.label_names)
@pytest.mark.parametrize("confidence", [0.0, 0.599, 0.6, 1.0])
def test_the_hard_gate_is_the_contract(label: str, confidence: float) -> None:
    taught = applied(verdict(label, confidence), FOLLOWUP)
    expected = confidence >= 0.6 and label != "topic_shift"
    assert taught.should_update is expected
    assert taught.reward == (FOLLOWUP.label(label).reward if expected else 0.0)
    assert (taught.withheld == "") is expected


def test_the_same_verdict_under_another_tau_teaches_something_else() -> None:
    given_once = verdict("pos_praise", 0.7)
    assert applied(given_once, FOLLOWUP, tau=0.6).reward == 0.8
    assert applied(given_once, FOLLOWUP, tau=0.8).withheld == "below_tau"


@pytest.mark.parametrize("reason", UnscoredReason)
@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_no_verdict_teaches_nothing_and_says_so(reason: UnscoredReason, mode: str) -> None:
    taught = applied(unscored(reason), FOLLOWUP, mode="soft" if mode == "soft" else "hard", tau=0.0)
    assert (taught.reward, taught.should_update, taught.withheld) == (0.0, False, "unscored")


@LAW
@given(st.lists(st.floats(0, 1), min_size=7, max_size=7).filter(lambda weights: sum(weights) > 0.1))
def test_the_soft_gate_teaches_the_expected_reward(weights: list[float]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    label, confidence = max(zip(FOLLOWUP.label_names, shares, strict=True), key=lambda pair: pair[1])
    judged = verdict(label, min(confidence, 1.0), probabilities=tuple(zip(FOLLOWUP.label_names, shares, strict=True)))
    taught = applied(judged, FOLLOWUP, mode="soft")
    expected = sum(p * FOLLOWUP.label(name).reward for name, p in zip(FOLLOWUP.label_names, shares, strict=True))
    assert taught.reward == pytest.approx(0.0 if label == "topic_shift" else expected)
    assert taught.should_update is (label != "topic_shift")


def test_the_soft_gate_selects_no_turn_away() -> None:
    judged = verdict("neg_correction", 0.3, probabilities=(("neg_correction", 0.3), ("neutral", 0.7)))
    assert applied(judged, FOLLOWUP).should_update is False
    assert applied(judged, FOLLOWUP, mode="soft").reward == pytest.approx(-0.24)


def test_a_verdict_without_probabilities_gives_the_rest_to_nothing() -> None:
    assert applied(verdict("pos_praise", 0.5), FOLLOWUP, mode="soft").reward == pytest.approx(0.4)


def test_a_calibration_acts_at_the_gate_and_is_named() -> None:
    judged = verdict("neg_correction", 0.9, probabilities=(("neg_correction", 0.9), ("pos_praise", 0.1)))
    hard = applied(judged, FOLLOWUP, calibration=DOUBTING)
    soft = applied(judged, FOLLOWUP, mode="soft", calibration=DOUBTING)
    assert (hard.confidence, hard.withheld, hard.calibration) == (0.45, "below_tau", DOUBTING.name)
    assert soft.reward == pytest.approx(0.45 * -0.8 + 0.55 * 0.8)
    assert judged.confidence == 0.9


def test_what_was_applied_is_recorded() -> None:
    record = applied(verdict(), FOLLOWUP, tau=0.5).as_json()
    assert record == {
        "reward": -0.8,
        "should_update": True,
        "withheld": "",
        "confidence": 0.9,
        "mode": "hard",
        "tau": 0.5,
        "taxonomy": "followup-v1",
        "taxonomy_hash": FOLLOWUP.hash,
        "calibration": None,
    }


def test_a_verdict_of_another_taxonomy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="correction-v1"):
        applied(verdict("neutral"), CORRECTION)


def test_a_gate_applies_the_calibration_of_the_judge_that_spoke_and_of_no_other() -> None:
    gate = Gate(calibrations=Calibrations((DOUBTING,)))
    ours, other = verdict("pos_praise", 0.9), verdict("pos_praise", 0.9, model="m@2")
    assert gate.apply(ours, FOLLOWUP) == applied(ours, FOLLOWUP, calibration=DOUBTING)
    assert gate.apply(other, FOLLOWUP) == applied(other, FOLLOWUP)
    assert gate.apply(unscored(), FOLLOWUP).withheld == "unscored"


def test_a_calibrations_own_tau_goes_before_the_gates() -> None:
    picked = replace(DOUBTING, tau=0.4)
    gate = Gate(tau=0.99, calibrations=Calibrations((picked,)))
    taught = gate.apply(verdict("pos_praise", 0.9), FOLLOWUP)
    assert (taught.tau, taught.confidence, taught.reward) == (0.4, 0.45, 0.8)
    assert Gate(tau=0.99).apply(verdict("pos_praise", 0.9), FOLLOWUP).withheld == "below_tau"


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_where_a_turn_says_what_was_chosen_only_the_taxonomy_s_targets_teach(mode: GateMode) -> None:
    for target in TARGETS:
        judged = verdict("pos_praise", 0.9, target=target, about=True)
        result = applied(judged, FOLLOWUP, mode=mode)
        assert result.withheld == ("" if target == "behaviour" else "off_target")
        assert result.should_update == (target in FOLLOWUP.taught_targets)
        assert result.reward == (pytest.approx(0.8, abs=0.1) if target == "behaviour" else 0)


@pytest.mark.parametrize("target", [*TARGETS, None])
def test_elsewhere_no_target_withholds_a_verdict(target: Target | None) -> None:
    assert applied(verdict("pos_praise", 0.9, target=target), FOLLOWUP).should_update


def test_a_tier_that_says_no_target_teaches_as_ever() -> None:
    assert applied(verdict("pos_praise", 0.9, about=True), FOLLOWUP).should_update


def test_what_a_gate_withholds_for_another_may_not() -> None:
    assert set(get_args(WithheldReason)) == {"", "unscored", *GATE_REASONS}
