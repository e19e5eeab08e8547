"""From the terms of single rows to an estimate, all at once or chunk by chunk."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import NormalDist
from typing import Any, Literal, TypedDict

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.bootstrap import PoissonBootstrap
from bandstand.evaluate.estimators.formulas import BASELINE, DENOMINATOR, NUMERATOR, WEIGHT, Formula
from bandstand.evaluate.estimators.logged_rows import FloatArray, LoggedRows
from bandstand.evaluate.estimators.moments import Moments

MEAN_WEIGHT_ERRORS = 3.0
MIN_ESS_SHARE = 0.01
_MIN_RESAMPLES = 100
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of a policy's mean reward, and how far to trust it.

    Attributes:
        value: the estimate; NaN where the log says nothing (see ``warnings``).
        stderr: its standard error, by the delta method where the estimator is a ratio, whatever the interval; NaN where
            fewer than two rows count.
        low: lower end of the interval.
        high: upper end of the interval.
        n: rows in the log.
        ess: (Σw)² / Σw² of the importance weights, in rows; for ``replay`` the number of matches.
        mean_weight: mean of the importance weights before any clipping; 1 in expectation when propensities are true.
        warnings: one sentence for each reason to doubt the value.
    """

    value: float
    stderr: float
    low: float
    high: float
    n: int
    ess: float
    mean_weight: float
    warnings: tuple[str, ...]


class IntervalOptions(TypedDict, total=False):
    """How the interval of an estimate is made: the keywords of ``Accumulator``, as every estimator takes them.

    Attributes:
        interval: "normal" (default), value ± z·stderr; or "bootstrap", percentiles of a Poisson bootstrap.
        level: coverage aimed at, in (0, 1); 0.95.
        resamples: bootstrap resamples, at least 100; 1,000.
        seed: seed of the bootstrap's draws; 0. None for a fresh one.
    """

    interval: Literal["normal", "bootstrap"]
    level: float
    resamples: int
    seed: int | None


