import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.errors import InvalidRequestError
from bandstand.judge.arbiter import (
    ArbiterSettings,
    IntentCandidate,
    RuleSignal,
    Trigger,
    decided,
    not_triggered,
    should_trigger,
    undecided,
)
from tests.judge.given import LAW

SCORES = st.floats(0, 1)
NAMES = {"a": "退款", "b": "Cancel", "c": "Other"}


def build_candidates(*scores: float) -> list[IntentCandidate]:
    return [IntentCandidate(key, NAMES[key], "", score) for key, score in zip("abc", scores, strict=False)]


def test_the_settings_are_the_contracts() -> None:
    assert ArbiterSettings() == ArbiterSettings(
        llm_judge_enabled=True,
        conflict_threshold=0.2,
        min_trigger_threshold=0.2,
        gray_zone_threshold=0.6,
        multi_intent_threshold=0.1,
        llm_judge_timeout_ms=2_000,
    )
    assert len(ArbiterSettings.list_names()) == 6


@pytest.mark.parametrize(
    ("rule", "semantic", "expected"),
    [
        (RuleSignal("b", 0.9), build_candidates(0.8, 0.2), "rule_semantic_conflict"),
        (RuleSignal("a", 0.9), build_candidates(0.8, 0.2), ""),
        (RuleSignal("b", 0.9), build_candidates(0.7, 0.2), ""),
        (RuleSignal("b", 0.0), build_candidates(0.1), ""),
        (RuleSignal("b", 0.5), build_candidates(0.45), "rule_semantic_conflict"),
        (RuleSignal("b", 0.5), build_candidates(0.0), "gray_zone"),
        (None, build_candidates(0.4), "gray_zone"),
        (RuleSignal("a", 0.4), [], "gray_zone"),
        (None, build_candidates(0.2), ""),
        (None, build_candidates(0.6), ""),
        (None, build_candidates(0.21), "gray_zone"),
        (None, build_candidates(0.59), "gray_zone"),
        (None, build_candidates(0.9, 0.85), "multi_intent"),
        (None, build_candidates(0.9, 0.8), ""),
        (None, build_candidates(0.15, 0.14), "multi_intent"),
        (RuleSignal("c", 0.95), build_candidates(0.7, 0.65), "multi_intent"),
        (None, [], ""),
        (RuleSignal("a", 0.9), [], ""),
    ],
)
def test_the_checks_and_their_order_are_the_contracts(
    rule: RuleSignal | None, semantic: list[IntentCandidate], expected: str
) -> None:
    assert should_trigger(rule, semantic) == (expected != "", expected)


@pytest.mark.parametrize(("rule", "meaning"), [(0.7, 0.5), (0.8, 0.6), (0.9, 0.7), (0.5, 0.3), (0.3, 0.1), (1.0, 0.8)])
def test_a_difference_of_exactly_the_threshold_is_not_below_it(rule: float, meaning: float) -> None:
    assert should_trigger(RuleSignal("b", rule), build_candidates(meaning)).reason != "rule_semantic_conflict"
    assert should_trigger(
        None, build_candidates(rule, meaning), ArbiterSettings(multi_intent_threshold=0.2)
    ).reason in {
        "",
        "gray_zone",
    }


def test_disabled_comes_before_everything() -> None:
    off = ArbiterSettings(llm_judge_enabled=False)
    assert should_trigger(RuleSignal("b", 0.5), build_candidates(0.45, 0.45), off) == Trigger(
        triggered=False, reason="disabled"
    )


@LAW
@given(SCORES, SCORES, SCORES, st.booleans())
def test_the_answer_is_that_of_the_sentences_read_one_by_one(rule: float, top: float, next_: float, same: bool) -> None:
    top, next_ = max(top, next_), min(top, next_)
    signal = RuleSignal("a" if same else "b", rule)
    if rule > 0 and top > 0 and not same and round(abs(rule - top), 12) < 0.2:
        expected = "rule_semantic_conflict"
    elif 0.2 < max(rule, top) < 0.6:
        expected = "gray_zone"
    elif round(top - next_, 12) < 0.1:
        expected = "multi_intent"
    else:
        expected = ""
    assert should_trigger(signal, build_candidates(top, next_)).reason == expected


