"""Labelled turns: what judges are measured on, calibrated with, and trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bandstand.definition import describe_unknown
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.judge.taxonomy import POLARITIES, Polarity, Taxonomy
from bandstand.judge.training.transcripts import SourceRecord, parse_json_lines, to_turn_fields
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import TARGETS, Target

_MAX_LISTED = 20
_TOPIC_SHIFT = "topic_shift"


@dataclass(frozen=True, slots=True)
class LabelledTurn:
    """A turn and what is known of how the user took the answer.

    Attributes:
        line: where it stood, counted from 1.
        turn: the turn.
        label: the true label, if known.
        polarity: the true polarity: as given, else the label's, if known.
        topic_shift: whether the message starts a new topic, if known.
        target: what the message speaks of, if known.
        kind: of which kind it is, for reports; empty where nobody says.
        language: of the message, likewise.
    """

    line: int
    turn: Turn
    label: str | None
    polarity: Polarity | None
    topic_shift: bool | None
    target: Target | None = None
    kind: str = ""
    language: str = ""


class LabelledTurns(NamedTuple):
    """What a file held.

    Attributes:
        rows: the good ones, in order.
        bad: one fault a bad line, named ``line N``.
    """

    rows: tuple[LabelledTurn, ...]
    bad: tuple[FieldError, ...]


def parse_rows(lines: Iterable[str], taxonomy: Taxonomy, *, strict: bool = False) -> LabelledTurns:
    """Read a JSON object a line: :func:`parse_records` of them.

    Args:
        lines: JSON objects; empty lines are skipped.
        taxonomy: whose labels they may have.
        strict: refuse everything for one bad line, instead of going on without it.

    Raises:
        InvalidRequestError: with ``strict``, if a line is bad; names each.
    """
    return parse_records(parse_json_lines(lines), taxonomy, strict=strict)


def parse_records(records: Iterable[SourceRecord], taxonomy: Taxonomy, *, strict: bool = False) -> LabelledTurns:
    """Read records of ``{query_t, answer_t, query_t1, label?|polarity?|topic_shift?}``, or of other tools' forms.

    Args:
        records: see :mod:`bandstand.judge.training.transcripts`; other keys do not matter.
        taxonomy: whose labels they may have.
        strict: refuse everything for one bad record, instead of going on without it.

    Raises:
        InvalidRequestError: with ``strict``, if a record is bad; names each.
    """
    rows: list[LabelledTurn] = []
    bad: list[FieldError] = []
    known: dict[Turn, tuple[str, tuple[object, ...]]] = {}
    for record in to_turn_fields(records):
        if record.fault is not None:
            bad.append(FieldError(record.at, record.fault))
            continue
        try:
            row = _parse_row(record.number, record.value, taxonomy)
        except InvalidRequestError as error:
            faults = "; ".join(f"{field} {message}" for field, message in error.errors)
            bad.append(FieldError(record.at, faults or error.detail))
            continue
        first, truth = known.setdefault(row.turn, (record.at, _get_truth(row)))
        if any(None not in pair and pair[0] != pair[1] for pair in zip(truth, _get_truth(row), strict=True)):
            bad.append(FieldError(record.at, f"the same turn is labelled otherwise in {first}"))
        else:
            rows.append(row)
    if strict and bad:
        listed = "; ".join(f"{field}: {message}" for field, message in bad[:_MAX_LISTED])
        raise InvalidRequestError(f"{len(bad)} bad rows: {listed}", bad)
    return LabelledTurns(tuple(sorted(rows, key=lambda row: row.line)), tuple(bad))


def _get_truth(row: LabelledTurn) -> tuple[object, ...]:
    return row.label, row.polarity, row.topic_shift


def _parse_row(number: int, fields: object, taxonomy: Taxonomy) -> LabelledTurn:
    if not isinstance(fields, dict):
        raise InvalidRequestError("is not a JSON object")
    turn = Turn.parse(fields)
    label, polarity, topic_shift = fields.get("label"), fields.get("polarity"), fields.get("topic_shift")
    target, kind, language = fields.get("target"), fields.get("kind", ""), fields.get("language", "")
    faults = []
    if label is not None and label not in taxonomy.label_names:
        known = describe_unknown(label, taxonomy.label_names) if isinstance(label, str) else "must be a string"
        faults.append(FieldError("label", known))
    if polarity is not None and polarity not in POLARITIES:
        faults.append(FieldError("polarity", f"must be one of {', '.join(POLARITIES)}"))
    if topic_shift is not None and not isinstance(topic_shift, bool):
        faults.append(FieldError("topic_shift", "must be true or false"))
    if target is not None and target not in TARGETS:
        faults.append(FieldError("target", f"must be one of {', '.join(TARGETS)}"))
    faults += [
        FieldError(name, "must be a string")
        for name, value in (("kind", kind), ("language", language))
        if not isinstance(value, str)
    ]
    if not faults:
        faults = list(_find_contradictions(taxonomy, label, polarity, topic_shift=topic_shift))
    if label is None and polarity is None and topic_shift is None:
        faults.append(FieldError("label", "is missing, and so are polarity and topic_shift"))
    if faults:
        raise InvalidRequestError("a labelled turn is wrong", faults)
    known_polarity = polarity or (taxonomy.label(label).polarity if label else None)
    return LabelledTurn(number, turn, label, known_polarity, topic_shift, target, kind, language)


def _find_contradictions(
    taxonomy: Taxonomy, label: str | None, polarity: Polarity | None, *, topic_shift: bool | None
) -> Iterator[FieldError]:
    """Yield labels that contradict each other: opposite signs, or a topic shift with a label that is none."""
    if label is None:
        return
    known = taxonomy.label(label)
    signs = {polarity, known.polarity} - {"other", None}
    unlike = polarity == "other" and known.polarity != "other" and known.updates
    if len(signs) > 1 or unlike:
        yield FieldError("polarity", f"is {polarity}, and the label {label} is {known.polarity}")
    if topic_shift is not None and _TOPIC_SHIFT in taxonomy.label_names and topic_shift != (label == _TOPIC_SHIFT):
        yield FieldError("topic_shift", f"is {str(topic_shift).lower()}, and the label is {label}")
