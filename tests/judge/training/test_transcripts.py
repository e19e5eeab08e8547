"""Conversations as other tools write them: every form of the same turn is the same turn."""

import json
from typing import Any

import pytest

from bandstand.judge.training.dataset import LabelledTurns, parse_records, parse_rows
from bandstand.judge.training.transcripts import SourceRecord, to_turn_fields
from bandstand.judge.turn import Turn
from tests.judge.given import FOLLOWUP

TURN = Turn("plan the dinner", "Here is a plan.", "that's wrong")
ASKED, ANSWERED, SAID = (
    {"role": "user", "content": TURN.query_t},
    {"role": "assistant", "content": TURN.answer_t},
    {"role": "user", "content": TURN.query_t1},
)
OTHERS = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}, ANSWERED | {"content": "hello"}]


def langchain(kind: str, text: str) -> dict[str, Any]:
    name = {"human": "HumanMessage", "ai": "AIMessage"}[kind]
    path = ["langchain", "schema", "messages", name]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": text, "type": kind}}


KNOWN: dict[str, Any] = {"label": "neg_correction"}
FORMS: dict[str, dict[str, Any]] = {
    "ours": {"query_t": TURN.query_t, "answer_t": TURN.answer_t, "query_t1": TURN.query_t1, **KNOWN},
    "OpenAI messages": {"messages": [*OTHERS, ASKED, ANSWERED, SAID], **KNOWN},
    "with an answer after": {"messages": [ASKED, ANSWERED, SAID, ANSWERED], **KNOWN},
    "content in parts": {
        "messages": [ASKED, ANSWERED, {"role": "user", "content": [{"type": "text", "text": TURN.query_t1}]}],
        "metadata": KNOWN,
    },
    "tools between": {
        "messages": [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
            {"role": "tool", "content": "42"},
            ANSWERED,
            SAID,
        ],
        **KNOWN,
    },
    "ShareGPT": {
        "conversations": [
            {"from": "system", "value": "be kind"},
            {"from": "human", "value": TURN.query_t},
            {"from": "gpt", "value": TURN.answer_t},
            {"from": "human", "value": TURN.query_t1},
        ],
        **KNOWN,
    },
    "a Langfuse observation": {
        "id": "o",
        "type": "GENERATION",
        "input": [ASKED, ANSWERED, SAID],
        "output": {"role": "assistant", "content": "sorry"},
        "scores": [{"name": "latency", "value": 3}, {"name": "label", "stringValue": "neg_correction", "value": 0}],
    },
    "a Langfuse trace": {"input": {"messages": [ASKED, ANSWERED, SAID]}, "output": "sorry", "expectedOutput": KNOWN},
    "a row of a Langfuse table": {"input": json.dumps([ASKED, ANSWERED, SAID]), "label": '["neg_correction"]'},
    "a LangSmith run": {
        "run_type": "llm",
        "inputs": {
            "messages": [
                [langchain("human", TURN.query_t), langchain("ai", TURN.answer_t), langchain("human", TURN.query_t1)]
            ]
        },
        "outputs": {"generations": [[{"text": "sorry"}]]},
        "feedback": [{"key": "label", "value": "neg_correction", "score": None}],
    },
    "a LangSmith example": {"inputs": {"messages": [ASKED, ANSWERED, SAID]}, "outputs": KNOWN},
    "LangChain's stored messages": {
        "messages": [
            {"type": "human", "data": {"content": TURN.query_t}},
            {"type": "ai", "data": {"content": TURN.answer_t}},
            {"type": "human", "data": {"content": TURN.query_t1}},
        ],
        **KNOWN,
    },
    "pairs": {"messages": [["human", TURN.query_t], ["ai", TURN.answer_t], ["human", TURN.query_t1]], **KNOWN},
}


def parse(*records: Any) -> LabelledTurns:
    return parse_rows([json.dumps(record) for record in records], FOLLOWUP)


