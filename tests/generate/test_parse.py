"""Reading what a model wrote: any text is tips that keep their promises, or refused with a reason."""

import contextlib
import json
import unicodedata
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bandstand.generate.parse import MAX_CONTENT_CHARS, MAX_ID_CHARS, TIPS_SCHEMA, NotTipsError, parse_tips
from bandstand.generate.tips import GeneratedTip
from tests.generate.test_tasks import json_values


def is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


ids = st.none() | st.text(max_size=4) | st.sampled_from(["a", "tip-1", "tip-2", "tip-2-2"]) | st.integers(0, 3)
items = st.fixed_dictionaries(
    {"content": st.text(max_size=20)},
    optional={
        "id": ids,
        "rationale": st.none() | st.text(max_size=20),
        "task_id": json_values.filter(is_json),
        "more": st.booleans() | st.lists(st.integers(), max_size=2),
    },
)
answers = st.lists(items, max_size=8)


def read(value: object, n: int = 50) -> tuple[GeneratedTip, ...]:
    return parse_tips(json.dumps(value), n)


def check(tips: tuple[GeneratedTip, ...], n: int) -> None:
    assert len(tips) <= n
    assert len({tip.id for tip in tips}) == len(tips)
    for tip in tips:
        assert 1 <= len(tip.id) <= MAX_ID_CHARS
        assert tip.id == tip.id.strip()
        assert tip.id.isprintable()
        assert 1 <= len(tip.content) <= MAX_CONTENT_CHARS
        assert tip.rationale is None or 1 <= len(tip.rationale) <= MAX_CONTENT_CHARS
        assert tip.source == "llm"
        for text in (tip.id, tip.content, tip.rationale or ""):
            assert not any(unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t" for c in text)


@given(answers, st.integers(1, 9))
def test_any_well_formed_answer_keeps_every_promise(answer: list[dict[str, Any]], n: int) -> None:
    tips = read(answer, n)
    check(tips, n)
    worth = [item["content"] for item in answer if read([item])]
    assert len(tips) == min(n, len(worth))


@given(st.text(max_size=200), st.integers(1, 9))
@example("[" * 100_000, 1)
@example('{"a":' * 100_000, 1)
@example("[" + "9" * 5000 + "]", 1)
@example('[{"content": "x", "id": ' + "9" * 5000 + "}]", 1)
@example("```", 1)
@example("```json\n```", 1)
@example("```json\n[]\n```", 1)
@example("\ufeff[]", 1)
@example('["\\ud800"]', 1)
def test_any_text_is_tips_or_refused(text: str, n: int) -> None:
    try:
        tips = parse_tips(text, n)
    except NotTipsError:
        return
    check(tips, n)


@given(answers, st.data())
def test_a_damaged_answer_is_tips_or_refused(answer: list[dict[str, Any]], data: st.DataObject) -> None:
    text = json.dumps({"tips": answer}, ensure_ascii=data.draw(st.booleans()))
    cut = data.draw(st.integers(0, len(text)))
    other = data.draw(st.integers(0, len(text)))
    for damaged in (text[:cut], text[:cut] + text[other:], text[:cut] + data.draw(st.text(max_size=3)) + text[cut:]):
        with contextlib.suppress(NotTipsError):
            check(parse_tips(damaged, 5), 5)


@given(json_values)
def test_any_json_is_tips_or_refused(value: object) -> None:
    with contextlib.suppress(NotTipsError):
        check(read(value), 50)


@given(answers)
def test_fences_and_one_wrapping_object_change_nothing(answer: list[dict[str, Any]]) -> None:
    plain = json.dumps(answer)
    expected = parse_tips(plain, 50)
    wrapped = json.dumps({"note": "here", "tips": answer})
    for text in (f"```json\n{plain}\n```", f"```\n{plain}```", f"  \n{plain}\n", wrapped, f"```JSON\n{wrapped}\n```\n"):
        assert parse_tips(text, 50) == expected


@given(answers)
def test_thoughts_and_prose_around_the_tips_change_nothing(answer: list[dict[str, Any]]) -> None:
    answer = [*answer, {"content": "x"}]
    expected = parse_tips(json.dumps(answer), 50)
    wrapped = json.dumps({"tips": answer})
    for text in (
        f"<think>[1, 2] or {{}}?</think>{wrapped}",
        f'I could write [{{"content": "no"}}].\n</think>\n{wrapped}',
        f"<think>{wrapped}",
        f"Here are {{your}} [3] tips:\n```json\n{json.dumps(answer)}\n```\nEnjoy!",
        f"Sure! {wrapped} Is that [what] you wanted?",
    ):
        assert parse_tips(text, 50) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Here are your tips: []", "not JSON"),
        ("<think>[1, 2]</think>", "not JSON"),
        ('Sure, see [{"content": 1}].', "not JSON"),
        ('[{"content": "x"}', "not JSON"),
        ('[{"content": NaN}]', "NaN is not JSON"),
        ("7", "neither an array"),
        ('"[]"', "neither an array"),
        ("{}", "exactly one array"),
        ('{"tips": [], "more": []}', "exactly one array"),
        ('{"content": "x", "tags": []}', "exactly one array"),
        ('{"tips": {"tips": []}}', "exactly one array"),
        ('["x"]', "Tip 1 is not an object"),
        ('[{"content": "x"}, {"text": "y"}]', "Tip 2 has no text"),
        ('[{"content": ["x"]}]', "Tip 1 has no text"),
        ('[{"content": "x", "rationale": 7}]', "rationale of tip 1"),
        ('[{"content": "x", "id": {}}]', "id of tip 1"),
        ('[{"content": "x", "id": true}]', "id of tip 1"),
    ],
)
def test_what_is_refused_is_told_why(text: str, reason: str) -> None:
    with pytest.raises(NotTipsError, match=reason):
        parse_tips(text, 3)


