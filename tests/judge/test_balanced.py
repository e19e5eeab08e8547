"""The shipped balanced set: what it holds, that half of it was not built with, and what the local tier makes of it."""

import json
from collections import Counter

import pytest

from bandstand.judge.training.corpus import generate_examples
from bandstand.judge.training.dataset import LabelledTurn, parse_rows
from bandstand.judge.training.evaluation import judge_rows
from bandstand.judge.training.symmetry import HALVES, measure_symmetry, read_balanced_set
from bandstand.judge.training.train import PER_SENTENCE, SEED
from tests.judge.given import FOLLOWUP, local

ROWS = [json.loads(line) for line in read_balanced_set()]


def parse_half(half: str) -> tuple[LabelledTurn, ...]:
    return parse_rows(read_balanced_set(half), FOLLOWUP, strict=True).rows


def test_it_has_four_hundred_turns_in_four_languages_of_ten_kinds() -> None:
    assert len(ROWS) == len({row["id"] for row in ROWS}) >= 400
    assert len({row["language"] for row in ROWS}) == 4
    assert len({row["kind"] for row in ROWS}) == 10
    assert min(Counter((row["language"], row["kind"]) for row in ROWS).values()) >= 10


@pytest.mark.parametrize("half", [None, *HALVES])
def test_praise_and_complaints_are_equally_many(half: str | None) -> None:
    rows = [json.loads(line) for line in read_balanced_set(half)]
    for language in {row["language"] for row in rows}:
        count = Counter(row["polarity"] for row in rows if row["language"] == language)
        assert count["positive"] == count["negative"]


def test_no_long_sentence_of_the_kept_half_was_trained_with() -> None:
    known = {example.turn.query_t1.lower().strip(" .!?") for example in generate_examples(SEED, PER_SENTENCE)}
    kept = {row.turn.query_t1.lower().strip(" .!?") for row in parse_half("kept")}
    assert [message for message in kept & known if len(message.split()) > 3] == []


@pytest.mark.parametrize("half", HALVES)
async def test_both_signs_teach_and_the_gate_is_not_biased(half: str) -> None:
    found = measure_symmetry(await judge_rows(local(), parse_half(half)), FOLLOWUP)
    assert found["right"]["value"] >= 0.75
    assert found["wrong_way"]["value"] <= 0.01
    assert found["false_teaching"]["value"] <= 0.05
    assert abs(found["gate_bias"]["value"]) <= 0.03
    assert abs(found["bias"]["value"]) <= 0.05


async def test_turns_that_say_what_was_chosen_teach_what_they_should() -> None:
    rows = [row for row in parse_half("kept") if row.turn.about]
    found = measure_symmetry(await judge_rows(local(), rows), FOLLOWUP)
    assert found["right"]["value"] >= 0.75
    assert found["wrong_way"]["value"] <= 0.01
    assert found["false_teaching"]["value"] <= 0.05
