"""Formulas: a reward out of named metrics, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from bandstand.definition import DefinitionTable, hash_definition, is_number
from bandstand.errors import FieldError, InvalidRequestError

MAX_METRICS: Final = 50
"""That one reward may bring."""
MAX_METRIC: Final = 1e9
"""Most that a metric may be away from 0: sums of its squares keep their digits."""


@dataclass(frozen=True, slots=True)
class MetricTerm:
    """What one metric m adds: weight · m, with m clipped to [low, high] first; a side that is ``None`` has no limit."""

    name: str
    weight: float = 1.0
    low: float | None = None
    high: float | None = None

    def compute(self, value: float) -> float:
        """Return what a value of the metric adds.

        >>> MetricTerm("revenue", 0.01, high=50.0).compute(125.0)
        0.5
        """
        if self.low is not None:
            value = max(value, self.low)
        if self.high is not None:
            value = min(value, self.high)
        return self.weight * value


@dataclass(frozen=True, slots=True)
class RewardFormula:
    """A sum over metrics.

    Attributes:
        terms: one for each metric that counts, in the order of their names.
        hash: 16 hex digits over the terms.
    """

    terms: tuple[MetricTerm, ...]
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", hash_definition(self.to_document()))

    @classmethod
    def parse(cls, entries: object, path: str, faults: list[FieldError]) -> Self:
        """Read a table of metrics: each a weight, or a table with ``weight``, ``low`` and ``high``.

        Args:
            entries: the table.
            path: where it stands, such as ``rewards.metrics``.
            faults: the list every fault is appended to.
        """
        if not isinstance(entries, Mapping) or not 0 < len(entries) <= MAX_METRICS:
            faults.append(FieldError(path, f"must be a table of 1 to {MAX_METRICS} metrics"))
            return cls(())
        return cls(tuple(_parse_term(name, entries[name], f"{path}.{name}", faults) for name in sorted(entries)))

    def compute(self, metrics: Mapping[str, float]) -> float:
        """Return the reward of metrics; a metric that is missing or unknown adds nothing.

        >>> RewardFormula((MetricTerm("click"), MetricTerm("revenue", 0.01))).compute({"click": 1, "colour": 3})
        1.0
        """
        return float(sum(term.compute(metrics[term.name]) for term in self.terms if term.name in metrics))

    def to_document(self) -> dict[str, object]:
        """The table of which :meth:`parse` makes an equal value."""
        return {
            term.name: {
                key: value
                for key, value in (("weight", term.weight), ("low", term.low), ("high", term.high))
                if value is not None
            }
            for term in self.terms
        }


def validate_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics as floats, by name in order, once they are known to be few enough and not too large.

    Raises:
        InvalidRequestError: they are not.
    """
    if len(metrics) > MAX_METRICS:
        message = f"must be at most {MAX_METRICS}"
        raise InvalidRequestError(f"metrics {message}.", [FieldError("metrics", message)])
    for name, value in metrics.items():
        if not (is_number(value) and -MAX_METRIC <= value <= MAX_METRIC):
            message = f"must be a finite number within ±{MAX_METRIC:g}"
            raise InvalidRequestError(f"a metric {message}.", [FieldError(f"metrics.{name}", message)])
    return {name: float(metrics[name]) for name in sorted(metrics)}


def _parse_term(name: str, entry: object, path: str, faults: list[FieldError]) -> MetricTerm:
    if is_number(entry):
        entry = {"weight": entry}
    table = DefinitionTable(entry, path, faults)
    limits = {side: None if table.read_value(side) is None else table.read_number(side) for side in ("low", "high")}
    term = MetricTerm(name, table.read_number("weight", 1.0), **limits)
    if term.low is not None and term.high is not None and term.low >= term.high:
        faults.append(FieldError(path, "low must be under high"))
    table.check_unknown_keys()
    return term
