"""The blind turns: of 26 contexts in four languages, written in one go and committed before any judge had read one.

Their author knew the rules, had not seen what anything makes of these sentences, and changed none afterwards; only what
the corpus happened to have word for word was left out. A hash of each turn's id says which part it is in: the *opened*
part was measured next, and what went wrong in it was looked at; the *sealed* part was measured once, when everything
else was done, and read after that. What a turn without ``about`` teaches is its stand. The paraphrased turns say in
other words what went wrong in the opened part. The second set is of 41 contexts, all of which say what was chosen; a
hash of the message splits it in the same way. All of the third is sealed. The fourth is by somebody who had seen
neither rules nor corpus nor any set, and was measured once, by the first judge that learned from written turns.
"""

import json
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import pytest

from bandstand.judge.local.ratings import parse_rating
from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.training.corpus import generate_examples
from bandstand.judge.training.dataset import parse_rows
from bandstand.judge.training.evaluation import judge_rows
from bandstand.judge.training.feedback import read_written_turns
from bandstand.judge.training.symmetry import measure_symmetry, read_balanced_set
from tests.judge.given import FOLLOWUP, local

LINES, SECOND, THIRD, FOURTH, PARAPHRASED = (
    Path(__file__).with_name(f"{name}_turns{number}.jsonl").read_text("utf-8").splitlines()
    for name, number in (("blind", ""), ("blind", "_2"), ("blind", "_3"), ("blind", "_4"), ("paraphrased", ""))
)

WRITTEN = read_written_turns()


@pytest.mark.parametrize(
    ("lines", "digest", "count", "sealed"),
    [
        (LINES, "c56c825140321f3a", 311, 150),
        (SECOND, "4bba5b9d6668a857", 349, 173),
        (THIRD, "cd59e6a8098b1ba3", 107, 107),
        (FOURTH, "79cd8a94b369eed4", 240, 240),
    ],
)
def test_they_are_the_turns_that_were_frozen(lines: list[str], digest: str, count: int, sealed: int) -> None:
    rows = [json.loads(line) for line in lines]
    content = json.dumps([sorted(row.items()) for row in rows]).encode()
    assert blake2b(content, digest_size=8).hexdigest() == digest
    assert len(rows) == count
    assert Counter(row["part"] for row in rows)["sealed"] == sealed


def test_no_sentence_of_more_than_three_words_was_trained_with() -> None:
    sentences = [example.source for example in generate_examples(seed=1, per_sentence=1)]
    known = {split_tokens(normalise_text(each)) for each in (*sentences, *(row.turn.query_t1 for row in WRITTEN))}
    messages = [json.loads(line)["query_t1"] for line in (*LINES, *SECOND, *THIRD, *FOURTH, *PARAPHRASED)]
    told = {split_tokens(normalise_text(message)) for message in messages if parse_rating(message) is None}
    assert {words for words in told & known if len(words) > 3} == set()


def test_no_written_turn_shares_four_words_in_a_row_with_a_set_that_thresholds_were_chosen_on() -> None:
    lines = [*LINES, *SECOND, *THIRD, *PARAPHRASED, *read_balanced_set()]
    known = set[tuple[str, ...]]().union(*(list_runs(json.loads(line)["query_t1"]) for line in lines))
    assert [row.turn.query_t1 for row in WRITTEN if not known.isdisjoint(list_runs(row.turn.query_t1))] == []


def list_runs(message: str) -> set[tuple[str, ...]]:
    """Every four words in a row; eight where the message has Chinese characters, each of which is a token."""
    tokens = split_tokens(normalise_text(message))
    length = 4 if "".join(tokens).isascii() else 8
    return {tokens[at : at + length] for at in range(len(tokens) - length + 1)}


@pytest.mark.parametrize(("lines", "right"), [([*LINES, *PARAPHRASED], 0.75), ([*SECOND, *THIRD], 0.6)])
async def test_nearly_nothing_teaches_the_wrong_way_and_most_feedback_teaches(lines: list[str], right: float) -> None:
    found = measure_symmetry(await judge_rows(local(), parse_rows(lines, FOLLOWUP, strict=True).rows), FOLLOWUP)
    assert found["right"]["value"] >= right
    assert found["wrong_way"]["value"] <= 0.01
    assert found["false_teaching"]["value"] <= 0.05


async def test_of_a_stranger_s_turns_most_feedback_teaches() -> None:
    """As measured once; what was aimed at, 0.01 and 0.05, was not reached (docs/judge.md)."""
    found = measure_symmetry(await judge_rows(local(), parse_rows(FOURTH, FOLLOWUP, strict=True).rows), FOLLOWUP)
    assert found["right"]["value"] >= 0.6
    assert found["wrong_way"]["value"] <= 0.035
    assert found["false_teaching"]["value"] <= 0.095
