"""What a model replied, read strictly: JSON of one shape, and of several the last that keeps it.

Where a gateway enforces the schema the reply is one such object. Where it does not, a model may think aloud, or quote
what it was shown, before it answers; so what comes last counts.
"""

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from bandstand.definition import is_integer, is_number
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.text import strip_hidden, truncate_middle
from bandstand.judge.verdict import UnscoredReason

MAX_RATIONALE_CHARS: Final = 500

_MAX_READ_CHARS: Final = 32_768
_MAX_OBJECTS: Final = 256
_DECODER: Final = json.JSONDecoder()


class BadReplyError(ValueError):
    """The reply is none of those asked for.

    Args:
        reason: what it lacks.
    """

    def __init__(self, reason: UnscoredReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class ParsedVerdict(NamedTuple):
    """A model's verdict."""

    label: str
    confidence: float
    rationale: str


def build_verdict_schema(taxonomy: Taxonomy) -> dict[str, object]:
    """Return the JSON schema of a verdict; the reason stands before the label, so that it is thought of first."""
    return build_object_schema(
        "verdict",
        {
            "rationale": {"type": "string"},
            "label": {"type": "string", "enum": list(taxonomy.label_names)},
            "confidence": {"type": "number"},
        },
    )


def build_object_schema(title: str, properties: Mapping[str, object]) -> dict[str, object]:
    """Return the schema of an object with just these keys, as strict modes want it."""
    return {
        "title": title,
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_verdict(text: str, taxonomy: Taxonomy, *, clamp: bool = False) -> ParsedVerdict:
    """Read the last valid verdict of a reply.

    Args:
        text: the reply.
        taxonomy: whose labels it may give.
        clamp: take a confidence beyond [0, 1] for the nearest in it; NaN is none either way.

    Raises:
        BadReplyError: there is none; the reason is that of the last object.
    """
    wrong = UnscoredReason.BAD_JSON if text.strip() else UnscoredReason.EMPTY
    parsed: ParsedVerdict | None = None
    for found in iter_objects(text, {"rationale", "label", "confidence"}):
        label, confidence, rationale = found["label"], found["confidence"], found["rationale"]
        if clamp and (is_integer(confidence) or isinstance(confidence, float)):
            confidence = min(max(confidence, 0), 1)  # NaN, which compares with nothing, stays
        if not isinstance(label, str) or not isinstance(rationale, str):
            wrong = UnscoredReason.BAD_JSON
        elif label not in taxonomy.label_names:
            wrong = UnscoredReason.UNKNOWN_LABEL
        elif not (is_number(confidence) and 0 <= confidence <= 1):
            wrong = UnscoredReason.BAD_CONFIDENCE
        else:
            parsed = ParsedVerdict(label, float(confidence), to_one_line(rationale))
    if parsed is None:
        raise BadReplyError(wrong)
    return parsed


def iter_objects(text: str, keys: AbstractSet[str]) -> Iterator[Mapping[str, Any]]:
    """Yield every JSON object of a text that has just these keys, none of them inside another, first to last.

    Only the last 32,768 characters are read, and at most 256 braces of them tried.
    """
    text = text[-_MAX_READ_CHARS:]
    start = text.find("{")
    starts = []
    while start >= 0:
        starts.append(start)
        start = text.find("{", start + 1)
    after = 0
    for start in starts[-_MAX_OBJECTS:]:
        if start < after:
            continue
        try:
            found, after = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if found.keys() == keys:
            yield found


def to_one_line(text: str) -> str:
    """Return a model's words as one visible line of at most 500 characters, head and tail."""
    return truncate_middle(" ".join(strip_hidden(text).split()), MAX_RATIONALE_CHARS)
