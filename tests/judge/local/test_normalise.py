import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.local.normalise import (
    WINDOW,
    compute_similarity,
    has_closing_question,
)
from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.turn import Turn
from tests.judge.given import LAW, normalise_message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Don’t", "dont"),
        ("ＰＥＲＦＥＣＴ", "perfect"),
        ("¿QUÉ SIGNIFICA?", "¿que significa?"),
        ("Überbewertet", "uberbewertet"),
        ("你說錯了，沒有這個", "你说错了，没有这个"),
        ("in 1998", "in 2017"),
    ],
)
def test_what_makes_no_difference_is_folded(one: str, other: str) -> None:
    assert split_tokens(normalise_text(one)) == split_tokens(normalise_text(other))


def test_chinese_is_read_by_characters_and_the_rest_by_words() -> None:
    assert split_tokens(normalise_text("OK, 再说一遍 please 👍?")) == (
        "ok",
        "再",
        "说",
        "一",
        "遍",
        "please",
        "👍",
        "?",
    )


@pytest.mark.parametrize(
    "answer",
    [
        "Would you like more?",
        "Would you like more? :)",
        "Want me to book it? Just let me know!",
        "还需要别的吗？",
        "还需要别的吗",
        "¿Quieres más?",
        "Shall I?\n\n",
        "A" * 5_000 + " Is that right?",
    ],
)
def test_an_answer_that_closes_with_a_question_asks(answer: str) -> None:
    assert has_closing_question(Turn("", answer, "").cut().answer_t)


@pytest.mark.parametrize(
    "answer",
    ["", "It is Sydney.", "Why? Because the harbour is there and everybody has seen it on a postcard.", "好的。"],
)
def test_an_answer_that_closes_otherwise_does_not(answer: str) -> None:
    assert not has_closing_question(answer)


@LAW
@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_a_symmetric_share(one: str, other: str) -> None:
    first, second = split_tokens(normalise_text(one)), split_tokens(normalise_text(other))
    assert 0 <= compute_similarity(first, second) <= 1
    if compute_similarity(first, second) and compute_similarity(second, first):
        assert compute_similarity(first, second) == compute_similarity(second, first)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("recommend a funny film for tonight", "Recommend a funny film for tonight!!"),
        ("推荐一部轻松的喜剧电影", "推薦一部輕鬆的喜劇電影？"),
        ("¿cómo arreglo la impresora?", "como arreglo la impresora"),
    ],
)
def test_the_same_question_again_is_alike_in_any_script(question: str, message: str) -> None:
    assert normalise_message(message, question=question).similarity >= 0.8


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("推荐一部轻松的喜剧电影", "那部电影在哪里可以看"),
        ("how do I cook rice?", "how much does that cost?"),
        ("hi", "hi"),
    ],
)
def test_another_message_is_not(question: str, message: str) -> None:
    assert normalise_message(message, question=question).similarity < 0.5


@LAW
@given(st.text(max_size=1_500))
def test_a_reading_never_grows_with_the_message(message: str) -> None:
    read = normalise_message(message)
    assert len(read.text) <= WINDOW
    assert len(read.tokens) <= WINDOW


def test_no_character_makes_a_reading_long() -> None:
    assert len(normalise_message("\ufdfa" * 2_000).text) <= WINDOW
