import json
from importlib import resources

import pytest

from bandstand.judge.local.normalise import normalise_turn
from bandstand.judge.local.topic_shift import WEIGHTS, compute_shift_features, compute_shift_probability
from bandstand.judge.turn import Turn
from tests.judge.given import local


def judge_shift(question: str, answer: str, message: str) -> float:
    return compute_shift_probability(normalise_turn(Turn(question, answer, message).cut()))


@pytest.mark.parametrize(
    ("question", "answer", "message"),
    [
        ("I just finished work", "Nice, I am a nurse.", "cool. do you have any pets?"),
        ("we have two dogs", "I love dogs!", "great! what do you do for a living?"),
        ("ich habe zwei Hunde", "Ich mag Hunde.", "schön. und was machst du beruflich, hast du einen Job?"),
    ],
)
def test_a_question_about_a_subject_of_its_own_is_a_shift(question: str, answer: str, message: str) -> None:
    assert judge_shift(question, answer, message) >= 0.5


@pytest.mark.parametrize(
    ("question", "answer", "message"),
    [
        ("I just finished work", "Nice, what do you do?", "I am a nurse, the nights are long"),
        ("we have two dogs", "I love dogs! I have one.", "what is its name?"),
        ("we have two dogs", "I love dogs!", "that is nice"),
        ("we have two dogs", "How old are they?", "seven, both of them"),
        ("Recommend a film", "Harbour Lights, it is a comedy.", "who is in it?"),
    ],
)
def test_what_stays_on_the_subject_is_none(question: str, answer: str, message: str) -> None:
    assert judge_shift(question, answer, message) < 0.5


def test_the_local_tier_says_so_and_it_never_teaches() -> None:
    verdict = local().verdict(Turn("we have two dogs", "I love dogs!", "great! what do you do for a living?").cut())
    assert verdict.label == "topic_shift"
    assert dict(verdict.probabilities)["topic_shift"] == verdict.confidence


def test_every_feature_has_a_weight_and_is_bounded() -> None:
    features = compute_shift_features(normalise_turn(Turn("a dog", "a cat?", "do you like it? " * 30).cut()))
    assert features.keys() == WEIGHTS.keys()
    assert all(0 <= value <= 2 for value in features.values())


@pytest.mark.parametrize("name", ["small-talk.jsonl", "balanced.jsonl"])
def test_at_most_a_tenth_of_the_others_is_called_so(name: str) -> None:
    text = resources.files("bandstand.judge").joinpath("data", name).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    others = [row for row in rows if not row.get("topic_shift", row.get("label") == "topic_shift")]
    called = [judge_shift(row["query_t"], row["answer_t"], row["query_t1"]) >= 0.5 for row in others]
    assert len(others) >= 70
    assert sum(called) / len(called) <= 0.1


def test_every_sign_counts_alike() -> None:
    assert {abs(weight) for name, weight in WEIGHTS.items() if name != "bias"} == {1.0}
