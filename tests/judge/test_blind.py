"""The blind turns: of 26 contexts in four languages, written in one go and committed before any judge had read one.

Their author knew the rules, had not seen what anything makes of these sentences, and changed none afterwards; only what
the corpus happened to have word for word was left out. A hash of each turn's id says which part it is in: the *opened*
part was measured next, and what went wrong in it was looked at; the *sealed* part was measured once, when everything
else was done, and read after that. What a turn without ``about`` teaches is its stand. The paraphrased turns say in
other words what went wrong in the opened part.
"""

import json
from collections import Counter
from hashlib import blake2b
from pathlib import Path

from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.training.corpus import generate_examples
from bandstand.judge.training.dataset import parse_rows
from bandstand.judge.training.evaluation import judge_rows
from bandstand.judge.training.symmetry import measure_symmetry
from tests.judge.given import FOLLOWUP, local

LINES, PARAPHRASED = (
    Path(__file__).with_name(name).read_text("utf-8").splitlines()
    for name in ("blind_turns.jsonl", "paraphrased_turns.jsonl")
)
ROWS = [json.loads(line) for line in LINES]


def test_they_are_the_turns_that_were_frozen() -> None:
    digest = blake2b(json.dumps([sorted(row.items()) for row in ROWS]).encode(), digest_size=8).hexdigest()
    assert digest == "c56c825140321f3a"
    assert len(ROWS) == 311
    assert Counter(row["part"] for row in ROWS)["sealed"] == 150


def test_no_sentence_of_more_than_three_words_was_trained_with() -> None:
    known = {split_tokens(normalise_text(example.source)) for example in generate_examples(seed=1, per_sentence=1)}
    told = {split_tokens(normalise_text(json.loads(line)["query_t1"])) for line in (*LINES, *PARAPHRASED)}
    assert {words for words in told & known if len(words) > 3} == set()


async def test_nearly_nothing_teaches_the_wrong_way_and_most_feedback_teaches() -> None:
    rows = parse_rows([*LINES, *PARAPHRASED], FOLLOWUP, strict=True).rows
    found = measure_symmetry(await judge_rows(local(), rows), FOLLOWUP)
    assert found["right"]["value"] >= 0.8
    assert found["wrong_way"]["value"] <= 0.01
    assert found["false_teaching"]["value"] <= 0.06