class Accumulator:
    """One estimator over a log that arrives in chunks; memory does not grow with the log.

    ``add`` sums the terms of the rows, ``estimate`` turns the sums into an ``Estimate`` and may be called at any time.
    The estimators on whole arrays use the same sums. With R = mean(a)/mean(b) and value R + mean(c), the standard error
    is that of the mean of (a_i − R b_i)/mean(b) + c_i (delta method); where b ≡ 1 that is the ordinary one.

    Args:
        formula: which estimator, as in ``Formula.named("snips")``.
        interval: "normal" or "bootstrap", see ``IntervalOptions``.
        level: coverage aimed at, in (0, 1).
        resamples: bootstrap resamples, at least 100.
        seed: seed of the bootstrap's draws, 0 or more; None for a fresh one.
        first_row: rows of the log before those that are added here, where they are a part of it.

    Raises:
        EvaluationError: an option is not allowed.
    """

    def __init__(
        self,
        formula: Formula,
        *,
        interval: Literal["normal", "bootstrap"] = "normal",
        level: float = 0.95,
        resamples: int = 1000,
        seed: int | None = 0,
        first_row: int = 0,
    ) -> None:
        if interval not in {"normal", "bootstrap"}:
            raise EvaluationError("interval must be 'normal' or 'bootstrap'")
        if not (_is_number(level, Real) and 0 < level < 1):
            raise EvaluationError("level must be a number between 0 and 1")
        if not (_is_number(resamples, Integral) and resamples >= _MIN_RESAMPLES):
            raise EvaluationError(f"resamples must be a whole number of at least {_MIN_RESAMPLES}")
        if seed is not None and not (_is_number(seed, Integral) and seed >= 0):
            raise EvaluationError("seed must be a whole number of 0 or more, or None for a fresh one")
        self._formula = formula
        self._level = level
        self._bootstrap = PoissonBootstrap(int(resamples), seed, first_row) if interval == "bootstrap" else None
        self._moments = Moments(4)
        self._logged_counts: FloatArray = np.zeros(0)
        self._target_counts: FloatArray = np.zeros(0)

    def add(self, rows: LoggedRows) -> None:
        """Take in a chunk; a chunk that is refused changes nothing.

        Raises:
            EvaluationError: the estimator needs ``q_hat`` and the chunk has none, or its number of actions is another.
        """
        terms = self._formula.compute_terms(rows)
        self._count_actions(rows.logged_counts, rows.target_counts)
        self._moments.add(terms)
        if self._bootstrap is not None:
            self._bootstrap.add(terms)

    def merge(self, later: "Accumulator") -> None:
        """Take in the sums over another part of the log, of the same estimator with the same options.

        Raises:
            EvaluationError: its number of actions is another.
        """
        if later._moments.n:
            self._count_actions(later._logged_counts, later._target_counts)
            self._moments.merge(later._moments)
        if self._bootstrap is not None and later._bootstrap is not None:
            self._bootstrap.merge(later._bootstrap)

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values, to the last bit."""
        return {
            "moments": self._moments.to_json(),
            "logged": self._logged_counts.tolist(),
            "target": self._target_counts.tolist(),
            "bootstrap": None if self._bootstrap is None else self._bootstrap.to_json(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Put the sums that :meth:`to_json` returned, of the same estimator with the same options, in their place."""
        self._moments = Moments.from_json(document["moments"])
        self._logged_counts = np.array(document["logged"], np.float64)
        self._target_counts = np.array(document["target"], np.float64)
        if self._bootstrap is not None:
            self._bootstrap.restore(document["bootstrap"])

    def estimate(self) -> Estimate:
        """Return the estimate over everything added so far.

        Raises:
            EvaluationError: nothing was added.
        """
        moments = self._moments
        if moments.n == 0:
            raise EvaluationError("there are no rows to evaluate")
        ess = _effective_size(moments, DENOMINATOR if self._formula.self_normalised else WEIGHT)
        value, stderr = self._compute_value(ess)
        low, high, unusable = self._compute_interval(value, stderr)
        return Estimate(
            value=value,
            stderr=stderr,
            low=low,
            high=high,
            n=moments.n,
            ess=ess,
            mean_weight=float(moments.mean[WEIGHT]),
            warnings=(*self._collect_warnings(value, ess), *unusable),
        )

    def _count_actions(self, logged: FloatArray, target: FloatArray) -> None:
        if self._moments.n == 0:
            self._logged_counts, self._target_counts = logged, target
        elif len(logged) != len(self._logged_counts):
            raise EvaluationError("chunks differ in their number of actions")
        else:
            self._logged_counts = self._logged_counts + logged
            self._target_counts = self._target_counts + target

    def _compute_value(self, ess: float) -> tuple[float, float]:
        means = self._moments.mean
        if means[DENOMINATOR] == 0:
            return math.nan, math.nan
        ratio = means[NUMERATOR] / means[DENOMINATOR]
        value = float(ratio + means[BASELINE])
        if self._is_one_row(ess):
            return value, math.nan
        slope = np.array([1 / means[DENOMINATOR], -ratio / means[DENOMINATOR], 1.0])
        variance = float(slope @ self._moments.covariance[:3, :3] @ slope)
        return value, math.sqrt(max(variance, 0.0) / self._moments.n)

    def _is_one_row(self, ess: float) -> bool:
        # Where one row is the whole ratio, the delta method would call its error zero.
        return self._moments.n == 1 or (self._formula.self_normalised and ess <= 1 + _ROUNDING)

    def _compute_interval(self, value: float, stderr: float) -> tuple[float, float, tuple[str, ...]]:
        if self._bootstrap is None:
            reach = NormalDist().inv_cdf((1 + self._level) / 2) * stderr
            return value - reach, value + reach, ()
        if math.isnan(stderr):
            return math.nan, math.nan, ()
        values = self._bootstrap.values()
        low, high = np.quantile(values, [(1 - self._level) / 2, (1 + self._level) / 2])
        lost = self._bootstrap.resamples - len(values)
        warning = f"{lost} of {self._bootstrap.resamples} resamples held no weight and were left out"
        return float(low), float(high), (warning,) if lost else ()

    def _collect_warnings(self, value: float, ess: float) -> list[str]:
        moments = self._moments
        n = moments.n
        warnings = []
        if math.isnan(value) and self._formula.name == "replay":
            warnings.append("no row matches: the target never surely takes the logged action, so there is no value")
        elif math.isnan(value):
            warnings.append("every weight is zero: the target never takes a logged action, so there is no value")
        elif self._is_one_row(ess):
            warnings.append("one row carries the whole estimate: there is no standard error")

        mean_weight = float(moments.mean[WEIGHT])
        error = math.sqrt(float(moments.covariance[WEIGHT, WEIGHT]) / n)
        if abs(mean_weight - 1) > MEAN_WEIGHT_ERRORS * error + _ROUNDING:
            warnings.append(
                f"the mean weight is {mean_weight:.4g}, over {MEAN_WEIGHT_ERRORS:g} standard errors from 1: actions "
                "were not drawn with these propensities, or the log cannot reach all that the target does"
            )
        if ess < MIN_ESS_SHARE * n:
            warnings.append(f"the effective sample size is {ess:.3g}, under {MIN_ESS_SHARE:.0%} of {n} rows")
        warnings.extend(self._check_support())
        if self._formula.name == "replay" and _effective_size(moments, WEIGHT) < ess * (1 - _ROUNDING):
            warnings.append("replay asks for a uniform log, and the propensities of the matching rows differ")
        return warnings

    def _check_support(self) -> list[str]:
        never = self._logged_counts == 0
        rows = float(self._target_counts[never].sum())
        if rows < 1 - _ROUNDING:
            return []
        warning = (
            f"zero support: {int(never.sum())} of {len(never)} actions were never logged, and the target takes them "
            f"in {rows / self._moments.n:.2%} of the rows: nothing in the log says how they do"
        )
        return [warning]


def _effective_size(moments: Moments, variable: int) -> float:
    square = float(moments.mean_square[variable])
    return moments.n * float(moments.mean[variable]) ** 2 / square if square > 0 else 0.0


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
