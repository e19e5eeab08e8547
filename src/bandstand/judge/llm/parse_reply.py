"""What a model replied: JSON of one shape, and of several the last that keeps it.

Where a gateway enforces the schema the reply is one such object. Where it does not, a model may think aloud, or quote
what it was shown, before it answers; so what comes last counts. A verdict is paid for, so what is no part of it costs
none: where no object has just the keys that were asked for, one counts that lacks the rationale or has more of them.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from bandstand.definition import is_integer, is_number
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.text import strip_hidden, truncate_middle
from bandstand.judge.verdict import UnscoredReason
from bandstand.llm.reply_json import iter_json_values, iter_passages

MAX_RATIONALE_CHARS: Final = 500

_VERDICT_KEYS: Final = frozenset({"rationale", "label", "confidence"})
_MAX_NUMBER_CHARS: Final = 32


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
    for passage in iter_passages(text):
        exact: ParsedVerdict | None = None
        loose: ParsedVerdict | None = None
        for found in iter_objects(passage, "label"):
            parsed = _parse_object(found, taxonomy, clamp=clamp)
            if isinstance(parsed, UnscoredReason):
                wrong = parsed
            elif found.keys() == _VERDICT_KEYS:
                exact = parsed
            else:
                loose = parsed
        chosen = exact or loose
        if chosen is not None:
            return chosen
    raise BadReplyError(wrong)


def _parse_object(found: Mapping[str, Any], taxonomy: Taxonomy, *, clamp: bool) -> ParsedVerdict | UnscoredReason:
    label, confidence = found["label"], read_number(found.get("confidence"))
    rationale = found.get("rationale")
    if not isinstance(label, str):
        return UnscoredReason.BAD_JSON
    name = label if label in taxonomy.label_names else label.strip().lower()
    if name not in taxonomy.label_names:
        return UnscoredReason.UNKNOWN_LABEL
    if clamp and (is_integer(confidence) or isinstance(confidence, float)):
        confidence = min(max(confidence, 0), 1)  # NaN, which compares with nothing, stays
    if not (is_number(confidence) and 0 <= confidence <= 1):
        return UnscoredReason.BAD_CONFIDENCE
    return ParsedVerdict(name, float(confidence), to_one_line(rationale) if isinstance(rationale, str) else "")


def iter_objects(text: str, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield every JSON object of a text that has this key, none of them inside another, first to last."""
    for found in iter_json_values(text):
        if isinstance(found, dict) and key in found:
            yield found


def read_number(value: Any) -> Any:
    """Return a number that a model wrote as text; anything else as it is."""
    if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS and value.isascii() and "_" not in value:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def to_one_line(text: str) -> str:
    """Return a model's words as one visible line of at most 500 characters, head and tail."""
    return truncate_middle(" ".join(strip_hidden(text).split()), MAX_RATIONALE_CHARS)
