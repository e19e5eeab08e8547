"""The blind turns: of 26 contexts in four languages, written in one go and committed before any judge had read one.

Their author knew the rules, had not seen what anything makes of these sentences, and changed none afterwards; only what
the corpus happened to have word for word was left out. A hash of each turn's id says which part it is in: the *opened*
part was measured next, and what went wrong in it was looked at; the *sealed* part was measured once, when everything
else was done. What a turn without ``about`` teaches is its stand.
"""

import json
from collections import Counter
from hashlib import blake2b
from pathlib import Path

from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.training.corpus import generate_examples

ROWS = [json.loads(line) for line in Path(__file__).with_name("blind_turns.jsonl").read_text("utf-8").splitlines()]


def test_they_are_the_turns_that_were_frozen() -> None:
    digest = blake2b(json.dumps([sorted(row.items()) for row in ROWS]).encode(), digest_size=8).hexdigest()
    assert digest == "c56c825140321f3a"
    assert len(ROWS) == 311
    assert Counter(row["part"] for row in ROWS)["sealed"] == 150


def test_no_sentence_of_more_than_three_words_was_trained_with() -> None:
    known = {split_tokens(normalise_text(example.source)) for example in generate_examples(seed=1, per_sentence=1)}
    told = {split_tokens(normalise_text(row["query_t1"])) for row in ROWS}
    assert {words for words in told & known if len(words) > 3} == set()
