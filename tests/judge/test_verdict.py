import json
import math
import pickle
from dataclasses import FrozenInstanceError

import pytest

from bandstand.judge.verdict import UnscoredReason, Usage, Verdict, parse_judged
from tests.judge.given import unscored, verdict

FULL = verdict(
    probabilities=(("neg_correction", 0.9), ("neutral", 0.1)),
    rule="en.says-wrong",
    prompt_hash="abc",
    raw='{"label": "neg_correction"}',
    usage=Usage(llm_calls=2, prompt_tokens=300, completion_tokens=40, cost=0.001),
)


@pytest.mark.parametrize("judged", [FULL, verdict(), unscored(), unscored(UnscoredReason.OVER_BUDGET)])
def test_json_and_pickle_give_it_back_equal(judged: Verdict) -> None:
    assert parse_judged(json.loads(json.dumps(judged.as_json(), allow_nan=False))) == judged
    assert pickle.loads(pickle.dumps(judged)) == judged  # noqa: S301 - how a verdict leaves the judge's own process


def test_a_verdict_holds_no_reward_and_cannot_be_changed() -> None:
    assert not {"reward", "should_update"} & set(FULL.as_json())
    with pytest.raises(FrozenInstanceError):
        FULL.confidence = 1.0  # type: ignore[misc]  # what is tested
    assert hash(FULL) == hash(parse_judged(FULL.as_json()))


@pytest.mark.parametrize("confidence", [math.nan, -0.01, 1.01, math.inf, -math.inf])
def test_a_confidence_out_of_range_is_no_verdict(confidence: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        verdict(confidence=confidence)


@pytest.mark.parametrize(
    "probabilities",
    [(("neutral", 0.5),), (("neutral", 1.5), ("pos_praise", -0.5)), (("neutral", math.nan), ("pos_praise", 1.0))],
)
def test_probabilities_are_a_distribution(probabilities: tuple[tuple[str, float], ...]) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        verdict(probabilities=probabilities)


def test_every_way_to_fail_has_its_own_reason() -> None:
    assert {reason.value for reason in UnscoredReason} >= {
        "timeout",
        "refusal",
        "truncated",
        "empty",
        "bad_json",
        "unknown_label",
        "bad_confidence",
        "over_budget",
    }


def test_a_document_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="version 1"):
        parse_judged(FULL.as_json() | {"version": 2})


def test_the_oldest_version_still_reads() -> None:
    old = {
        "version": 1,
        "scored": True,
        "taxonomy": "followup-v1",
        "label": "pos_praise",
        "confidence": 0.8,
        "rationale": "by its wording",
        "tier": "local",
        "model": "m",
    }
    judged = parse_judged(old)
    assert isinstance(judged, Verdict)
    assert (judged.label, judged.probabilities, judged.usage.llm_calls) == ("pos_praise", (), 0)
