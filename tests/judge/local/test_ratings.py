import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.local.ratings import is_known_sign, parse_rating
from tests.judge.given import LAW


@pytest.mark.parametrize(
    "best", ["5/5", "10/10", "5 out of 5", "5 von 5", "5 de 5", "five stars", "五星", "⭐⭐⭐⭐⭐", "+1"]
)
def test_the_best_mark_is_one(best: str) -> None:
    assert parse_rating(best) == 1


@pytest.mark.parametrize(
    "worst", ["1/5", "0/10", "1 out of 5", "1 von 5", "1 de 5", "one star", "一星", "⭐", "★☆☆☆☆", "-1", "0/5"]
)
def test_the_worst_mark_is_minus_one(worst: str) -> None:
    assert parse_rating(worst) == -1


@LAW
@given(st.integers(1, 5))
def test_marks_out_of_five_are_mirrors_of_each_other(mark: int) -> None:
    one, other = parse_rating(f"{mark}/5"), parse_rating(f"{6 - mark}/5")
    assert one is not None
    assert other is not None
    assert one == pytest.approx(-other)


@pytest.mark.parametrize("rest", ["!", ", thanks", " would read again", " - too slow", ". 👍"])
def test_words_may_follow_a_mark(rest: str) -> None:
    assert parse_rating(f"2/10{rest}") == pytest.approx(-0.6)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "1/5 is my birthday",
        "12/5",
        "on 1/5",
        "1/5/2020",
        "the 5 of us",
        "⭐ great idea",
        "two",
        "x" * 200,
        "3 of them",
    ],
)
def test_what_is_no_mark_is_none(message: str) -> None:
    assert parse_rating(message) is None


@pytest.mark.parametrize("sign", "👍👎😍😡⭐💔")
def test_signs_of_known_meaning_are_known(sign: str) -> None:
    assert is_known_sign(sign)


@pytest.mark.parametrize("sign", "🧶🪐🦑🗿")
def test_others_are_not(sign: str) -> None:
    assert not is_known_sign(sign)