@pytest.mark.parametrize(
    ("given_ids", "expected"),
    [
        ([None, None], ["tip-1", "tip-2"]),
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-3", "a-2"]),
        ([None, "tip-1"], ["tip-1-2", "tip-1"]),
        (["tip-2", None], ["tip-2", "tip-2-2"]),
        ([1, "1", 2], ["1", "1-2", "2"]),
        (["", "  ", " b "], ["tip-1", "tip-2", "b"]),
        (["x" * 257, "a\nb", "a\u202eb"], ["tip-1", "tip-2", "tip-3"]),
        (["x" * 256, "x" * 256], ["x" * 256, "x" * 254 + "-2"]),
    ],
)
def test_ids_are_there_and_unique(given_ids: list[Any], expected: list[str]) -> None:
    assert [tip.id for tip in read([{"id": tip_id, "content": "x"} for tip_id in given_ids])] == expected


def test_empty_contents_are_dropped_before_counting_and_numbering() -> None:
    answer = [{"content": ""}, {"content": " \n\u0000\u200b"}, {"content": " a "}, {"content": "b"}, {"content": "c"}]
    assert read(answer, 2) == (GeneratedTip(id="tip-1", content="a"), GeneratedTip(id="tip-2", content="b"))


def test_too_few_is_fine() -> None:
    assert read([], 3) == ()
    assert len(read([{"content": "x"}], 3)) == 1


def test_long_contents_are_cut() -> None:
    (exact,) = read([{"content": "x" * 2000}])
    (tip,) = read([{"content": "x" * 2001, "rationale": "y" * 5000}])
    assert exact.content == "x" * 2000
    assert tip.content == "x" * 1999 + "…"
    assert tip.rationale == "y" * 1999 + "…"


def test_the_schema_describes_what_is_read() -> None:
    answer = {"tips": [{"id": "tip-1", "content": "x", "rationale": None, "task_id": None}]}
    jsonschema.validate(answer, dict(TIPS_SCHEMA))
    assert read(answer) == (GeneratedTip(id="tip-1", content="x"),)


@pytest.mark.parametrize(
    ("said", "source_id"),
    [("a1", "a1"), (7, "7"), ("8", "8"), ("a2", None), ("", None), (None, None), (True, None), (["a1"], None)],
)
def test_a_tip_is_about_a_task_that_was_shown_or_about_none(said: object, source_id: str | None) -> None:
    (tip,) = parse_tips(json.dumps([{"content": "x", "task_id": said}]), 1, {"a1", "7", "8", "True", "None"})
    assert tip.source_id == source_id
