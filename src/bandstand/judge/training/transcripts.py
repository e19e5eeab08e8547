"""Conversations as other tools write them down, as turns: the last question, answer and next message of each.

Read are, beside our own three texts: OpenAI's ``messages``; ShareGPT's ``conversations`` of ``from`` and ``value``;
traces and observations that Langfuse exports (``input``, ``output``, ``scores``), and runs and examples of LangSmith
(``inputs``, ``outputs``, ``feedback``), with LangChain's messages in them. Where a record holds one question and its
answer alone, and names a session, the next message is that of the session's next record.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

TEXTS: Final = ("query_t", "answer_t", "query_t1")
LABELS: Final = ("label", "polarity", "topic_shift")
READABLE: Final = (
    "{query_t, answer_t, query_t1}, OpenAI messages, ShareGPT conversations, and exports of Langfuse and LangSmith"
)

_USER: Final = frozenset({"user", "human", "humanmessage", "humanmessagechunk", "customer", "prompter"})
_ASSISTANT: Final = frozenset(
    {"assistant", "ai", "aimessage", "aimessagechunk", "gpt", "chatgpt", "bot", "model", "bing", "bard"}
)
_LISTS: Final = ("messages", "conversations", "conversation", "chat_history", "history", "chat", "input", "inputs")
_QUESTIONS: Final = ("input", "inputs", "question", "query", "prompt", "text")
_ANSWERS: Final = ("output", "outputs", "answer", "response", "completion", "generations", "text", "content")
_SESSIONS: Final = ("sessionId", "session_id", "thread_id", "threadId", "conversation_id", "conversationId")
_TIMES: Final = ("timestamp", "startTime", "start_time", "createdAt", "created_at")
_KNOWN_IN: Final = (
    "metadata",
    "expectedOutput",
    "expected_output",
    "outputs",
    "reference_outputs",
    "feedback",
    "feedback_stats",
    "scores",
    "labels",
    "extra",
)
_SCORED_IN: Final = ("scores", "feedback")
_SCORES: Final = ("stringValue", "string_value", "value", "score")
_MAX_DEPTH: Final = 6
_TURN_MESSAGES: Final = 3


class SourceRecord(NamedTuple):
    """A record of a file.

    Attributes:
        number: counted as its file counts.
        at: what an error calls it.
        value: what it holds; None if ``fault`` says why it cannot be read.
        fault: what is wrong with it.
    """

    number: int
    at: str
    value: Any
    fault: str | None = None


class TranscriptMessage(NamedTuple):
    """Who said what: ``role`` is "user", "assistant" or anything else."""

    role: str
    text: str


def to_turn_fields(records: Iterable[SourceRecord]) -> Iterator[SourceRecord]:
    """Turn records of any known form into records of ours: three texts, and what is known of them.

    Texts that are there are left alone; a record that holds no conversation has a fault that says so. Records of
    sessions are read to their end first.
    """
    sessions: defaultdict[str, list[tuple[str, SourceRecord, list[TranscriptMessage]]]] = defaultdict(list)
    for record in records:
        if record.fault is not None or not isinstance(record.value, Mapping):
            yield record
            continue
        if (contradiction := _find_contradiction(record.value)) is not None:
            yield record._replace(fault=contradiction)
            continue
        if any(name in record.value for name in TEXTS):
            yield record._replace(value=_with_turn(record.value, {}))
            continue
        messages = find_messages(record.value)
        turn = _find_last_turn(messages)
        session = _find_session(record.value)
        if turn is not None:
            yield record._replace(value=_with_turn(record.value, turn))
        elif session is not None and _ends_with_answer(messages):
            when = next((str(record.value[name]) for name in _TIMES if record.value.get(name) is not None), "")
            sessions[session].append((when, record, messages))
        else:
            yield record._replace(fault=_describe_lack(record.value, messages))
    for parts in sessions.values():
        yield from _pair_session(sorted(parts, key=lambda part: part[0]))


def find_messages(record: Mapping[str, Any]) -> list[TranscriptMessage]:
    """Return the messages of a conversation, first to last; those of its answer after those of its question."""
    asked = next((found for name in _LISTS if (found := _to_messages(_decode(record.get(name))))), [])
    if not asked:
        words = next((text for name in _QUESTIONS if (text := _to_text(_decode(record.get(name))))), "")
        asked = [TranscriptMessage("user", words)] if words else []
    if _ends_with_answer(asked):
        return asked
    for name in ("output", "outputs"):
        answered = _decode(record.get(name))
        messages = _to_messages(answered)
        if messages[: len(asked)] == asked and len(messages) > len(asked):  # the whole conversation once more
            return messages
        if messages:
            return [*asked, *messages]
        if words := _to_text(answered):
            return [*asked, TranscriptMessage("assistant", words)]
    return asked


def _pair_session(parts: list[tuple[str, SourceRecord, list[TranscriptMessage]]]) -> Iterator[SourceRecord]:
    """Give every record but a session's last the message that the next one begins with."""
    for (_, record, messages), (_, _, following) in pairwise(parts):
        said = next((each.text for each in reversed(following) if each.role == "user"), "")
        turn = _find_last_turn([*messages, TranscriptMessage("user", said)])
        fault = None if turn else _describe_lack(record.value, messages)
        yield record._replace(value=_with_turn(record.value, turn or {}), fault=fault)


