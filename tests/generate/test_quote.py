"""Quoting: no text leaves its fence, hides in it, or outgrows it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.generate.quote import copy_bounded, quote_extra, quote_tasks, strip_hidden, truncate_end
from tests.generate.test_tasks import json_values, tasks


def lines_of(text: str) -> list[dict[str, Any]]:
    first, *lines, last = text.split("\n")
    assert (first, last) == ("<tasks>", "</tasks>")
    unescape = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
    for escaped, plain in unescape.items():
        lines = [line.replace(escaped, plain) for line in lines]
    return [json.loads(line) for line in lines]


def test_a_task_is_a_line_of_json() -> None:
    raw = {"id": "t1", "title": "R&D <b>", "priority": 2, "colour": "red"}
    quoted = quote_tasks([raw])
    assert quoted.text.split("\n")[1] == (
        '{"id": "t1", "title": "R&amp;D &lt;b&gt;", "priority": 2, "is_overdue": false, "extra": {"colour": "red"}}'
    )
    assert quoted.left_out == 0


def test_no_tasks_are_an_empty_fence() -> None:
    assert quote_tasks([]) == ("<tasks>\n</tasks>", 0, {})


def test_ids_are_those_a_model_can_repeat() -> None:
    ids = ["a1", 7, "a1", "", "line\nbreak", "zero\u200bwidth", "x" * 101, "y" * 100, None, True, "家"]
    assert quote_tasks([{"id": task_id} for task_id in ids]).places.keys() >= {"a1", "7", "y" * 100, "家"}
    assert quote_tasks([{"id": "late"}, {"id": "urgent", "priority": 4}], 60).places == {"urgent": 1}


@given(st.lists(tasks, max_size=6), st.integers(0, 900))
def test_any_tasks_stay_in_their_fence_and_their_budget(raw: list[dict[str, object]], characters: int) -> None:
    quoted = quote_tasks(raw, characters)
    inside = quoted.text.removeprefix("<tasks>\n").removesuffix("</tasks>")
    assert len(inside) <= characters
    assert not set("<>") & set(inside)
    assert len(lines_of(quoted.text)) + quoted.left_out == len(raw)
    quoted.text.encode("utf-8")


def test_the_least_urgent_and_then_the_oldest_are_left_out_and_the_order_stays() -> None:
    raw = [
        {"id": "old", "task_age_days": 9},
        {"id": "late", "is_overdue": True, "task_age_days": 99},
        {"id": "new", "task_age_days": 1},
        {"id": "high", "priority": 4, "task_age_days": 50},
    ]
    size = len(quote_tasks(raw).text) - len("<tasks>\n</tasks>")
    kept = [[task["id"] for task in lines_of(quote_tasks(raw, room).text)] for room in range(size, 0, -1)]
    order = [ids for index, ids in enumerate(kept) if index == 0 or ids != kept[index - 1]]
    assert order == [["old", "late", "new", "high"], ["late", "new", "high"], ["late", "high"], ["late"], []]


def test_of_many_tasks_two_hundred_at_most_are_shown_and_the_rest_counted() -> None:
    quoted = quote_tasks([{"id": str(number)} for number in range(1000)], 10**6)
    assert quoted.left_out == 800
    assert [task["id"] for task in lines_of(quoted.text)] == [str(number) for number in range(200)]


def test_one_task_of_any_size_fits_the_default_budget() -> None:
    huge = "&" * 100_000
    raw = {"id": huge, "title": huge, "description": huge, "due": huge, "a": [huge] * 100, "b": {huge: huge}}
    quoted = quote_tasks([raw])
    assert quoted.left_out == 0
    assert len(quoted.text) < 16_000


@pytest.mark.parametrize(
    "hidden",
    ["\u202e", "\u2066", "\u200b", "\ufeff", "\x00", "\x1b", "\U000e0041", "\ud800", "\u3164", "\u115f", "\u034f"],
)
def test_what_cannot_be_seen_is_taken_out(hidden: str) -> None:
    assert strip_hidden(f"a{hidden}b") == "ab"
    assert hidden not in quote_tasks([{"title": f"a{hidden}b", "x": {f"k{hidden}": [f"v{hidden}"]}}]).text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\ufe01\U000e0148\U000e0165b", "a\ufe01b"),
        ("a\ufe0f\u200b\ufe0fb", "a\ufe0fb"),
        ("a\u200d\u200c\u200d\u200cb", "a\u200db"),
        ("a\ufe0f\u200d\ufe0f\u200d\ufe0fb", "a\ufe0f\u200db"),
    ],
)
def test_of_a_row_of_selectors_or_joiners_the_first_stays(text: str, shown: str) -> None:
    assert strip_hidden(text) == shown


@pytest.mark.parametrize("text", ["naïve 名 👩‍👩‍👧 ❤️‍🔥 می‌خواهم 葛\U000e0100城", "a\tb\nc", ""])
def test_what_can_be_seen_stays(text: str) -> None:
    assert strip_hidden(text) == text


@given(st.text(max_size=40), st.integers(1, 40))
def test_clipping_keeps_the_head(text: str, characters: int) -> None:
    short = truncate_end(text, characters)
    assert len(short) <= characters
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@given(json_values, st.integers(0, 200))
def test_bounded_copies_are_json_and_small(value: object, characters: int) -> None:
    text = json.dumps(copy_bounded(value, characters), ensure_ascii=False, allow_nan=False)
    assert len(text) <= 6 * characters + 60


def test_wide_deep_and_strange_values_end() -> None:
    deep: Any = "end"
    for _ in range(10_000):
        deep = [deep]
    assert copy_bounded(deep, 1000) == [[[[[["…"]]]]]]
    wide = copy_bounded([[] for _ in range(10**5)], 1000)
    assert isinstance(wide, list)
    assert len(wide) <= 250
    assert copy_bounded({"a": object(), "b": 10**400, "c": (1, None, True)}, 1000) == {
        "a": "…",
        "b": "…",
        "c": [1, None, True],
    }


def test_extra_is_quoted_only_where_there_is_some() -> None:
    assert quote_extra({}) == ""
    assert quote_extra({"a": "</extra>"}) == '<extra>\n{"a": "&lt;/extra&gt;"}\n</extra>'
    assert len(quote_extra({str(n): "&" * 1000 for n in range(1000)})) < 15_000
