from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.local.ngrams import (
    BUCKETS,
    CHARS,
    CUES,
    DECISIVE_WORDS,
    SIDE,
    TURN_FEATURES,
    WORDS,
    Features,
    extract_features,
)
from tests.judge.given import LAW, OFFERED, TOLD, normalise_message

ANY_TEXT = st.text(st.characters(codec=None, categories=None, exclude_categories=()), max_size=200)


def shared(one: Features, other: Features) -> float:
    """The share of character buckets that two turns have in common."""
    return len(np.intersect1d(one.chars, other.chars)) / max(len(one.chars), len(other.chars))


@LAW
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_each_family_is_a_set_of_its_own_buckets(query: str, answer: str, message: str) -> None:
    ends = list(accumulate((CHARS, WORDS, TURN_FEATURES, DECISIVE_WORDS, CUES)))
    assert 2 * ends[-1] == 2 * SIDE == BUCKETS
    plain = normalise_message(message, answer, query)
    for side, turn in ((0, plain), (SIDE, replace(plain, about=("terse",)))):
        features = extract_features(turn)
        for ids, first, end in zip(features, (0, *ends), ends, strict=False):
            assert np.all(np.diff(ids) > 0)
            assert np.all((side + first <= ids) & (ids < side + end))
        assert len(features.turn_features) >= 3


@LAW
@given(ANY_TEXT)
def test_the_same_turn_has_the_same_features(message: str) -> None:
    for one, other in zip(
        extract_features(normalise_message(message)), extract_features(normalise_message(message)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_the_buckets_are_these_on_every_machine() -> None:
    features = extract_features(normalise_message("Das ist falsch, 不对", OFFERED, "wie spät?"))
    assert [int(ids.sum()) for ids in features] == [1005699, 481844, 356085, 0, 0]


def test_a_spelling_mistake_leaves_most_characters_as_they_were() -> None:
    right, slip = (
        extract_features(normalise_message("that recommendation is wrong")),
        extract_features(normalise_message("that recomendation is wrong")),
    )
    other = extract_features(normalise_message("lovely weather in the mountains"))
    assert shared(right, slip) > 0.7
    assert shared(right, other) < 0.2


def test_a_word_said_a_hundred_times_is_no_more_words() -> None:
    once, often = (
        extract_features(normalise_message("great stuff")),
        extract_features(normalise_message("great stuff " * 30)),
    )
    assert len(often.words) <= len(once.words) + 1


@pytest.mark.parametrize("message", ["no", "不用", "no thanks"])
def test_an_answer_that_asked_makes_another_turn_of_the_same_words(message: str) -> None:
    asked, told = (
        extract_features(normalise_message(message, OFFERED)),
        extract_features(normalise_message(message, TOLD)),
    )
    np.testing.assert_array_equal(asked.words, told.words)
    assert not np.array_equal(asked.turn_features, told.turn_features)


def test_a_message_of_nothing_still_has_facts() -> None:
    assert len(extract_features(normalise_message("")).turn_features) >= 3