def _with_turn(record: Mapping[str, Any], turn: Mapping[str, str]) -> dict[str, Any]:
    """Return all of a record, with its turn's texts, and what it states of them where ours stands."""
    rest = {name: value for name, value in record.items() if name not in LABELS}
    return {**rest, **turn, **_read_known(record)}


def _find_last_turn(messages: list[TranscriptMessage]) -> dict[str, str] | None:
    """Return the last user, assistant, user of a conversation; messages of tools between them do not count."""
    spoken: list[TranscriptMessage] = []
    for message in messages:
        if message.role not in {"user", "assistant"} or not message.text.strip():
            continue
        if spoken and spoken[-1].role == message.role:  # two in a row are one, as a reader takes them
            spoken[-1] = TranscriptMessage(message.role, f"{spoken[-1].text}\n{message.text}")
        else:
            spoken.append(message)
    if spoken and spoken[-1].role == "assistant":
        spoken.pop()
    last = spoken[-_TURN_MESSAGES:]
    if [each.role for each in last] != ["user", "assistant", "user"]:
        return None
    return dict(zip(TEXTS, (each.text for each in last), strict=True))


def _ends_with_answer(messages: list[TranscriptMessage]) -> bool:
    spoken = [each.role for each in messages if each.role in {"user", "assistant"}]
    return spoken[-1:] == ["assistant"] and "user" in spoken


def _to_messages(value: object, depth: int = 0) -> list[TranscriptMessage]:
    """Return the messages in a list of them, or in an object that holds one."""
    if depth > _MAX_DEPTH:
        return []
    if isinstance(value, Mapping):
        if "role" in value or "from" in value or "kwargs" in value or value.get("type") in _USER | _ASSISTANT:
            message = _to_message(value)
            return [] if message is None else [message]
        return next((found for name in _LISTS if (found := _to_messages(value.get(name), depth + 1))), [])
    if not isinstance(value, list) or not value:
        return []
    if isinstance(value[0], list) and value[0] and not isinstance(value[0][0], str):  # LangChain's batch of one
        return _to_messages(value[0], depth + 1)
    return [message for each in value if (message := _to_message(each)) is not None]


def _to_message(value: object) -> TranscriptMessage | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value):  # noqa: PLR2004
        return TranscriptMessage(_to_role(value[0]), value[1])  # ["human", "text"]
    if not isinstance(value, Mapping):
        return None
    inner = value.get("kwargs") or value.get("data")
    if isinstance(inner, Mapping):  # LangChain's serialised message: its class is the last part of its id
        named = value.get("id")
        role = named[-1] if isinstance(named, list) and named else value.get("type", inner.get("type"))
        return TranscriptMessage(_to_role(role), _to_text(inner.get("content")))
    role = value.get("role", value.get("from", value.get("type")))
    if role is None:
        return None
    words = next((value[name] for name in ("content", "value", "text", "parts") if value.get(name) is not None), "")
    return TranscriptMessage(_to_role(role), _to_text(words))


