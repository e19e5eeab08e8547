import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.text import GAP, escape_markup, strip_hidden, truncate_middle, wrap_in_fence
from tests.judge.given import LAW

ANY_TEXT = st.text(st.characters(codec=None, categories=None, exclude_categories=()), max_size=300)
HIDDEN = (
    *range(0x09),
    *range(0x0E, 0x20),
    *range(0x7F, 0x85),
    *range(0x86, 0xA0),
    0xAD,
    0x34F,
    0x61C,
    0x115F,
    0x1160,
    0x180E,
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0x3164,
    *range(0xFE00, 0xFE10),
    0xFEFF,
    0xFFA0,
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),
    0xE0100,
)


def test_a_character_nobody_sees_changes_nothing() -> None:
    assert [hex(code) for code in HIDDEN if strip_hidden(f"per{chr(code)}fect") != "perfect"] == []


@LAW
@given(ANY_TEXT)
def test_what_is_visible_stays_and_stays_so(text: str) -> None:
    shown = strip_hidden(text)
    assert strip_hidden(shown) == shown
    assert shown.encode().decode() == shown


def test_of_all_control_and_format_characters_only_those_with_a_shape_stay() -> None:
    left = {code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in {"Cc", "Cf"}}
    left = {code for code in left if strip_hidden(f"a{chr(code)}b") == f"a{chr(code)}b"}
    arabic_and_kaithi_number_signs = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    assert left == {ord("\n"), ord("\t")} | arabic_and_kaithi_number_signs


@pytest.mark.parametrize("text", ["plain words", "你好，世界", "naïve café", "👍🏽", "a\tb\nc", "हिन्दी", "שלום", ""])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert strip_hidden(text) == text


@pytest.mark.parametrize("line_break", ["\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_every_line_break_becomes_one(line_break: str) -> None:
    assert strip_hidden(f"a{line_break}b") == "a\nb"


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert strip_hidden("a\ud800b") == "a\ufffdb"


@LAW
@given(ANY_TEXT, st.integers(16, 400))
def test_a_cut_keeps_both_ends_within_the_limit(text: str, limit: int) -> None:
    kept = truncate_middle(text, limit)
    assert len(kept) <= limit
    if len(text) <= limit:
        assert kept == text
    else:
        head, tail = kept[: kept.index(GAP, limit // 2 - len(GAP))], kept[-((limit - len(GAP)) // 2) :]
        assert len(kept) == limit
        assert text.startswith(head)
        assert text.endswith(tail)
        assert abs(len(head) - len(tail)) <= 1


def test_no_cut_is_too_short_for_a_head_and_a_tail() -> None:
    with pytest.raises(ValueError, match="16 code points"):
        truncate_middle("anything", 15)


def test_the_cut_counts_code_points_and_not_bytes() -> None:
    assert truncate_middle("好" * 2_000, 2_000) == "好" * 2_000
    assert len(truncate_middle("👍" * 2_001, 2_000)) == 2_000


@LAW
@given(ANY_TEXT)
def test_no_text_can_leave_its_fence(text: str) -> None:
    quoted = wrap_in_fence("query_t1", text)
    assert quoted.startswith("<query_t1>\n")
    assert quoted.endswith("\n</query_t1>")
    assert quoted.count("<") == quoted.count(">") == 2
    inside = escape_markup(text)
    assert inside.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
