import json

import pytest

from bandstand.errors import InvalidRequestError
from bandstand.judge.training.dataset import parse_rows
from tests.judge.given import FOLLOWUP

TURN = {"query_t": "q", "answer_t": "a", "query_t1": "m"}


def build_line(**more: object) -> str:
    return json.dumps(TURN | more)


BAD = [
    "{not json",
    "[1, 2]",
    '"text"',
    "null",
    build_line(),
    build_line(label="neg_corection"),
    build_line(label=3),
    build_line(polarity="bad"),
    build_line(polarity="other", topic_shift="yes"),
    json.dumps({"query_t": "q", "answer_t": 7, "label": "neutral"}),
    "[" * 100_000,
]


def test_good_rows_carry_whatever_is_known() -> None:
    given = [
        build_line(label="pos_praise"),
        "",
        build_line(polarity="negative", query_t1="no"),
        "  \n",
        build_line(topic_shift=True, id=7),
    ]
    rows, bad = parse_rows(given, FOLLOWUP)
    assert bad == ()
    assert [(row.line, row.label, row.polarity, row.topic_shift) for row in rows] == [
        (1, "pos_praise", "positive", None),
        (3, None, "negative", None),
        (5, None, None, True),
    ]


def test_a_stated_polarity_goes_before_the_labels() -> None:
    (row,) = parse_rows([build_line(label="pos_progress", polarity="positive")], FOLLOWUP).rows
    assert (row.label, row.polarity) == ("pos_progress", "positive")


def test_bad_rows_are_named_by_line_and_skipped() -> None:
    rows, bad = parse_rows([build_line(label="neutral"), *BAD, build_line(label="neutral")], FOLLOWUP)
    assert [row.line for row in rows] == [1, len(BAD) + 2]
    assert [fault.field for fault in bad] == [f"line {number}" for number in range(2, len(BAD) + 2)]
    messages = dict(bad)
    assert "is not JSON" in messages["line 2"]
    assert "did you mean 'neg_correction'" in messages["line 7"]
    assert "answer_t must be a string; query_t1 must be a string" in messages["line 11"]


@pytest.mark.parametrize("row", BAD)
def test_strict_refuses_the_file(row: str) -> None:
    with pytest.raises(InvalidRequestError, match="1 bad rows: line 2: "):
        parse_rows([build_line(label="neutral"), row], FOLLOWUP, strict=True)