def _to_role(name: object) -> str:
    word = name.lower() if isinstance(name, str) else ""
    return "user" if word in _USER else "assistant" if word in _ASSISTANT else word


def _to_text(value: object, depth: int = 0) -> str:
    """Return the words of a message's content, whose parts may be objects of several kinds."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth < _MAX_DEPTH:
        return "\n".join(filter(None, (_to_text(each, depth + 1) for each in value)))
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        inner = next((value[name] for name in ("kwargs", "message") if isinstance(value.get(name), Mapping)), value)
        names = _ANSWERS + _QUESTIONS if inner is value else ("content",)
        return next((text for name in names if (text := _to_text(inner.get(name), depth + 1))), "")
    return ""


def _decode(value: object) -> object:
    """Read JSON that stands as text in a cell of a table."""
    if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _find_session(record: Mapping[str, Any]) -> str | None:
    for place in (record, *(_decode(record.get(name)) for name in ("metadata", "extra"))):
        if not isinstance(place, Mapping):
            continue
        inner = place.get("metadata")
        for fields in (place, inner if isinstance(inner, Mapping) else {}):
            for name in _SESSIONS:
                if fields.get(name):
                    return str(fields[name])
    return None


def _read_known(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the label, polarity and topic shift that a record states, wherever its tool puts them."""
    found: dict[str, Any] = {}
    for place in (record, *(_decode(record.get(name)) for name in _KNOWN_IN)):
        for fields in _flatten_scores(place):
            for name, value in _iter_known(fields):
                found.setdefault(name, value)
    return found


def _find_contradiction(record: Mapping[str, Any]) -> str | None:
    """Say which score a record gives two values, as two annotators may have; None if it gives none."""
    found = dict(_iter_known(record))
    for name in _SCORED_IN:
        for fields in _flatten_scores(_decode(record.get(name))):
            for known, value in _iter_known(fields):
                if found.setdefault(known, value) != value:
                    return f"{known} is {found[known]}, and in {name} {value}"
    return None


def _iter_known(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in LABELS:
        value = _decode(fields.get(name))
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value not in (None, ""):
            yield name, _to_flag(value) if name == "topic_shift" else value


def _flatten_scores(place: object) -> Iterator[Mapping[str, Any]]:
    """Yield a place's own fields, and those that are a list of named scores."""
    if isinstance(place, Mapping):
        yield place
        if isinstance(place.get("metadata"), Mapping):
            yield place["metadata"]
    elif isinstance(place, list):
        for each in place:
            if isinstance(each, Mapping):
                name = each.get("name", each.get("key"))
                value = next(
                    (
                        each[key]
                        for key in ("stringValue", "string_value", "value", "score")
                        if each.get(key) is not None
                    ),
                    None,
                )
                if isinstance(name, str):
                    yield {name: value}


def _to_flag(value: object) -> object:
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower(), value)
    return bool(value) if value in (0, 1) else value


def _describe_lack(record: Mapping[str, Any], messages: list[TranscriptMessage]) -> str:
    """Say why a record holds no turn: in the same words for every record of the same form."""
    if messages:
        return "holds no question, answer and next message in this order"
    keys = ", ".join(sorted(map(str, record))[:8]) or "nothing"
    return f"holds no turn but {keys}; read are {READABLE}"


def parse_json_lines(lines: Iterable[str]) -> Iterator[SourceRecord]:
    """Read a JSON value from each line; empty lines are skipped, a line that is no JSON has a fault."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        at = f"line {number}"
        try:
            yield SourceRecord(number, at, json.loads(line))
        except json.JSONDecodeError as error:
            yield SourceRecord(number, at, None, f"is not JSON: {error.msg} at column {error.colno}")
        except (RecursionError, ValueError):
            yield SourceRecord(number, at, None, "is nested too deeply")
