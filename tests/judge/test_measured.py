"""The numbers the local judge was built to reach, on annotated dialogues it has never seen; the same on every machine."""

import asyncio
from functools import cache
from typing import Any

import pytest

from bandstand.judge.classifier import shipped_weights
from bandstand.judge.evaluation import Outcome, evaluate, judge_rows, report
from bandstand.judge.local import Local
from bandstand.judge.rows import Row
from bandstand.judge.rulebook import shipped_rules
from bandstand.judge.train import train_own
from tests.judge.given import FOLLOWUP, dialogues, held_out, local, needs_data, share_of

pytestmark = needs_data

FOLDS = 5


@cache
def films() -> tuple[tuple[str, Row], ...]:
    return tuple(dialogues("iard_dev.jsonl"))


@cache
def cross_validated() -> tuple[tuple[str, Outcome], ...]:
    """Every row judged by a model trained on other dialogues."""
    outcomes: list[tuple[str, Outcome]] = []
    for fold in range(FOLDS):
        known = [row for dialogue, row in films() if share_of(dialogue, FOLDS) != fold]
        asked = [(dialogue, row) for dialogue, row in films() if share_of(dialogue, FOLDS) == fold]
        weights = train_own(known, FOLLOWUP, name="own", start=shipped_weights("followup-v1"))
        judged = asyncio.run(judge_rows(Local.shipped(FOLLOWUP, weights), [row for _, row in asked]))
        outcomes += [(dialogue, outcome) for (dialogue, _), outcome in zip(asked, judged, strict=True)]
    return tuple(outcomes)


@pytest.mark.parametrize("part", ["all", "held out"])
async def test_the_shipped_local_tier_names_polarities_and_its_gated_negatives_are_negative(part: str) -> None:
    found = await evaluate(local(), held_out(films()) if part == "held out" else [row for _, row in films()])
    assert found["polarity"]["macro_f1"] >= 0.70
    assert found["gated"]["polarity"]["negative_precision"] >= 0.80
    assert found["polarity"]["accuracy"] > found["polarity"]["always_other"]
    assert found["gated"]["sign_flip_rate"] <= 0.02
    assert found["coverage"] >= 0.7


async def test_the_rules_alone_are_careful() -> None:
    found = await evaluate(shipped_rules(FOLLOWUP), [row for _, row in films()])
    assert found["polarity"]["macro_f1"] >= 0.65
    assert found["polarity"]["negative_precision"] >= 0.98


def test_trained_on_other_dialogues_it_is_better() -> None:
    outcomes = cross_validated()
    assert len(outcomes) == len(films())
    every = report([outcome for _, outcome in outcomes], FOLLOWUP)
    unread = report([outcome for dialogue, outcome in outcomes if share_of(dialogue, 2) == 1], FOLLOWUP)
    assert every["polarity"]["macro_f1"] >= 0.80
    assert unread["polarity"]["macro_f1"] >= 0.77
    assert every["gated"]["polarity"]["negative_precision"] >= 0.80


async def test_chit_chat_is_not_taken_for_complaint() -> None:
    found: dict[str, Any] = await evaluate(local(), [row for _, row in dialogues("tiage_dev.jsonl")])
    assert found["called"]["negative"] <= 0.07
    assert found["topic_shift"]["n"] == 1_346
