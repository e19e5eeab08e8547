import math

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.correction import build_correction, build_correction_turn, to_correction
from tests.judge.given import CORRECTION, OFFERED, TOLD, local, verdict

CORRECTIONS = ("explicit_rejection", "alternative_request", "repetition")


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_a_correction_below_the_threshold_becomes_neutral(kind: str) -> None:
    assert build_correction(kind, 0.6, "").as_json() == {
        "is_correction": True,
        "kind": kind,
        "confidence": 0.6,
        "reasoning": "",
    }
    below = build_correction(kind, 0.59, "")
    assert (below.is_correction, below.kind, below.confidence) == (False, "neutral", 0.59)
    assert build_correction(kind, 0.59, "", threshold=0.5).is_correction


@pytest.mark.parametrize("kind", ["self_correction", "neutral"])
def test_what_is_no_correction_keeps_its_kind_at_any_confidence(kind: str) -> None:
    for confidence in (0.0, 0.3, 1.0):
        said = build_correction(kind, confidence, "")
        assert (said.is_correction, said.kind) == (False, kind)


@pytest.mark.parametrize(
    ("stated", "clamped"), [(1.5, 1.0), (-2.0, 0.0), (math.inf, 1.0), (-math.inf, 0.0), (0.7, 0.7)]
)
def test_a_confidence_is_clamped(stated: float, clamped: float) -> None:
    assert build_correction("neutral", stated, "").confidence == clamped


def test_nan_is_no_confidence_and_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        build_correction("neutral", math.nan, "")
    with pytest.raises(ConfigurationError, match="unknown"):
        build_correction("rejection", 0.9, "")


def test_both_texts_keep_head_and_tail() -> None:
    turn = build_correction_turn("head" + "x" * 5_000 + "tail", "first" + "y" * 5_000 + "last")
    assert (len(turn.query_t1), len(turn.answer_t), turn.query_t) == (1_000, 500, "")
    assert turn.query_t1.startswith("head")
    assert turn.query_t1.endswith("tail")
    assert turn.answer_t.endswith("last")


@pytest.mark.parametrize(
    ("message", "reply", "kind"),
    [
        ("no, that's wrong", TOLD, "explicit_rejection"),
        ("不对，你搞错了", TOLD, "explicit_rejection"),
        ("something else please", TOLD, "alternative_request"),
        ("换一个吧", TOLD, "alternative_request"),
        ("as I said, vegetarian", TOLD, "repetition"),
        ("我都说了不要辣", TOLD, "repetition"),
        ("sorry, I meant Lisbon", TOLD, "self_correction"),
        ("打错字了", TOLD, "self_correction"),
        ("thanks", TOLD, "neutral"),
        ("no", OFFERED, "neutral"),
        ("不用了", OFFERED, "neutral"),
    ],
)
def test_the_local_tier_classifies_without_a_key(message: str, reply: str, kind: str) -> None:
    said = to_correction(local("correction-v1").verdict(build_correction_turn(message, reply)))
    assert said.kind == kind
    assert said.is_correction is (CORRECTION.label(kind).polarity == "negative")


def test_a_verdict_about_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="followup-v1"):
        to_correction(verdict("neutral"))