@pytest.mark.parametrize(
    ("rule", "semantic", "intent", "name", "score"),
    [
        (RuleSignal("b", 0.9), build_candidates(0.3, 0.2), "b", "Cancel", 0.9),
        (RuleSignal("b", 0.3), build_candidates(0.9, 0.2), "a", "退款", 0.9),
        (RuleSignal("b", 0.9), build_candidates(0.9, 0.2), "b", "Cancel", 0.9),
        (RuleSignal("elsewhere", 0.9), [], "elsewhere", "elsewhere", 0.9),
        (None, build_candidates(0.9), "a", "退款", 0.9),
        (None, [], None, None, 0.0),
    ],
)
def test_without_the_llm_the_higher_score_decides(
    rule: RuleSignal | None, semantic: list[IntentCandidate], intent: str | None, name: str | None, score: float
) -> None:
    outcome = not_triggered(rule, semantic, "disabled").as_json()
    assert {key: outcome[key] for key in ("intent_id", "intent_name", "score", "triggered", "trigger_reason")} == {
        "intent_id": intent,
        "intent_name": name,
        "score": score,
        "triggered": False,
        "trigger_reason": "disabled",
    }
    assert set(outcome) == {
        "intent_id",
        "intent_name",
        "score",
        "reasoning",
        "duration_ms",
        "tokens_used",
        "triggered",
        "trigger_reason",
    }


def test_the_llm_must_choose_one_of_the_candidates() -> None:
    outcome = decided(
        build_candidates(0.4, 0.4), "b", 0.7, "因为", reason="gray_zone", duration_ms=12.5, tokens_used=90
    )
    assert (outcome.intent_id, outcome.intent_name, outcome.score, outcome.triggered) == ("b", "Cancel", 0.7, True)


@pytest.mark.parametrize(
    ("intent", "score"), [("z", 0.7), (None, 0.7), (3, 0.7), ("b", float("nan")), ("b", 1.1), ("b", None), ("b", True)]
)
def test_any_other_choice_decides_nothing(intent: object, score: object) -> None:
    outcome = decided(
        build_candidates(0.4, 0.4), intent, score, "x", reason="gray_zone", duration_ms=1.0, tokens_used=9
    )
    assert (outcome.intent_id, outcome.score, outcome.triggered, outcome.tokens_used) == (None, 0.0, True, 9)
    assert outcome == undecided("gray_zone", outcome.reasoning, 1.0, 9)


def test_a_request_overrides_thresholds_and_nothing_else() -> None:
    settings = ArbiterSettings(llm_judge_enabled=False, llm_judge_timeout_ms=500)
    assert settings.with_overrides({"conflict_threshold": 0, "gray_zone_threshold": 0.9}) == ArbiterSettings(
        llm_judge_enabled=False, llm_judge_timeout_ms=500, conflict_threshold=0, gray_zone_threshold=0.9
    )
    assert settings.with_overrides({}) == settings


@pytest.mark.parametrize(
    "config",
    [
        {"llm_judge_enabled": True},
        {"llm_judge_timeout_ms": 10},
        {"model": "x"},
        {"conflict_treshold": 0.1},
        {"conflict_threshold": True},
        {"conflict_threshold": "0.1"},
        {"conflict_threshold": float("nan")},
        {"conflict_threshold": -0.1},
        {"conflict_threshold": 1.1},
    ],
)
def test_every_other_override_is_refused_by_name(config: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ArbiterSettings().with_overrides(config)
    assert [error.field for error in caught.value.errors] == [f"config.{next(iter(config))}"]
