import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.errors import InvalidRequestError
from bandstand.judge.turn import CORRECTION_LIMITS, FOLLOWUP_LIMITS, Turn, TurnLimits
from tests.judge.given import LAW

TEXTS = st.text(max_size=100)


def test_the_limits_are_the_contracts() -> None:
    assert FOLLOWUP_LIMITS[:3] == (2_000, 4_000, 2_000)
    assert FOLLOWUP_LIMITS.about == 500
    assert (CORRECTION_LIMITS.query_t1, CORRECTION_LIMITS.answer_t) == (1_000, 500)


def test_every_text_is_cut_to_its_own_limit_and_keeps_its_ends() -> None:
    turn = Turn("q" * 9_999 + "?", "a" * 9_999 + "?", "!" + "m" * 9_999 + "?").cut()
    assert [len(turn.query_t), len(turn.answer_t), len(turn.query_t1)] == [2_000, 4_000, 2_000]
    assert turn.answer_t.endswith("a?")
    assert turn.query_t1.startswith("!m")


@LAW
@given(TEXTS, TEXTS, TEXTS, st.integers(16, 60))
def test_cutting_a_cut_turn_changes_nothing(query: str, answer: str, message: str, limit: int) -> None:
    limits = TurnLimits(limit, limit, limit)
    once = Turn(query, answer, message).cut(limits)
    assert Turn(once.query_t, once.answer_t, once.query_t1).cut(limits) == once


def test_hidden_characters_do_not_count_towards_a_limit() -> None:
    assert Turn("", "", "\u200b" * 100_000 + "no").cut().query_t1 == "no"


def test_a_turn_is_read_from_a_mapping_with_more_in_it() -> None:
    assert Turn.parse({"query_t": "a", "answer_t": "b", "query_t1": "c", "id": 7}) == Turn("a", "b", "c")


@pytest.mark.parametrize("fields", [None, [], "text", {}, {"query_t": 1, "answer_t": None}])
def test_a_turn_without_its_texts_names_each(fields: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Turn.parse(fields)
    assert [error.field for error in caught.value.errors] == ["query_t", "answer_t", "query_t1"]


def test_what_was_chosen_is_optional_a_string_and_cut() -> None:
    fields = {"query_t": "q", "answer_t": "a", "query_t1": "m"}
    assert Turn.parse(fields) == Turn("q", "a", "m") == Turn.parse(fields | {"about": None})
    assert Turn.parse(fields | {"about": "hints first"}).about == "hints first"
    assert len(Turn("q", "a", "m", "x" * 9_999).cut().about) == 500
    assert not Turn("q", "a", "m", " \u200b ").cut().about
    with pytest.raises(InvalidRequestError) as caught:
        Turn.parse(fields | {"about": 1})
    assert [fault.field for fault in caught.value.errors] == ["about"]
