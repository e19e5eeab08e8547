import pytest

from bandstand.judge.gate import applied
from bandstand.judge.local.normalise import normalise_turn
from bandstand.judge.local.target import find_target
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import TARGET_MEANINGS, TARGETS
from tests.judge.given import FOLLOWUP, TOLD, local

ABOUT = "hints first: a hint before any solution"


def judge_about(message: str, about: str = ABOUT):  # type: ignore[no-untyped-def]  # noqa: ANN201 - a verdict and what it teaches
    verdict = local().verdict(Turn("How do I solve 3x = 12?", TOLD, message, about).cut())
    return verdict, applied(verdict, FOLLOWUP)


def test_every_target_has_a_meaning() -> None:
    assert tuple(TARGET_MEANINGS) == TARGETS


@pytest.mark.parametrize(
    ("message", "target"),
    [
        ("I love the hints", "behaviour"),
        ("stop giving me hints", "behaviour"),
        ("👎", "behaviour"),
        ("1/5", "behaviour"),
        ("there is a typo in the second line", "content"),
        ('translate "I hate hints" into French', "quoted"),
        ("yesterday I hated the hints. and 4x = 8?", "historical"),
        ("my brother hates hints. and 4x = 8?", "other_person"),
        ("what if I hated hints?", "none"),
        ("and 4x = 8?", "none"),
    ],
)
def test_a_verdict_says_what_the_message_speaks_of(message: str, target: str) -> None:
    assert judge_about(message)[0].target == target


@pytest.mark.parametrize("message", ["stop giving me hints", "just tell me the answer", "👎", "the hints annoy me"])
def test_complaints_about_what_was_chosen_teach(message: str) -> None:
    assert judge_about(message)[1].reward < -0.5


@pytest.mark.parametrize("message", ["I love the hints", "always do it like this", "👍", "not bad, these hints"])
def test_praise_of_what_was_chosen_teaches(message: str) -> None:
    assert judge_about(message)[1].reward > 0.5


@pytest.mark.parametrize(
    "message",
    [
        "there is a typo in the second line",
        'translate "I hate hints" into French',
        "yesterday I hated the hints. and 4x = 8?",
        "my brother hates hints. and 4x = 8?",
        "what if I hated hints?",
        "and 4x = 8?",
        "x = 4?",
        "thanks",
    ],
)
def test_everything_else_is_off_target_and_teaches_nothing(message: str) -> None:
    verdict, result = judge_about(message)
    assert verdict.about
    assert not result.should_update
    assert result.withheld in {"off_target", "never_updates"}


@pytest.mark.parametrize(
    ("message", "target"),
    [
        ("so annoying", "behaviour"),
        ("these hints are annoying when I am in a hurry to get home", "behaviour"),
        ("a horrible train, the one to Oslo, and the one to Bergen is worse", "content"),
        ("Oslo is horrible in winter, the train to Bergen is delayed again", "content"),
        ("your way of telling me about the train is annoying", "behaviour"),
    ],
)
def test_a_complaint_needs_more_signs_for_the_behaviour_than_for_what_was_asked(message: str, target: str) -> None:
    turn = Turn("When does the train to Oslo leave?", "The train to Bergen leaves at nine.", message, ABOUT)
    assert find_target(normalise_turn(turn.cut()), "negative", None) == target


def test_what_a_rule_says_counts_for_two_signs() -> None:
    turn = normalise_turn(Turn("When does the train leave?", "At nine.", "the train again", ABOUT).cut())
    assert find_target(turn, "negative", None) == "content"
    assert find_target(turn, "negative", "behaviour") == "behaviour"
    assert find_target(turn, "negative", "content") == "content"


def test_without_what_was_chosen_the_target_is_said_and_does_not_count() -> None:
    verdict, result = judge_about("there is a typo in the second line", about="")
    assert (verdict.target, verdict.about) == ("content", False)
    assert result.should_update
