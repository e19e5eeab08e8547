import pytest

from bandstand.judge.gate import applied
from bandstand.judge.local.feedback import FeedbackModel, FeedbackWeights, hash_facts, load_shipped_feedback
from bandstand.judge.turn import Turn
from tests.judge.given import CORRECTION, FOLLOWUP, local


def test_what_is_written_is_read_again_and_has_the_same_hash() -> None:
    shipped = load_shipped_feedback()
    again = FeedbackWeights.from_bytes(shipped.to_bytes())
    assert again.hash == shipped.hash
    assert again.to_bytes() == shipped.to_bytes()


def test_another_taxonomy_has_no_such_weights() -> None:
    assert FeedbackModel.shipped(CORRECTION) is None
    assert FeedbackModel.shipped(FOLLOWUP) is not None


def test_facts_count_once_and_in_no_order() -> None:
    assert hash_facts(["b", "a", "b"]) == hash_facts(["a", "b"])


@pytest.mark.parametrize(
    ("message", "sign"),
    [
        ("your hints annoy me", -1),
        ("I hate the hints", -1),
        ("I love the little hints", 1),
        ("and how do I solve 4x = 20?", 0),
        ("my brother hates hints", 0),
    ],
)
def test_feedback_on_what_was_chosen_teaches_its_sign_and_nothing_else_does(message: str, sign: int) -> None:
    turn = Turn(
        "How do I solve 3x = 12?", "What could you divide by?", message, "hints first: a hint before any solution"
    )
    verdict = local().verdict(turn.cut())
    reward = applied(verdict, FOLLOWUP).reward
    assert (reward > 0) - (reward < 0) == sign
    if sign:
        assert verdict.target == "behaviour"
