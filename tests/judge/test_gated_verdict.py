"""A judgement says what was judged and what it teaches, in one place."""

from bandstand.judge.gate import applied
from bandstand.judge.gated_verdict import GatedVerdict
from bandstand.judge.verdict import Judged
from tests.judge.given import FOLLOWUP, unscored, verdict


def judgement(judged: Judged) -> GatedVerdict:
    return GatedVerdict(judged, applied(judged, FOLLOWUP))


def test_a_verdict_that_teaches() -> None:
    found = judgement(verdict("neg_correction", 0.9, rationale="They say no."))
    assert (found.label, found.confidence, found.rationale) == ("neg_correction", 0.9, "They say no.")
    assert (found.reward, found.should_update, found.unscored) == (-0.8, True, None)


def test_a_verdict_that_does_not() -> None:
    found = judgement(verdict("neg_correction", 0.5))
    assert (found.label, found.confidence, found.reward, found.should_update) == ("neg_correction", 0.5, 0.0, False)
    assert found.as_json()["withheld"] == "below_tau"


def test_none_at_all() -> None:
    found = judgement(unscored())
    assert (found.label, found.confidence, found.rationale) == (None, 0.0, "")
    assert (found.reward, found.should_update, found.unscored) == (0.0, False, "timeout")


def test_what_a_caller_is_told_holds_no_raw_reply() -> None:
    told = judgement(verdict(raw="c4n4ry")).as_json()
    assert told == {
        "label": "neg_correction",
        "confidence": 0.9,
        "rationale": "",
        "reward": -0.8,
        "should_update": True,
        "unscored": None,
        "target": None,
        "withheld": "",
        "taxonomy": "followup-v1",
        "tier": "local",
        "model": "m@1",
        "prompt": None,
        "gate": "hard",
        "tau": 0.6,
        "calibration": None,
    }
