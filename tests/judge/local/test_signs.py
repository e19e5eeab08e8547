"""Signs that praise have mirrors that complain: equally many, equally sure, in the same places."""

import tomllib
from importlib import resources

import pytest

from bandstand.judge.gate import applied
from bandstand.judge.turn import Turn
from tests.judge.given import FOLLOWUP, OFFERED, TOLD, local

RULES = {
    rule["id"]: rule
    for rule in tomllib.loads(
        resources.files("bandstand.judge").joinpath("data", "rules", "signs.toml").read_text("utf-8")
    )["rules"]
}
MIRRORS = [("any.thumb-up", "any.thumb-down"), ("any.yes-sign", "any.no-sign"), ("any.glad", "any.sore")]


@pytest.mark.parametrize(("one", "other"), MIRRORS)
def test_mirrors_stand_in_the_same_places(one: str, other: str) -> None:
    places = ("where", "after", "about", "outranks")
    assert [RULES[one].get(key) for key in places] == [RULES[other].get(key) for key in places]


@pytest.mark.parametrize("about", ["", "terse: one sentence"])
@pytest.mark.parametrize(
    ("praise", "complaint"),
    [("👍", "👎"), ("😍", "😡"), ("5/5", "1/5"), ("⭐⭐⭐⭐⭐", "⭐"), ("+1", "-1"), ("❤️", "💔")],
)
def test_a_complaint_is_as_sure_as_its_praise(praise: str, complaint: str, about: str) -> None:
    good, bad = (
        applied(local().verdict(Turn("Why?", TOLD, message, about).cut()), FOLLOWUP) for message in (praise, complaint)
    )
    assert good.should_update
    assert bad.should_update
    assert good.reward == pytest.approx(-bad.reward)
    assert good.confidence == pytest.approx(bad.confidence, abs=0.1)


@pytest.mark.parametrize("message", ["👍", "👎"])
def test_a_thumb_after_an_offer_answers_it(message: str) -> None:
    assert local().verdict(Turn("", OFFERED, message).cut()).label == "neutral"


def test_a_mark_in_the_middle_is_neutral() -> None:
    assert local().verdict(Turn("", TOLD, "3/5").cut()).label == "neutral"
