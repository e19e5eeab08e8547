"""What a service and its judge's process say to each other, one line of JSON each: both ends of it.

The process says ``{"ready": true}`` once. Then it is sent questions, and answers them in any order:

- a turn, ``{"id", "turn": [query_t, answer_t, query_t1, about], "taxonomy", "allow_llm"}``: ``{"id", "judged",
  "spent"}``;
- a call of the LLM for a waiting caller, ``{"id", "call": {messages, max_tokens, temperature, schema, tries,
  seconds}}``: ``{"id", "reply", "spent"}`` or ``{"id", "fault", "spent"}``;
- any question that the process itself fails on: ``{"id", "failed", "spent"}`` with the name of the error.

``{"let_go": id}`` cancels a call, begun or not; its answer is a fault then. ``spent`` has the tokens read and written
by all tries. A deadline travels as the seconds that are left, since two processes need not share a clock.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from bandstand.judge.verdict import Judged, parse_judged
from bandstand.llm.chat import ChatReply, ChatRequest, TokenUsage
from bandstand.llm.errors import ChatError

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
READY: Final = b'{"ready":true}\n'

_CANCELLED_CODE: Final = "let-go"
_FAULT_FIELDS: Final = ("code", "detail", "reached", "retryable", "retry_after_s", "sent")


@dataclass(frozen=True, slots=True)
class TurnQuestion:
    """A turn to judge.

    Attributes:
        texts: its question, its answer, what the user said next, and what had been chosen.
        taxonomy: the labels it is judged by.
        allow_llm: whether the LLM may be asked.
    """

    texts: tuple[str, str, str, str]
    taxonomy: str
    allow_llm: bool


@dataclass(frozen=True, slots=True)
class CallQuestion:
    """A call of the LLM, with the tries that it may take."""

    request: ChatRequest
    tries: int


Question = TurnQuestion | CallQuestion


class RelayedChatError(ChatError):
    """A call failed in the judge's process; it says of the provider what the error said there.

    Args:
        detail: the error's own detail.
        code: the same.
        reached: whether a provider answered at all.
        retryable: whether the same call may succeed a moment later.
        retry_after_s: how long the provider is to be left alone, in seconds.
        sent: whether a model may have worked, and charge, for it.
    """

    def __init__(
        self, *, code: str, detail: str, reached: bool, retryable: bool, retry_after_s: float | None, sent: bool
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, sent=sent)
        self.code = code  # type: ignore[misc]  # one class stands for every error of a client
        self._reached = reached
        self._retryable = retryable

    @property
    def reached(self) -> bool:
        """Whether a provider answered at all."""
        return self._reached

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed a moment later."""
        return self._retryable


@dataclass(frozen=True, slots=True)
class QuestionFailed:
    """The process failed over the question itself, with an error of that name."""

    error: str


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """The call was cancelled as its caller wished."""


AnswerResult = Judged | ChatReply | ChatError | QuestionFailed | CallCancelled


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a question, and the tokens that it cost."""

    result: AnswerResult
    usage: TokenUsage


# ── the service's end ─────────────────────────────────────────────────────────────────────────────────────────────────


def encode_question(number: int, question: Question) -> bytes:
    """A question as a line."""
    if isinstance(question, TurnQuestion):
        fields: dict[str, Any] = {
            "turn": question.texts,
            "taxonomy": question.taxonomy,
            "allow_llm": question.allow_llm,
        }
    else:
        request = question.request
        call = {
            "messages": request.messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "schema": request.schema,
            "tries": question.tries,
            "seconds": request.deadline - time.monotonic(),
        }
        fields = {"call": call}
    return _encode_line({"id": number, **fields})


def encode_cancellation(number: int) -> bytes:
    """The line that cancels a call."""
    return _encode_line({"let_go": number})


def parse_answer(document: Mapping[str, Any]) -> Answer:
    """Read the document of an answer's line."""
    usage = TokenUsage(*document["spent"])
    if "judged" in document:
        return Answer(parse_judged(document["judged"]), usage)
    if "reply" in document:
        return Answer(ChatReply(**document["reply"]), usage)
    if "failed" in document:
        return Answer(QuestionFailed(str(document["failed"])), usage)
    fault = document["fault"]
    if fault["code"] == _CANCELLED_CODE:
        return Answer(CallCancelled(), usage)
    return Answer(RelayedChatError(**fault), usage)


# ── the process's end ─────────────────────────────────────────────────────────────────────────────────────────────────


def parse_line(line: bytes) -> tuple[int, Question | None]:
    """Read a line that came from the service: a question with its number, or the number of a call to cancel."""
    document = json.loads(line)
    if "let_go" in document:
        return document["let_go"], None
    if "call" in document:
        call = document["call"]
        request = ChatRequest(
            messages=tuple(call["messages"]),
            max_tokens=call["max_tokens"],
            deadline=time.monotonic() + call["seconds"],
            temperature=call["temperature"],
            schema=call["schema"],
        )
        return document["id"], CallQuestion(request, call["tries"])
    query_t, answer_t, query_t1, about = document["turn"]
    texts = (query_t, answer_t, query_t1, about)
    return document["id"], TurnQuestion(texts, document["taxonomy"], document["allow_llm"])


def encode_answer(number: int, answer: Answer) -> bytes:
    """An answer as a line."""
    spent = [answer.usage.prompt_tokens, answer.usage.completion_tokens]
    return _encode_line({"id": number, **_to_document(answer.result), "spent": spent})


def _to_document(result: AnswerResult) -> dict[str, Any]:
    if isinstance(result, ChatReply):
        return {"reply": asdict(result)}
    if isinstance(result, ChatError):
        return {"fault": {name: getattr(result, name) for name in _FAULT_FIELDS}}
    if isinstance(result, CallCancelled):
        return {"fault": {"code": _CANCELLED_CODE}}
    if isinstance(result, QuestionFailed):
        return {"failed": result.error}
    return {"judged": result.as_json()}


def _encode_line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