@pytest.mark.parametrize("record", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_a_turn_is_the_same_turn(record: dict[str, Any]) -> None:
    [row], bad = parse(record)
    assert bad == ()
    assert (row.turn, row.label) == (TURN, "neg_correction")


SESSIONS: dict[str, list[dict[str, Any]]] = {
    "Langfuse": [
        {"sessionId": "s", "timestamp": "2026-01-01T00:02:00Z", "input": "that's wrong", "output": "sorry"},
        {"sessionId": "other", "timestamp": "2026-01-01T00:01:00Z", "input": "x", "output": "y"},
        {
            "sessionId": "s",
            "timestamp": "2026-01-01T00:01:00Z",
            "input": {"question": TURN.query_t},
            "output": {"answer": TURN.answer_t},
            "scores": [{"name": "label", "stringValue": "neg_correction"}],
        },
    ],
    "LangSmith": [
        {
            "start_time": "2026-01-01T00:01:00",
            "inputs": {"messages": [ASKED]},
            "outputs": {"messages": [ASKED, ANSWERED]},
            "extra": {"metadata": {"thread_id": "s"}},
            "feedback": [{"key": "label", "value": "neg_correction"}],
        },
        {
            "start_time": "2026-01-01T00:02:00",
            "inputs": {"input": TURN.query_t1},
            "outputs": {"output": "sorry"},
            "extra": {"metadata": {"thread_id": "s"}},
        },
    ],
}


@pytest.mark.parametrize("records", SESSIONS.values(), ids=SESSIONS.keys())
def test_a_session_s_next_record_says_what_came_next(records: list[dict[str, Any]]) -> None:
    [row], bad = parse(*records)
    assert bad == ()
    assert (row.turn, row.label) == (TURN, "neg_correction")


def test_a_table_s_flags_are_text() -> None:
    rows = [FORMS["ours"] | {"label": "", "polarity": "", "topic_shift": word} for word in ("True", "false")]
    records = [SourceRecord(number, f"line {number}", row) for number, row in enumerate(rows)]
    turns, _ = parse_records([records[0], records[1]._replace(value=rows[1] | {"query_t": "another"})], FOLLOWUP)
    assert [(row.label, row.topic_shift) for row in turns] == [(None, True), (None, False)]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"foo": 1, "bar": 2}, "holds no turn but bar, foo; read are {query_t, answer_t, query_t1}, OpenAI messages"),
        ({"messages": [ASKED, ANSWERED]}, "holds no question, answer and next message in this order"),
        ({"messages": [SAID]}, "holds no question, answer and next message in this order"),
        ({"messages": "none"}, "holds no turn but messages; read are"),
        ({}, "holds no turn but nothing; read are"),
    ],
)
def test_a_record_without_a_turn_says_so_in_the_same_words(record: dict[str, Any], fault: str) -> None:
    found = list(to_turn_fields([SourceRecord(1, "line 1", record), SourceRecord(2, "line 2", record)]))
    assert {each.fault for each in found} == {found[0].fault}
    assert (found[0].fault or "").startswith(fault)


@pytest.mark.parametrize(
    ("known", "fault"),
    [
        ({"label": "pos_praise", "polarity": "negative"}, "polarity is negative, and the label pos_praise is positive"),
        ({"label": "neg_correction", "polarity": "other"}, "polarity is other, and the label neg_correction is neg"),
        ({"label": "topic_shift", "topic_shift": False}, "topic_shift is false, and the label is topic_shift"),
        ({"label": "neutral", "topic_shift": True}, "topic_shift is true, and the label is neutral"),
    ],
)
def test_what_cannot_be_true_together_is_refused(known: dict[str, Any], fault: str) -> None:
    rows, [(at, message)] = parse(FORMS["ours"] | known)
    assert (rows, at) == ((), "line 1")
    assert message.startswith(fault)


def test_scores_that_differ_are_refused() -> None:
    scores = [{"name": "label", "stringValue": "neg_correction"}, {"name": "label", "stringValue": "pos_praise"}]
    for record in (FORMS["OpenAI messages"] | {"scores": scores}, FORMS["a Langfuse trace"] | {"scores": scores}):
        rows, bad = parse(record)
        assert (rows, bad) == ((), (("line 1", "label is neg_correction, and in scores pos_praise"),))


def test_the_same_turn_labelled_twice_must_be_labelled_alike() -> None:
    ours = FORMS["ours"]
    more = {"polarity": "negative"}
    rows, bad = parse(ours, ours | more, ours | {"label": "pos_praise"}, ours | {"query_t": "x", "label": "neutral"})
    assert [row.line for row in rows] == [1, 2, 4]
    assert bad == (("line 3", "the same turn is labelled otherwise in line 1"),)
