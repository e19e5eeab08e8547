"""One word, however it is dressed, and nothing read into what does not say one."""

import doctest

import pytest

from bandstand.simulate.judges import parse_word
from bandstand.simulate.judges.parse_word import read_word


@pytest.mark.parametrize("action", ["done", "snooze", "dismiss"])
@pytest.mark.parametrize(
    "dress",
    [
        "{}",
        " {}\n",
        "{}.",
        "{}!",
        "**{}**",
        "**{}.**",
        "`{}`",
        '"{}"',
        "_{}_",
        "- {}",
        "# {}",
        "Answer: {}",
        "({})",
        "{}…",
    ],
)
def test_one_action_is_read_through_its_dress(action: str, dress: str) -> None:
    for written in (action, action.capitalize(), action.upper()):
        assert read_word(dress.format(written)) == action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("They like mornings, so they would get it done.\n\nsnooze", "snooze"),
        ("I considered dismiss and done.\n**Snooze**\n", "snooze"),
        ("He would dismiss it.", "dismiss"),
        ("Dismissed.", "dismiss"),
        ("She snoozes", "snooze"),
        ("done done", "done"),
        ("  \n\nDone\n\n---\n", "done"),
    ],
)
def test_the_last_line_or_the_only_action_counts(text: str, action: str) -> None:
    assert read_word(text) == action


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "…",
        "42",
        "done or snooze",
        "done, snooze or dismiss",
        "not done",
        "They won't dismiss it",
        "He can’t get it done",
        "never snooze",
        "maybe",
        "donee",
        "undone",
        "完成",
    ],
)
def test_what_does_not_mean_one_action_is_not_read(text: str) -> None:
    assert read_word(text) is None


def test_a_flood_of_text_is_read_from_its_end() -> None:
    assert read_word("snooze " * 100_000 + "\ndone") == "done"


def test_the_examples_in_the_docstring_hold() -> None:
    assert doctest.testmod(parse_word).failed == 0


@pytest.mark.parametrize("text", ["<think>done, or dismiss it?</think>snooze", "not done\n</think>\n**Snooze**"])
def test_what_was_thought_aloud_does_not_count(text: str) -> None:
    assert read_word(text) == "snooze"
