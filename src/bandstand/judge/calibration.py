"""Calibration: from what a judge says of its confidence to how often it is right, and a threshold to match.

A calibration is a document with a version, fitted to one judge's verdicts on labelled turns, and named with its hash in
whatever it helped to decide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from typing import Any, Final, Literal, Self

from bandstand.definition import hash_definition, is_number
from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.judge.verdict import Judged

Method = Literal["isotonic", "platt"]

VERSION: Final = 1
MIN_EXAMPLES: Final = 20
MIN_NEGATIVES: Final = 10
"""A threshold is only trusted where at least so many verdicts above it are negative."""

_EDGE: Final = 1e-4
_NEWTON_STEPS: Final = 100
_HASH_DIGITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A monotone map from stated to true confidence.

    Attributes:
        tier: whose verdicts it was fitted to.
        model: which exactly; verdicts of another must not be calibrated by it.
        taxonomy: the taxonomy's name.
        method: "isotonic": a line through ``points``; "platt": 1/(1 + exp(−a·logit(c) − b)), ``points`` = ((a, b),).
        points: see there.
        tau: the least threshold with the target precision; None if no threshold reaches it.
        target_precision: of the negative verdicts above τ.
        examples: how many labelled verdicts it was fitted to.
    """

    tier: str
    model: str
    taxonomy: str
    method: Method
    points: tuple[tuple[float, float], ...]
    tau: float | None
    target_precision: float
    examples: int

    def __call__(self, confidence: float) -> float:
        """Return the calibrated confidence, in [0, 1]."""
        if self.method == "platt":
            slope, offset = self.points[0]
            return _compute_sigmoid(slope * _compute_logit(confidence) + offset)
        return _compute_interpolated(self.points, confidence)

    @property
    def name(self) -> str:
        """What verdicts and rewards record: tier, method and hash."""
        return f"{self.tier}-{self.method}@{hash_definition(asdict(self))[:_HASH_DIGITS]}"

    def as_json(self) -> dict[str, Any]:
        """Return the document that :meth:`from_json` reads back equal."""
        return {"version": VERSION, "name": self.name, **asdict(self), "points": [list(point) for point in self.points]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a calibration document.

        Raises:
            ConfigurationError: it is not a calibration, has another version, or does not match its name.
        """
        if document.get("version") != VERSION:
            raise ConfigurationError(f"a calibration document of version {VERSION} was expected")
        try:
            fields = {name: document[name] for name in cls.__dataclass_fields__}
            points = tuple((float(x), float(y)) for x, y in fields.pop("points"))
            calibration = cls(points=points, **fields)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError("the calibration document is incomplete") from error
        if calibration.method not in {"isotonic", "platt"} or not points or calibration.name != document.get("name"):
            raise ConfigurationError("the calibration document was changed by hand; fit it again")
        return calibration


@dataclass(frozen=True, slots=True)
class Calibrations:
    """Those that a deployment has: each acts on the verdicts of the judge it was fitted to, and on no other's.

    Attributes:
        entries: one a tier and taxonomy.
    """

    entries: tuple[Calibration, ...] = ()

    def find(self, judged: Judged) -> Calibration | None:
        """Return the one for a verdict: of its very tier, model and taxonomy; None if there is none."""
        wanted = (judged.tier, judged.model, judged.taxonomy)
        return next((one for one in self.entries if (one.tier, one.model, one.taxonomy) == wanted), None)

    def with_calibration(self, calibration: Calibration) -> Self:
        """Return these with another, in place of the one that its tier and taxonomy had."""
        kept = (one for one in self.entries if (one.tier, one.taxonomy) != (calibration.tier, calibration.taxonomy))
        return type(self)((*kept, calibration))

    def as_json(self) -> dict[str, Any]:
        """Return the document that :meth:`from_json` reads back equal."""
        return {"version": VERSION, "calibrations": [one.as_json() for one in self.entries]}

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Read a document of calibrations.

        Raises:
            ConfigurationError: it holds no calibrations, has another version, or one of them does not match its name.
        """
        listed = document.get("calibrations") if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise ConfigurationError("a document of calibrations was expected")
        return cls(tuple(Calibration.from_json(one) for one in listed))


@dataclass(frozen=True, slots=True)
class CalibrationExample:
    """A verdict, and the true label.

    Attributes:
        confidence: as the judge stated it.
        correct: whether its label was right.
        negative: whether it called the turn negative.
        truly_negative: whether the turn is.
    """

    confidence: float
    correct: bool
    negative: bool
    truly_negative: bool


def fit_calibration(
    scored: Sequence[CalibrationExample],
    *,
    tier: str,
    model: str,
    taxonomy: str,
    method: Method = "isotonic",
    target_precision: float = 0.7,
) -> Calibration:
    """Fit a calibration and pick τ.

    isotonic: the non-decreasing map nearest in least squares, by pooling adjacent violators (Ayer et al. 1955).
    platt: the logistic curve of highest likelihood, with Platt's smoothed targets (Lin, Lin and Weng 2007).
    τ: the least calibrated confidence such that the negative verdicts at or above it have the target precision.

    Raises:
        InvalidRequestError: fewer than 20 labelled verdicts, or a target out of (0, 1].
    """
    if len(scored) < MIN_EXAMPLES:
        raise InvalidRequestError(f"a calibration needs at least {MIN_EXAMPLES} labelled verdicts, not {len(scored)}")
    if not (is_number(target_precision) and 0 < target_precision <= 1):
        raise InvalidRequestError("the target precision must be above 0 and at most 1")
    points = _fit_isotonic(scored) if method == "isotonic" else (_fit_platt(scored),)
    draft = Calibration(
        tier=tier,
        model=model,
        taxonomy=taxonomy,
        method=method,
        points=points,
        tau=None,
        target_precision=target_precision,
        examples=len(scored),
    )
    tau = pick_tau([(draft(s.confidence), s.truly_negative) for s in scored if s.negative], target_precision)
    return Calibration(**{**{name: getattr(draft, name) for name in Calibration.__dataclass_fields__}, "tau": tau})


def pick_tau(negatives: Sequence[tuple[float, bool]], target_precision: float) -> float | None:
    """Return the least threshold at which the negative verdicts are precise enough; None if there is none.

    Args:
        negatives: of every verdict that called a turn negative, its confidence and whether the turn is negative.
        target_precision: the share that must be.
    """
    best, count, right = None, 0, 0
    ordered = sorted(negatives, key=lambda pair: -pair[0])
    for confidence, group in groupby(ordered, key=lambda pair: pair[0]):
        pairs = list(group)
        count, right = count + len(pairs), right + sum(truly for _, truly in pairs)
        if count >= MIN_NEGATIVES and right / count >= target_precision:
            best = confidence
    return best


def _fit_isotonic(scored: Sequence[CalibrationExample]) -> tuple[tuple[float, float], ...]:
    blocks: list[list[float]] = []  # each: lowest and highest confidence, how many right, how many
    for confidence, group in groupby(sorted(scored, key=lambda s: s.confidence), key=lambda s: s.confidence):
        verdicts = list(group)
        blocks.append([confidence, confidence, float(sum(s.correct for s in verdicts)), float(len(verdicts))])
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][3] >= blocks[-1][2] * blocks[-2][3]:
            _, high, right, count = blocks.pop()
            blocks[-1] = [blocks[-1][0], high, blocks[-1][2] + right, blocks[-1][3] + count]
    ends = [(edge, right / count) for low, high, right, count in blocks for edge in dict.fromkeys((low, high))]
    return tuple(ends)


