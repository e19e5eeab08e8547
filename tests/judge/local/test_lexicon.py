import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.local.lexicon import (
    WordKind,
    build_cues,
    contradicts_stand,
    find_decisive_stand,
    find_kinds,
    find_stand,
    is_negated,
    is_question,
    supports_stand,
)
from bandstand.judge.local.tokens import normalise_text, split_tokens
from tests.judge.given import LAW

ANY_TEXT = st.text(st.characters(codec=None, categories=None, exclude_categories=()), max_size=300)


def read_tokens(message: str) -> tuple[str, ...]:
    return split_tokens(normalise_text(message))


def read_cues(message: str) -> tuple[str, ...]:
    return build_cues(split_tokens(normalise_text(message)), ())


def is_supported(message: str, *, is_praise: bool) -> bool:
    return supports_stand(split_tokens(normalise_text(message)), is_praise=is_praise)


@pytest.mark.parametrize("message", ["brilliant", "das ist hilfreich", "me encanta", "很清楚", "that isn't bad at all"])
def test_words_of_praise_bear_out_praise_alone(message: str) -> None:
    assert is_supported(message, is_praise=True)
    assert not is_supported(message, is_praise=False)


@pytest.mark.parametrize("message", ["annoying", "das nervt", "qué pesado", "太啰嗦了", "this is not helpful"])
def test_words_of_displeasure_bear_out_a_complaint_alone(message: str) -> None:
    assert is_supported(message, is_praise=False)
    assert not is_supported(message, is_praise=True)


@pytest.mark.parametrize("message", ["shorter, please", "etwas mehr davon", "prefiero otra cosa", "请直接说"])
def test_a_wish_bears_out_a_complaint(message: str) -> None:
    assert is_supported(message, is_praise=False)


@pytest.mark.parametrize("message", ["the moon orbits the earth", "Rom liegt am Tiber", "2 + 2"])
def test_facts_bear_out_nothing(message: str) -> None:
    assert not is_supported(message, is_praise=True)
    assert not is_supported(message, is_praise=False)


def test_a_negation_reaches_four_words_and_no_further() -> None:
    assert "balance-1" in read_cues("not a very good")
    assert "balance1" in read_cues("not on the table any more today, good")


def test_what_decides_is_counted_again() -> None:
    tokens = split_tokens("nice but annoying")
    assert "decisive-1:endscomplaint" in build_cues(tokens, tokens[2:])
    assert not [cue for cue in build_cues(tokens, ()) if cue.startswith("decisive")]


@pytest.mark.parametrize(
    ("message", "side"),
    [
        ("what a lovely tone", "praise"),
        ("not bad at all", "praise"),
        ("gar nicht schlecht", "praise"),
        ("this drives me up the wall", "complaint"),
        ("nicht hilfreich", "complaint"),
        ("me aburre", "complaint"),
        ("太枯燥了", "complaint"),
        ("nice, now shorter please", None),
        ("good but boring", None),
        ("is it good?", None),
        ("thanks", None),
        ("the moon", None),
    ],
)
def test_a_stand_is_what_all_words_are_on_the_side_of(message: str, side: WordKind | None) -> None:
    assert find_stand(read_tokens(message)) == side


@pytest.mark.parametrize(
    ("ahead", "decisive", "side"),
    [
        ("lovely", "boring", "complaint"),
        ("boring", "lovely", "praise"),
        ("lovely", "it is 1990", "complaint"),
        ("boring", "it is 1990", "praise"),
        ("i see", "i want a tip", "complaint"),
        ("lovely", "is it 1990?", None),
    ],
)
def test_what_follows_a_but_turns_what_stands_ahead(ahead: str, decisive: str, side: WordKind | None) -> None:
    assert find_decisive_stand(read_tokens(decisive), read_tokens(ahead)) == side


def test_words_speak_against_the_other_stand_and_questions_of_fact_against_both() -> None:
    boring, when = read_tokens("so boring"), read_tokens("when was it")
    assert contradicts_stand(boring, find_stand(boring), "praise")
    assert not contradicts_stand(boring, find_stand(boring), "complaint")
    assert contradicts_stand(when, find_stand(when), "praise")
    assert contradicts_stand(when, find_stand(when), "complaint")
    assert not contradicts_stand(boring * 10, "complaint", "praise"), "long messages speak of many things"


@pytest.mark.parametrize("message", ["not a bad", "gar keine schlechte", "alles andere als schlecht", "一 点 也 不 烦"])
def test_a_negation_reaches_over_words_of_degree(message: str) -> None:
    tokens = read_tokens(message)
    assert is_negated(tokens, len(tokens) - 1)


@pytest.mark.parametrize("message", ["no wrong", "not clear bad", "不 换", "bad"])
def test_an_answer_negates_nothing(message: str) -> None:
    tokens = read_tokens(message)
    assert not is_negated(tokens, len(tokens) - 1)


@pytest.mark.parametrize("message", ["which one", "wo ist das", "is it far?"])
def test_questions_open_with_their_words_or_end_with_a_mark(message: str) -> None:
    assert is_question(split_tokens(message))
    assert not is_question(split_tokens("it is far"))


def test_persons_are_words_of_their_kind() -> None:
    assert "me" in find_kinds(("give", "me", "that"))
    assert find_kinds(("the", "moon")).isdisjoint({"me", "you"})


@LAW
@given(ANY_TEXT)
def test_any_text_has_a_few_cues(message: str) -> None:
    assert 4 <= len(read_cues(message)) <= 11
