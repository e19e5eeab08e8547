"""JSON in what a model wrote: after its thoughts, in its prose, in fences within that prose."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.llm.reply_json import iter_json_values, iter_passages, strip_thoughts

ANSWER = {"label": "x", "items": [1, {"inner": 2}]}
WRITTEN = json.dumps(ANSWER)


def read(text: str, opening: str = "{") -> list[Any]:
    return list(iter_json_values(strip_thoughts(text), opening))


@pytest.mark.parametrize("mark", ["think", "thinking", "Reasoning", "THOUGHT", "scratchpad", "reflection"])
def test_what_comes_after_the_thoughts_is_the_answer(mark: str) -> None:
    for text in (
        f"<{mark}>{{}} [1]</{mark}>{WRITTEN}",
        f"{{}} [1]</{mark} >\n{WRITTEN}",
        f"<{mark}>{{}}</{mark}> <{mark}>[1]</{mark}>```json\n{WRITTEN}\n```",
    ):
        assert read(text, "[{") == [ANSWER]


def test_a_text_without_thoughts_is_one_passage() -> None:
    assert list(iter_passages(WRITTEN)) == [WRITTEN]
    assert list(iter_passages(f"a</think>{WRITTEN}")) == [WRITTEN, f"a</think>{WRITTEN}"]


def test_values_come_in_order_and_none_from_inside_another() -> None:
    assert read(f"Of {{these}} [1, 2]: ```\n{WRITTEN}``` and {WRITTEN}{{}}") == [ANSWER, ANSWER, {}]
    assert read("[[1], {}] {", "[{") == [[[1], {}]]


def test_constants_are_refused_where_they_are_no_values() -> None:
    assert [str(each) for each in read('{"a": NaN}')] == ["{'a': nan}"]
    assert list(iter_json_values('{"a": NaN}', constants=False)) == []


@given(st.text(alphabet='<>/think{}[]",:1 '))
def test_any_text_is_read(text: str) -> None:
    for passage in iter_passages(text):
        values: Iterator[Any] = iter_json_values(passage, "[{")
        assert all(isinstance(each, dict | list) for each in values)
