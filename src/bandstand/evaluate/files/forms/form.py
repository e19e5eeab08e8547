"""What every form of a log of decisions is read into, and the interface of its reader."""

import contextlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.cells import is_missing
from bandstand.times import parse_time

EVERYBODY: Final = "everybody"
"""The user of a log that tells none apart."""
UNKNOWN_POLICY: Final = "unknown"

_MAX_DEPTH: Final = 8
_MAX_FEATURES: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """A decision as its log has it.

    Attributes:
        user_id: whom it was made for.
        candidates: what was offered, each with its ``features``.
        pick: index of what was picked.
        propensity: probability with which it was picked, in (0, 1].
        context: raw values by field.
        propensities: of all candidates, in their order; empty where the log does not say.
        reward: its reward in the end; None if nothing did.
        policy: who decided.
        ts: when, in seconds since the epoch.
        rewarded_later: what its reward calls it, where that stands further on in the log; it teaches only there.
    """

    user_id: str
    candidates: Sequence[Mapping[str, Any]]
    pick: int
    propensity: float
    context: Mapping[str, Any]
    propensities: Sequence[float] = ()
    reward: float | None = None
    policy: str = UNKNOWN_POLICY
    ts: float = 0.0
    rewarded_later: str | None = None


@dataclass(frozen=True, slots=True)
class LateReward:
    """A reward that stands in the log by itself.

    Attributes:
        event_id: of the decision.
        value: the reward.
        ts: when it came, in seconds since the epoch; None if the log does not say.
    """

    event_id: str
    value: float
    ts: float | None = None


class DecisionForm(Protocol):
    """How one system writes decisions down."""

    name: ClassVar[str]
    """What ``--format`` calls it."""

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """Return whether a log whose first record has these keys is of this form."""

    def survey(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Read the whole log once before it is parsed, if a record cannot be read without the others."""

    def parse(self, record: Mapping[str, Any]) -> Iterable[RecordedDecision | LateReward]:
        """Read one record; what it says nothing of a decision in gives nothing.

        Raises:
            EvaluationError: it is not of this form.
        """


def read_number(record: Mapping[str, Any], name: str) -> float:
    """Return a finite number, also where it stands as text.

    Raises:
        EvaluationError: it is none.
    """
    value = record.get(name)
    if isinstance(value, str) and "_" not in value:
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EvaluationError(f"{name}: {'is missing' if value is None else 'is no number'}")
    return float(value)


def read_index(record: Mapping[str, Any], name: str) -> int:
    """Return a whole number of 0 or more.

    Raises:
        EvaluationError: it is none.
    """
    number = read_number(record, name)
    if number < 0 or not number.is_integer():
        raise EvaluationError(f"{name}: is no index")
    return int(number)


def parse_timestamp(value: object, name: str = "ts") -> float:
    """Read a time as seconds or milliseconds since the epoch, by its size, or as ISO 8601; 0 if there is none.

    Raises:
        EvaluationError: it is none of these, before 1970 or after 2200.

    >>> parse_timestamp(1767225600), parse_timestamp(1767225600000), parse_timestamp("2026-01-01T00:00:00Z")
    (1767225600.0, 1767225600.0, 1767225600.0)
    """
    if is_missing(value):
        return 0.0
    try:
        return parse_time(value)
    except ValueError:
        raise EvaluationError(f"{name}: is no time in seconds or milliseconds since 1970, nor as ISO 8601") from None


def flatten(values: object) -> dict[str, Any]:
    """Return the features in nested namespaces and lists of them by their own names.

    A name that several namespaces use belongs to the first; the others are read as ``namespace_name``. A list of
    numbers becomes ``name_0``, ``name_1`` and so on.

    >>> flatten([{"user": {"age": 7}}, {"item": {"age": 1, "size": [1.5, 2]}}])
    {'age': 7, 'item_age': 1, 'size_0': 1.5, 'size_1': 2}
    """
    found: dict[str, Any] = {}
    _flatten_into(found, values, "", 0)
    return found


def _flatten_into(found: dict[str, Any], values: object, space: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise EvaluationError("features are nested too deeply")
    if isinstance(values, Mapping):
        for name, value in values.items():
            if isinstance(value, list) and value and all(isinstance(each, int | float) for each in value):
                value = {f"{name}_{number}": each for number, each in enumerate(value)}  # noqa: PLW2901 - named parts
                _flatten_into(found, value, space, depth + 1)
            elif isinstance(value, Mapping | list):
                _flatten_into(found, value, name, depth + 1)
            elif value is not None:
                found[name if name not in found else f"{space}_{name}"] = value
                if len(found) > _MAX_FEATURES:
                    raise EvaluationError(f"there are more than {_MAX_FEATURES} features")
    elif isinstance(values, list):
        for value in values:
            _flatten_into(found, value, space, depth + 1)
