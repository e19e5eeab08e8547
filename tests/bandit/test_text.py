"""Text as numbers: the same everywhere, alike for what is alike, and no larger for being long."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.encoding import MAX_TEXT_COLUMNS
from bandstand.bandit.features import read_features
from bandstand.bandit.text import fold_text, hash_text
from bandstand.errors import ConfigurationError
from tests.bandit.given import LAW, schema_of

TEXT = {"name": "words", "source": "candidate.content", "encoding": "text"}


def similarity(one: str, other: str, columns: int = 64) -> float:
    a, b = (np.array(hash_text(text, columns, "key")[:-1]) for text in (one, other))
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def test_it_is_the_same_in_every_process() -> None:
    code = "from bandstand.bandit.text import hash_text; print(repr(hash_text('Grüß Gott! 你好', 8, 'key')))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == repr(hash_text("Grüß Gott! 你好", 8, "key"))
    assert [round(cell, 6) for cell in hash_text("Well done!", 6, "key")] == WELL_DONE


WELL_DONE = [0.206054, 0.213201, 0.426401, -0.529428, 0.213201, 0.347081]


@given(text=st.text(max_size=60), columns=st.integers(2, MAX_TEXT_COLUMNS))
@LAW
def test_any_text_is_so_many_small_numbers(text: str, columns: int) -> None:
    cells = hash_text(text, columns, "key")
    assert len(cells) == columns
    assert all(math.isfinite(cell) for cell in cells)
    assert math.fsum(cell * cell for cell in cells[:-1]) <= 2.0 + 1e-9
    assert cells == hash_text(text, columns, "key")


@given(text=st.text(max_size=40))
@LAW
def test_folding_is_done_once(text: str) -> None:
    folded = fold_text(text)
    assert fold_text(folded) == folded or len(fold_text(folded)) <= len(folded)


def test_case_width_and_spaces_do_not_matter_but_for_the_length() -> None:
    assert hash_text("Please  SIT down", 32, "key")[:-1] == hash_text("please ｓｉｔ\ndown", 32, "key")[:-1]


def test_alike_is_near_and_unlike_is_far() -> None:
    """Of a word's forms, of the same words in another order; and of nothing in common, but for the hash's 1/√63."""
    assert similarity("thank you kindly, dear friend", "thank you so kindly, dear friends") > 0.6
    assert similarity("walk the dog, then eat", "eat, then walk the dog") > 0.6
    assert abs(similarity("walk the dog", "pay quarterly invoices")) < 0.4
    assert similarity("先把房租交了吧", "先把电费交了吧") > similarity("先把房租交了吧", "给妈妈打个电话") + 0.2


def test_long_texts_are_no_larger_and_say_that_they_are_long() -> None:
    short, long = (np.array(hash_text(text, 64, "key")) for text in ("sit down", "sit down and rest " * 200))
    assert float(long[:-1] @ long[:-1]) < 2.0
    assert 0.2 < short[-1] < 0.5
    assert 1.0 < long[-1] < 1.5


def test_another_feature_has_another_hash() -> None:
    assert hash_text("sit down", 64, "key") != hash_text("sit down", 64, "other")


def test_a_schema_reads_the_candidates_content() -> None:
    schema = schema_of(TEXT, intercept=True)
    assert schema.dimension == 65
    assert schema.labels[1] == "words~0"
    assert schema.labels[-1] == "words~length"
    candidates: list[dict[str, Any]] = [
        {"id": "a", "content": "Sit down."},
        {"id": "b", "content": "", "features": {"content": "Stand up."}},
    ]
    x = schema.encode({}, schema.read_candidates(candidates))
    assert x[0, 1:].tolist() == list(hash_text("Sit down.", 64, "words"))
    assert x[1, 1:].tolist() == list(hash_text("Stand up.", 64, "words"))
    both = {"content": ["Sit down.", "Stand up."]}
    assert schema.encode_columns({}, both, (1, 2))[0].tobytes() == x.tobytes()


def test_a_candidate_without_content_has_its_features() -> None:
    assert read_features({"id": "a", "features": {"priority": 3}}) == {"priority": 3}
    assert read_features({"id": "a"}) == {}
    assert read_features({"id": "a", "content": "x", "features": {"priority": 3}}) == {"content": "x", "priority": 3}


def test_columns_are_up_to_64_and_centred_as_any() -> None:
    schema = schema_of({**TEXT, "columns": 8, "centre": 0.5})
    (row,) = schema.encode({}, [{"content": "Sit down."}])
    assert row.tolist() == [cell - 0.5 for cell in hash_text("Sit down.", 8, "words")]


@pytest.mark.parametrize("columns", [1, 65, "8", 2.0])
def test_other_columns_are_refused(columns: object) -> None:
    with pytest.raises(ConfigurationError, match=r"features\[0\]\.columns: must be an integer from 2 to 64"):
        schema_of({**TEXT, "columns": columns})