def _fit_platt(scored: Sequence[CalibrationExample]) -> tuple[float, float]:
    right = sum(s.correct for s in scored)
    high, low = (right + 1) / (right + 2), 1 / (len(scored) - right + 2)
    inputs = [_compute_logit(s.confidence) for s in scored]
    targets = [high if s.correct else low for s in scored]
    slope, offset = 1.0, 0.0
    for _ in range(_NEWTON_STEPS):
        outputs = [_compute_sigmoid(slope * x + offset) for x in inputs]
        errors = [p - t for p, t in zip(outputs, targets, strict=True)]
        curve = [p * (1 - p) for p in outputs]
        g_slope, g_offset = sum(e * x for e, x in zip(errors, inputs, strict=True)), sum(errors)
        h_ss = sum(c * x * x for c, x in zip(curve, inputs, strict=True)) + _EDGE
        h_so, h_oo = sum(c * x for c, x in zip(curve, inputs, strict=True)), sum(curve) + _EDGE
        determinant = h_ss * h_oo - h_so * h_so
        step_slope = (h_oo * g_slope - h_so * g_offset) / determinant
        step_offset = (h_ss * g_offset - h_so * g_slope) / determinant
        # Newton may overshoot where the curve is flat; a bounded step still arrives.
        shrink = max(1.0, abs(step_slope), abs(step_offset))
        slope, offset = slope - step_slope / shrink, offset - step_offset / shrink
    # A judge that is right less often the surer it is would be turned round; better to trust it nowhere in particular.
    return (slope, offset) if slope > 0 else (0.0, _compute_logit(right / len(scored)))


def _compute_interpolated(points: Sequence[tuple[float, float]], x: float) -> float:
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def _compute_logit(p: float) -> float:
    p = min(max(p, _EDGE), 1 - _EDGE)
    return math.log(p / (1 - p))


def _compute_sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
