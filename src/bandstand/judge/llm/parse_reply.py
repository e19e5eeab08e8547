"""What a model replied: JSON of one shape, and of several the last that keeps it.

Where a gateway enforces the schema the reply is one such object. Where it does not, a model may think aloud, or quote
what it was shown, before it answers; so what comes last counts. A verdict is paid for, so what is no part of it costs
none: where no object has just the keys that were asked for, one counts that lacks the rationale or has more of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bandstand.definition import is_integer, is_number
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.text import strip_hidden, truncate_middle
from bandstand.judge.verdict import TARGETS, Target, UnscoredReason
from bandstand.llm.reply_json import iter_json_values, iter_passages

MAX_RATIONALE_CHARS: Final = 500

_VERDICT_KEYS: Final = frozenset({"rationale", "label", "confidence"})
_MAX_NUMBER_CHARS: Final = 32


class BadReplyError(ValueError):
    """The reply is not in the required form.

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
    target: Target | None = None


def build_verdict_schema(taxonomy: Taxonomy, *, with_target: bool = False) -> dict[str, object]:
    """Return the JSON schema of a verdict; the reason stands before the label, so that it is thought of first.

    Args:
        taxonomy: whose labels it may give.
        with_target: whether it must say what the message speaks of.
    """
    target = {"target": {"type": "string", "enum": list(TARGETS)}} if with_target else {}
    return build_object_schema(
        "verdict",
        {
            "rationale": {"type": "string"},
            **target,
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


def parse_verdict(text: str, taxonomy: Taxonomy, *, clamp: bool = False, with_target: bool = False) -> ParsedVerdict:
    """Read the last valid verdict of a reply.

    Args:
        text: the reply.
        taxonomy: whose labels it may give.
        clamp: take a confidence beyond [0, 1] for the nearest in it; NaN is none either way.
        with_target: whether the prompt asks what the message speaks of. A reply that leaves that out does not say it;
            one that says what there is not is no verdict.

    Raises:
        BadReplyError: there is no verdict; the reason is that of the last object.
    """
    wrong = UnscoredReason.BAD_JSON if text.strip() else UnscoredReason.EMPTY
    optional = {"target"} if with_target else set()
    for passage in iter_passages(text):
        exact: ParsedVerdict | None = None
        loose: ParsedVerdict | None = None
        for found in iter_objects(passage, "label"):
            parsed = _parse_object(found, taxonomy, clamp=clamp, with_target=with_target)
            if isinstance(parsed, UnscoredReason):
                wrong = parsed
            elif found.keys() - optional == _VERDICT_KEYS:
                exact = parsed
            else:
                loose = parsed
        chosen = exact or loose
        if chosen is not None:
            return chosen
    raise BadReplyError(wrong)


def _parse_object(
    found: Mapping[str, Any], taxonomy: Taxonomy, *, clamp: bool, with_target: bool
) -> ParsedVerdict | UnscoredReason:
    label, confidence = found["label"], read_number(found.get("confidence"))
    rationale = found.get("rationale")
    if not isinstance(label, str):
        return UnscoredReason.BAD_JSON
    name = label if label in taxonomy.label_names else label.strip().lower()
    if name not in taxonomy.label_names:
        return UnscoredReason.UNKNOWN_LABEL
    target = next((each for each in TARGETS if with_target and each == found.get("target")), None)
    if with_target and target is None and "target" in found:
        return UnscoredReason.UNKNOWN_TARGET
    if clamp and (is_integer(confidence) or isinstance(confidence, float)):
        confidence = min(max(confidence, 0), 1)  # NaN, which compares with nothing, stays
    if not (is_number(confidence) and 0 <= confidence <= 1):
        return UnscoredReason.BAD_CONFIDENCE
    words = to_one_line(rationale) if isinstance(rationale, str) else ""
    return ParsedVerdict(name, float(confidence), words, target)


def find_label_probability(
    text: str, label: str, token_probabilities: Sequence[tuple[str, float]] | None
) -> float | None:
    """Return the probability that the model gave to the tokens of its label: the product of theirs.

    It is a better confidence than the number that the model writes, which is mostly 0.9 or 0.95. Tokens that do not
    spell the reply, and those of no or an impossible probability, say nothing.

    Args:
        text: the reply.
        label: the label that was read from it.
        token_probabilities: each token of the reply with its probability, where the provider says so.

    Returns:
        The probability, in [0, 1]; None if it cannot be determined.
    """
    if not token_probabilities or "".join(token for token, _ in token_probabilities) != text:
        return None
    key = text.rfind('"label"')
    start = text.find(f'"{label}"', key + len('"label"')) + 1 if key >= 0 else 0
    if start <= 0:
        return None
    end, position, probability = start + len(label), 0, 1.0
    for token, each in token_probabilities:
        if position < end and position + len(token) > start:
            probability *= each
        position += len(token)
    return probability if 0 <= probability <= 1 else None


def iter_objects(text: str, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield every JSON object of a text that has this key, none of them inside another, first to last."""
    for found in iter_json_values(text):
        if isinstance(found, dict) and key in found:
            yield found


def read_number(value: Any) -> Any:
    """Return a number that a model wrote as text; anything else unchanged."""
    if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS and value.isascii() and "_" not in value:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def to_one_line(text: str) -> str:
    """Return a model's words as one visible line of at most 500 characters, head and tail."""
    return truncate_middle(" ".join(strip_hidden(text).split()), MAX_RATIONALE_CHARS)
