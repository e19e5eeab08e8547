import pytest

from bandstand.judge.local.slots import expand_slots


def test_a_phrase_stands_for_every_choice_of_its_slots() -> None:
    slots = {"unit": ["week", "month"], "count": ["two", "a few"]}
    assert list(expand_slots("{count} {unit}s ago", slots)) == [
        "two weeks ago",
        "two months ago",
        "a few weeks ago",
        "a few months ago",
    ]


def test_a_phrase_without_slots_stands_for_itself() -> None:
    assert list(expand_slots("long ago", {})) == ["long ago"]


def test_a_slot_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError, match="unit"):
        list(expand_slots("last {unit}", {}))
