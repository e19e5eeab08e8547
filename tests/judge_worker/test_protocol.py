"""What one end of the judge's process writes the other end reads equal."""

import json
import time

import pytest

from bandstand.judge.verdict import Unscored, UnscoredReason, Usage, Verdict
from bandstand.judge_worker.protocol import (
    Answer,
    AnswerResult,
    CallCancelled,
    CallQuestion,
    QuestionFailed,
    RelayedChatError,
    TurnQuestion,
    encode_answer,
    encode_cancellation,
    encode_question,
    parse_answer,
    parse_line,
)
from bandstand.llm.chat import ChatReply, TokenUsage
from bandstand.llm.errors import ChatError, ChatStatusError, ChatTimeoutError, CircuitOpenError
from tests.llm.given import SCHEMA, request_of

VERDICT = Verdict(taxonomy="t", label="pos", confidence=0.9, rationale="é", tier="llm", model="m", usage=Usage(1, 2, 3))
UNSCORED = Unscored(taxonomy="t", reason=UnscoredReason.TIMEOUT, tier="llm", model="m")


def relayed(result: AnswerResult) -> Answer:
    return parse_answer(json.loads(encode_answer(7, Answer(result, TokenUsage(30, 4)))))


def test_a_turn_arrives_as_it_was_sent() -> None:
    question = TurnQuestion(("q\n", "ä", "\ud800", "hints first"), "followup-v1", allow_llm=False)
    line = encode_question(3, question)
    assert line.count(b"\n") == 1, "one line, whatever the texts hold"
    assert parse_line(line) == (3, question)


def test_a_call_arrives_with_the_time_that_is_left() -> None:
    request = request_of(temperature=0.5, schema=SCHEMA, deadline=time.monotonic() + 60)
    number, question = parse_line(encode_question(4, CallQuestion(request, tries=3)))
    assert isinstance(question, CallQuestion)
    assert (number, question.tries) == (4, 3)
    found = question.request
    assert (found.messages, found.max_tokens, found.temperature, found.schema) == (
        *(request.messages, request.max_tokens),
        *(request.temperature, request.schema),
    )
    assert found.deadline == pytest.approx(request.deadline, abs=1)


def test_a_cancellation_names_its_call() -> None:
    assert parse_line(encode_cancellation(9)) == (9, None)


@pytest.mark.parametrize(
    "result",
    [
        VERDICT,
        UNSCORED,
        ChatReply(text="a", model="m", prompt_tokens=1, finish_reason="refusal", refusal=""),
        QuestionFailed("KeyError"),
        CallCancelled(),
    ],
)
def test_an_answer_arrives_as_it_was_given(result: AnswerResult) -> None:
    assert relayed(result) == Answer(result, TokenUsage(30, 4))


@pytest.mark.parametrize(
    "error",
    [
        ChatStatusError(429, retry_after_s=2.5),
        ChatStatusError(500),
        ChatTimeoutError("late", sent=False),
        CircuitOpenError(retry_after_s=3),
    ],
)
def test_an_error_says_what_it_said_in_the_process(error: ChatError) -> None:
    found = relayed(error).result
    assert isinstance(found, RelayedChatError)
    for name in ("code", "detail", "reached", "retryable", "retry_after_s", "sent"):
        assert getattr(found, name) == getattr(error, name)
