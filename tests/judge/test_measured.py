"""The numbers the local judge was built to reach, on annotated dialogues it has never seen: the same in every run."""

from typing import Any

import pytest

from bandstand.judge.local.rulebook import load_shipped_rules
from bandstand.judge.training.evaluation import build_report, evaluate
from tests.judge.given import FOLLOWUP, cross_validated, is_held_out, load_dialogues, local, needs_data

pytestmark = needs_data

FILMS = "iard_dev.jsonl"


@pytest.mark.parametrize("part", ["all", "held out"])
async def test_the_shipped_local_tier_names_polarities_and_its_gated_negatives_are_negative(part: str) -> None:
    found = await evaluate(
        local(), [row for dialogue, row in load_dialogues(FILMS) if part == "all" or is_held_out(dialogue)]
    )
    assert found["polarity"]["macro_f1"] >= (0.75 if part == "all" else 0.72)
    assert found["gated"]["polarity"]["negative_precision"] >= 0.82
    assert found["polarity"]["accuracy"] > found["polarity"]["always_other"]
    assert found["gated"]["sign_flip_rate"] <= 0.02
    assert found["coverage"] >= 0.7


async def test_the_rules_alone_are_careful() -> None:
    found = await evaluate(load_shipped_rules(FOLLOWUP), [row for _, row in load_dialogues(FILMS)])
    assert found["polarity"]["macro_f1"] >= 0.65
    assert found["polarity"]["negative_precision"] >= 0.98


@pytest.mark.slow
def test_trained_on_other_dialogues_it_is_better() -> None:
    outcomes = cross_validated()
    assert len(outcomes) == len(load_dialogues(FILMS))
    every = build_report([outcome for _, outcome in outcomes], FOLLOWUP)
    unread = build_report([outcome for dialogue, outcome in outcomes if is_held_out(dialogue)], FOLLOWUP)
    assert every["polarity"]["macro_f1"] >= 0.79
    assert unread["polarity"]["macro_f1"] >= 0.75
    assert every["gated"]["polarity"]["negative_precision"] >= 0.80


async def test_chit_chat_is_not_taken_for_complaint() -> None:
    found: dict[str, Any] = await evaluate(local(), [row for _, row in load_dialogues("tiage_dev.jsonl")])
    assert found["called"]["negative"] <= 0.07
    assert found["topic_shift"]["n"] == 1_346
