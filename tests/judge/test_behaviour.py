"""Turns that follow a behaviour, written once the rules and the corpus were done, and in neither."""

from pathlib import Path

from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.training.corpus import generate_examples
from bandstand.judge.training.dataset import parse_rows
from bandstand.judge.training.evaluation import judge_rows
from bandstand.judge.training.symmetry import measure_symmetry
from tests.judge.given import FOLLOWUP, local

LINES = Path(__file__).with_name("behaviour_turns.jsonl").read_text("utf-8").splitlines()
ROWS = parse_rows(LINES, FOLLOWUP, strict=True).rows


async def test_most_feedback_teaches_its_sign_and_hardly_anything_else_does() -> None:
    found = measure_symmetry(await judge_rows(local(), ROWS), FOLLOWUP)
    assert found["n"] >= 100
    assert found["right"]["value"] >= 0.6
    assert found["wrong_way"]["value"] <= 0.01
    assert found["false_teaching"]["value"] <= 0.05


def test_no_sentence_of_more_than_three_words_was_trained_with() -> None:
    known = {split_tokens(normalise_text(example.source)) for example in generate_examples(seed=1, per_sentence=1)}
    told = {split_tokens(normalise_text(row.turn.query_t1)) for row in ROWS}
    assert {words for words in told & known if len(words) > 3} == set()
