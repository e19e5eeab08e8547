"""One target policy over one log: the requested estimates, and what speaks for and against them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.accumulator import Accumulator, Estimate, IntervalOptions
from bandstand.evaluate.estimators.arrival import RewardArrival
from bandstand.evaluate.estimators.chunk import Chunk
from bandstand.evaluate.estimators.curve import Curve, CurvePoint
from bandstand.evaluate.estimators.formulas import Formula
from bandstand.evaluate.estimators.moments import Moments
from bandstand.evaluate.estimators.windows import TimeWindows, WindowSums

_HIGHEST_POWER = 7
WEIGHT_BINS = ("0", *(f"{2.0**power:g}" for power in range(-_HIGHEST_POWER, _HIGHEST_POWER + 1)))
"""Lower ends of the bins of importance weights: 0 alone, then by powers of 2, the first and the last open-ended."""

_SUPPORT_TOLERANCE = 1e-6


class EvaluationWarning(NamedTuple):
    """A reason to doubt, and the estimators it is about; none where it is about all."""

    message: str
    estimators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogEvaluationResult:
    """What a log says about a policy.

    Attributes:
        estimates: by name of the estimator, as ``Formula.label`` writes it.
        decisions: in the log.
        rewarded: those that got a reward.
        logged_mean: mean reward of what was logged, over the decisions that count.
        logged_stderr: its standard error.
        supported_share: the share of the policy's picks that the logger could have made; None if unknown.
        warnings: reasons to doubt the estimates.
        curve: how SNIPS moved as the log went on.
        weights: decisions that count by importance weight, in ``WEIGHT_BINS``.
        windows: sums by window of time; none if they were not requested.
    """

    estimates: dict[str, Estimate]
    decisions: int
    rewarded: int
    logged_mean: float
    logged_stderr: float
    supported_share: float | None
    warnings: tuple[EvaluationWarning, ...]
    curve: tuple[CurvePoint, ...]
    weights: tuple[int, ...]
    windows: tuple[WindowSums, ...] = ()


class LogEvaluation:
    """Estimates over a log that arrives in chunks; memory does not grow with the log.

    Args:
        formulas: the estimators.
        missing_reward: what a decision without a reward is worth; None leaves such decisions out.
        window_s: length of the windows of time of which sums are kept too, where the log tells times; None for none.
        first_row: decisions of the log that count before those that are added here, where they are a part of it.
        options: see ``IntervalOptions``.

    Raises:
        EvaluationError: an option is not allowed.
    """

    def __init__(
        self,
        formulas: Sequence[Formula],
        *,
        missing_reward: float | None = None,
        window_s: float | None = None,
        first_row: int = 0,
        **options: Unpack[IntervalOptions],
    ) -> None:
        if missing_reward is not None and not math.isfinite(missing_reward):
            raise EvaluationError("the reward of a decision without one must be a finite number")
        self._accumulators = {
            formula.label: Accumulator(formula, first_row=first_row, **options) for formula in formulas
        }
        self._missing_reward = missing_reward
        self._arrival = RewardArrival()
        self._logged = Moments(1)
        self._supported = 0.0
        self._support_known = True
        self._curve = Curve(first_row)
        self._windows = None if window_s is None else TimeWindows(window_s)
        self._weights: NDArray[np.int64] = np.zeros(len(WEIGHT_BINS), np.int64)

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk.

        Raises:
            EvaluationError: a row is not as it must be, or an estimator lacks what it needs.
        """
        if not len(chunk):
            return
        missing = np.isnan(chunk.reward)
        rows = chunk.to_logged_rows(self._missing_reward or 0.0)
        self._arrival.add(rows.weight, missing)
        if chunk.supported is None:
            self._support_known = False
        else:
            self._supported += float(chunk.supported.sum())
        if self._missing_reward is None and missing.any():
            chunk = chunk.select_rows(~missing)
            rows = chunk.to_logged_rows()
        for accumulator in self._accumulators.values():
            accumulator.add(rows)
        self._logged.add(rows.reward[np.newaxis])
        self._curve.add(rows)
        if self._windows is not None and chunk.ts is not None:
            self._windows.add(chunk.ts, rows)
        _, powers = np.frexp(rows.weight)  # w = m·2^power with m in [1/2, 1)
        bins = np.where(rows.weight == 0, 0, np.clip(powers + _HIGHEST_POWER, 1, len(WEIGHT_BINS) - 1))
        self._weights += np.bincount(bins, minlength=len(WEIGHT_BINS))

    def merge(self, later: "LogEvaluation") -> None:
        """Take in another part of the log, asked the same; in which order they are taken in makes no difference.

        Raises:
            EvaluationError: its number of actions is another.
        """
        for label, accumulator in self._accumulators.items():
            accumulator.merge(later._accumulators[label])
        self._arrival.merge(later._arrival)
        self._supported += later._supported
        self._support_known &= later._support_known
        self._logged.merge(later._logged)
        self._curve.merge(later._curve)
        self._weights += later._weights
        if self._windows is not None and later._windows is not None:
            self._windows.merge(later._windows)

    @property
    def row_count(self) -> int:
        """Decisions that count."""
        return self._logged.n

    def move_to(self, first_row: int) -> None:
        """Shift a part that was added as the log's first, so that a number of decisions count before it.

        The draws of a bootstrap stay those of the first rows.
        """
        self._curve.move_to(first_row)

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values, to the last bit."""
        return {
            "estimators": {label: accumulator.to_json() for label, accumulator in self._accumulators.items()},
            "arrival": self._arrival.to_json(),
            "supported": self._supported,
            "support_known": self._support_known,
            "logged": self._logged.to_json(),
            "curve": self._curve.to_json(),
            "weights": self._weights.tolist(),
            "windows": None if self._windows is None else self._windows.to_json(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Restore the sums that :meth:`to_json` returned, of an evaluation with the same question."""
        for label, accumulator in self._accumulators.items():
            accumulator.restore(document["estimators"][label])
        self._arrival = RewardArrival.from_json(document["arrival"])
        self._supported, self._support_known = float(document["supported"]), bool(document["support_known"])
        self._logged = Moments.from_json(document["logged"])
        self._curve = Curve.from_json(document["curve"])
        self._weights = np.array(document["weights"], np.int64)
        if self._windows is not None:
            self._windows.restore(document["windows"])

    def result(self) -> LogEvaluationResult:
        """Return what the log says so far.

        Raises:
            EvaluationError: no decision counts.
        """
        arrival = self._arrival
        if not arrival.decision_count:
            raise EvaluationError("the log holds no decision to evaluate")
        if not self._logged.n:
            raise EvaluationError(f"none of {arrival.decision_count} decisions has a reward")
        estimates = {name: accumulator.estimate() for name, accumulator in self._accumulators.items()}
        supported = self._supported / arrival.decision_count if self._support_known else None
        variance = float(self._logged.covariance[0, 0])
        return LogEvaluationResult(
            estimates=estimates,
            decisions=arrival.decision_count,
            rewarded=arrival.rewarded_count,
            logged_mean=float(self._logged.mean[0]),
            logged_stderr=math.sqrt(variance / self._logged.n),
            supported_share=supported,
            warnings=(*self._collect_warnings(supported), *_merge_warnings(estimates)),
            curve=tuple(self._curve.to_points()),
            weights=tuple(self._weights.tolist()),
            windows=() if self._windows is None else tuple(self._windows.to_sums()),
        )

    def _collect_warnings(self, supported: float | None) -> list[EvaluationWarning]:
        warnings = []
        if self._missing_reward is None and (selective := self._arrival.describe_selection_bias()):
            warnings.append(EvaluationWarning(selective))
        if supported is not None and supported < 1 - _SUPPORT_TOLERANCE:
            warnings.append(
                EvaluationWarning(
                    f"{1 - supported:.2%} of what the target does had probability 0 in the log: nothing there says how "
                    "that turns out"
                )
            )
        return warnings


def _merge_warnings(estimates: dict[str, Estimate]) -> list[EvaluationWarning]:
    """Every warning once, with the estimators it came from."""
    found: dict[str, list[str]] = {}
    for name, estimate in estimates.items():
        for warning in estimate.warnings:
            found.setdefault(warning, []).append(name)
    return [
        EvaluationWarning(text, () if len(names) == len(estimates) else tuple(names)) for text, names in found.items()
    ]
