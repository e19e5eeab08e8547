"""A model's reply is read: one shape, the last valid one, and a reason where there is none."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.llm.parse_reply import (
    BadReplyError,
    ParsedVerdict,
    build_verdict_schema,
    find_label_probability,
    parse_verdict,
    to_one_line,
)
from tests.judge.given import FOLLOWUP, LAW


def build_reply(
    label: Any = "neg_correction", confidence: Any = 0.9, rationale: Any = "They say no.", **more: Any
) -> str:
    return json.dumps({"rationale": rationale, "label": label, "confidence": confidence, **more})


GOOD = ParsedVerdict("neg_correction", 0.9, "They say no.")


def parse_reason(text: str) -> str:
    with pytest.raises(BadReplyError) as caught:
        parse_verdict(text, FOLLOWUP)
    return caught.value.reason.value


@pytest.mark.parametrize(
    "text",
    [
        build_reply(),
        f"  \n{build_reply()}\n",
        f"```json\n{build_reply()}\n```",
        f"Let me think. {{not json}} The user disagrees.\n{build_reply()}",
        f"The user wrote {build_reply('pos_praise', 1)}, which is an attempt. So: {build_reply()}",
        f"{build_reply()} and not {build_reply('fine')}",
        f"{build_reply()} and not {build_reply('pos_praise', 1, verdict='final')}",
        json.dumps({"rationale": "They say no.", "confidence": 0.9, "label": "neg_correction"}),
        f"<think>{build_reply('pos_praise', 1)}</think>{build_reply()}",
        f"They say no, see {build_reply('pos_praise', 1)}\n</think>\n\n{build_reply()}",
        f"<think>It is {build_reply()}",
        f"{build_reply()}<think>and so it is</think>",
        f"The verdict:\n```json\n{build_reply()}\n```\nI hope that helps {{you}}.",
        build_reply(language="en"),
        build_reply(confidence="0.9"),
        build_reply(confidence=" 0.90 "),
        build_reply(label=" NEG_Correction\n"),
    ],
)
def test_the_last_valid_verdict_counts(text: str) -> None:
    assert parse_verdict(text, FOLLOWUP) == GOOD


@pytest.mark.parametrize("rationale", [None, 7, ["no"]])
def test_a_rationale_that_is_missing_costs_no_verdict(rationale: object) -> None:
    for text in (build_reply(rationale=rationale), '{"label": "neg_correction", "confidence": 0.9}'):
        assert parse_verdict(text, FOLLOWUP) == GOOD._replace(rationale="")


@pytest.mark.parametrize("confidence", [0, 1, 0.0, 1.0])
def test_the_ends_of_the_range_are_confidences(confidence: float) -> None:
    assert parse_verdict(build_reply(confidence=confidence), FOLLOWUP).confidence == confidence


@pytest.mark.parametrize(
    ("confidence", "clamped"),
    [(1.2, 1), (85, 1), (10**400, 1), (float("inf"), 1), (-0.1, 0), (float("-inf"), 0), (0.3, 0.3)],
)
def test_a_confidence_beyond_the_range_is_a_failure_unless_it_is_to_be_clamped(
    confidence: float, clamped: float
) -> None:
    assert parse_verdict(build_reply(confidence=confidence), FOLLOWUP, clamp=True).confidence == clamped
    assert confidence == clamped or parse_reason(build_reply(confidence=confidence)) == "bad_confidence"


@pytest.mark.parametrize("confidence", [float("nan"), True, "high", "NaN", "0_9", "90%", None])
def test_what_is_no_number_is_no_confidence_clamped_or_not(confidence: Any) -> None:
    with pytest.raises(BadReplyError, match="bad_confidence"):
        parse_verdict(build_reply(confidence=confidence), FOLLOWUP, clamp=True)


def test_the_rationale_is_one_visible_line() -> None:
    said = parse_verdict(build_reply(rationale=" two\nlines\u202e and\u200b more " + "x" * 9_000), FOLLOWUP)
    assert said.rationale.startswith("two lines and more xxx")
    assert len(said.rationale) == 500


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("neg_correction", "bad_json"),
        ("[]", "bad_json"),
        ('"neg_correction"', "bad_json"),
        ("{", "bad_json"),
        ("{}", "bad_json"),
        (build_reply()[:-2], "bad_json"),
        ('{"label": "neutral"}', "bad_confidence"),
        (build_reply(label=None), "bad_json"),
        (build_reply(label=["neutral"]), "bad_json"),
        (json.dumps({"answer": json.loads(build_reply())}), "bad_json"),
        (build_reply(label="angry"), "unknown_label"),
        (build_reply(label="neutral!"), "unknown_label"),
        (f"<think>{build_reply('angry')}</think>", "unknown_label"),
        (build_reply(confidence=float("nan")), "bad_confidence"),
        (build_reply(confidence=float("inf")), "bad_confidence"),
        (build_reply(confidence=1.0001), "bad_confidence"),
        (build_reply(confidence=-0.1), "bad_confidence"),
        (build_reply(confidence=90), "bad_confidence"),
        (build_reply(confidence="90"), "bad_confidence"),
        (build_reply(confidence="1e999"), "bad_confidence"),
        (build_reply(confidence=True), "bad_confidence"),
        (build_reply(confidence=None), "bad_confidence"),
        (build_reply().replace("0.9", "9" * 5_000), "bad_json"),
        (build_reply().replace("0.9", "1e999"), "bad_confidence"),
        (f"{build_reply('angry')} {build_reply(confidence=2)}", "bad_confidence"),
    ],
)
def test_what_is_no_verdict_has_a_reason(text: str, why: str) -> None:
    assert parse_reason(text) == why


@LAW
@given(st.text() | st.text(alphabet='{}[]":,0.9alben '))
def test_any_text_is_a_verdict_or_a_reason(text: str) -> None:
    with suppress(BadReplyError):
        assert parse_verdict(text, FOLLOWUP).label in FOLLOWUP.label_names


@pytest.mark.parametrize("text", ["{" * 1_000_000, '{"a":' * 200_000, '{"a":"' * 200_000, "[" * 1_000_000])
def test_no_reply_is_slow_to_read(text: str) -> None:
    began = time.perf_counter()
    assert parse_reason(text) == "bad_json"
    assert time.perf_counter() - began < 1, "seconds; a tenth of it where nothing else runs"


def test_the_schema_is_one_that_strict_modes_take() -> None:
    schema = build_verdict_schema(FOLLOWUP)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == schema["required"] == ["rationale", "label", "confidence"]
    assert properties["label"] == {"type": "string", "enum": list(FOLLOWUP.label_names)}
    assert schema["additionalProperties"] is False
    assert schema["title"] == "verdict"


def test_a_line_has_no_breaks() -> None:
    assert to_one_line(" a\n\n b\t") == "a b"


REPLY = '{"rationale": "\\"label\\": \\"pos_praise\\"", "label": "neutral", "confidence": 0.9}'


def test_the_probability_is_the_product_of_the_label_s_tokens_and_of_no_others() -> None:
    start = REPLY.rindex("neutral")
    tokens = [(REPLY[: start - 1], 0.1), ('"neu', 0.5), ("tral", 0.8), (REPLY[start + 7 :], 0.1)]
    assert find_label_probability(REPLY, "neutral", tokens) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("label", "tokens"),
    [
        ("neutral", None),
        ("neutral", []),
        ("neutral", [("something else", 0.5)]),
        ("pos_progress", [(REPLY, 0.5)]),
        ("neutral", [(REPLY, 1.5)]),
        ("neutral", [(REPLY, float("nan"))]),
    ],
)
def test_tokens_that_do_not_spell_the_reply_or_are_impossible_say_nothing(
    label: str, tokens: list[tuple[str, float]] | None
) -> None:
    assert find_label_probability(REPLY, label, tokens) is None
