"""Labelled turns, one JSON object a line: what judges are measured on, calibrated with, and trained on."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from bandstand.definition import describe_unknown
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.judge.taxonomy import POLARITIES, Polarity, Taxonomy
from bandstand.judge.turn import Turn

_MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class LabelledTurn:
    """A turn and what is known of how the user took the answer.

    Attributes:
        line: where it stood, counted from 1.
        turn: the turn.
        label: the true label, if known.
        polarity: the true polarity: as given, else the label's, if known.
        topic_shift: whether the message starts a new topic, if known.
    """

    line: int
    turn: Turn
    label: str | None
    polarity: Polarity | None
    topic_shift: bool | None


class LabelledTurns(NamedTuple):
    """What a file held.

    Attributes:
        rows: the good ones, in order.
        bad: one fault a bad line, named ``line N``.
    """

    rows: tuple[LabelledTurn, ...]
    bad: tuple[FieldError, ...]


def parse_rows(lines: Iterable[str], taxonomy: Taxonomy, *, strict: bool = False) -> LabelledTurns:
    """Read lines of ``{query_t, answer_t, query_t1, label?|polarity?|topic_shift?}``; other keys do not matter.

    Args:
        lines: JSON objects; empty lines are skipped.
        taxonomy: whose labels they may have.
        strict: refuse everything for one bad line, instead of going on without it.

    Raises:
        InvalidRequestError: with ``strict``, if a line is bad; names each.
    """
    rows, bad = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(_parse_row(number, json.loads(line), taxonomy))
        except json.JSONDecodeError as error:
            bad.append(FieldError(f"line {number}", f"is not JSON: {error.msg} at column {error.colno}"))
        except RecursionError:
            bad.append(FieldError(f"line {number}", "is nested too deeply"))
        except InvalidRequestError as error:
            faults = "; ".join(f"{field} {message}" for field, message in error.errors)
            bad.append(FieldError(f"line {number}", faults or error.detail))
    if strict and bad:
        listed = "; ".join(f"{field}: {message}" for field, message in bad[:_MAX_LISTED])
        raise InvalidRequestError(f"{len(bad)} bad rows: {listed}", bad)
    return LabelledTurns(tuple(rows), tuple(bad))


def _parse_row(number: int, fields: object, taxonomy: Taxonomy) -> LabelledTurn:
    if not isinstance(fields, dict):
        raise InvalidRequestError("is not a JSON object")
    turn = Turn.parse(fields)
    label, polarity, topic_shift = fields.get("label"), fields.get("polarity"), fields.get("topic_shift")
    faults = []
    if label is not None and label not in taxonomy.label_names:
        known = describe_unknown(label, taxonomy.label_names) if isinstance(label, str) else "must be a string"
        faults.append(FieldError("label", known))
    if polarity is not None and polarity not in POLARITIES:
        faults.append(FieldError("polarity", f"must be one of {', '.join(POLARITIES)}"))
    if topic_shift is not None and not isinstance(topic_shift, bool):
        faults.append(FieldError("topic_shift", "must be true or false"))
    if label is None and polarity is None and topic_shift is None:
        faults.append(FieldError("label", "is missing, and so are polarity and topic_shift"))
    if faults:
        raise InvalidRequestError("a labelled turn is wrong", faults)
    return LabelledTurn(
        number, turn, label, polarity or (taxonomy.label(label).polarity if label else None), topic_shift
    )
