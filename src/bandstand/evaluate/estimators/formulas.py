"""The eleven estimators as one formula with three choices.

    V̂ = Σ_i f(w_i) (r_i − q_i) / Σ_i b_i  +  mean_i Σ_a π(a|x_i) q̂(x_i, a)

f shrinks the importance weights (or not), q̂ is a reward model (or 0, then also q_i = q̂(x_i, a_i) = 0), and b_i is 1, or
f(w_i) where the estimator is self-normalised.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray, LoggedRows

NUMERATOR, DENOMINATOR, BASELINE, WEIGHT = range(4)
"""Rows of the array that ``Formula.terms`` returns."""


class Parameter(NamedTuple):
    """The one number of an estimator that has one: its name, its default, and the upper end of [0, highest]."""

    name: str
    default: float
    highest: float = math.inf


@dataclass(frozen=True, slots=True)
class Formula:
    """One estimator: how it shrinks weights, whether it has a model, and what it divides by.

    Attributes:
        name: the public function's name.
        reweight: f, from the rows and the parameter to (n,).
        uses_model: whether ``q_hat`` is needed.
        uses_logged_means: whether the model is the means that were logged with each decision.
        self_normalised: whether the residuals are divided by Σ f(w), not by n.
        parameter: what the parameter is, or None for an estimator without one.
        value: the parameter's value; 0 without one.
    """

    name: str
    reweight: Callable[[LoggedRows, float], FloatArray]
    uses_model: bool = False
    uses_logged_means: bool = False
    self_normalised: bool = False
    parameter: Parameter | None = None
    value: float = 0.0

    @classmethod
    def named(cls, name: str, value: float | None = None) -> "Formula":
        """Return the estimator of that name.

        Args:
            name: one of ``FORMULAS``, or of ``LEDGER_FORMULAS``.
            value: its parameter; None for the default.

        Raises:
            EvaluationError: no such estimator, it has no parameter, or the parameter is out of range.
        """
        formula = FORMULAS.get(name) or LEDGER_FORMULAS.get(name)
        if formula is None:
            names = (*FORMULAS, *LEDGER_FORMULAS)
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            raise EvaluationError(f"no such estimator; {hint}")
        if formula.parameter is None:
            if value is not None:
                raise EvaluationError(f"{name} has no parameter")
            return formula
        if value is None:
            return replace(formula, value=formula.parameter.default)
        if not 0 <= value <= formula.parameter.highest:
            raise EvaluationError(f"{formula.parameter.name} of {name} must be in [0, {formula.parameter.highest:g}]")
        return replace(formula, value=float(value))

    @classmethod
    def parse(cls, text: str) -> "Formula":
        """Read ``"snips"``, or ``"clipped_ips:20"`` with a value for the parameter.

        Raises:
            EvaluationError: as ``named``, or the value is not a number.

        >>> Formula.parse("clipped_ips:20").label
        'clipped_ips(clip=20)'
        """
        name, colon, value = (word.strip() for word in text.partition(":"))
        if "_" in value:  # Python would read 1_0 as ten
            raise EvaluationError(f"{name}: its parameter must be a number")
        try:
            return cls.named(name, float(value) if colon else None)
        except ValueError as error:
            if isinstance(error, EvaluationError):
                raise
            raise EvaluationError(f"{name}: its parameter must be a number") from None

    @property
    def label(self) -> str:
        """Its name, with the parameter if it has one."""
        return self.name if self.parameter is None else f"{self.name}({self.parameter.name}={self.value:g})"

    def to_text(self) -> str:
        """Return what :meth:`parse` reads as this formula.

        >>> Formula.parse("clipped_ips:20").to_text()
        'clipped_ips:20.0'
        """
        return self.name if self.parameter is None else f"{self.name}:{self.value!r}"

    def compute_terms(self, rows: LoggedRows) -> FloatArray:
        """Return what is summed, (4, n): f(w) (r − q), b, Σ_a π q̂, and the importance weight w itself.

        Raises:
            EvaluationError: the formula has a model and the rows have no ``q_hat``, or wants logged means.
        """
        terms = np.empty((4, len(rows)))
        shrunk = self.reweight(rows, self.value)
        if self.uses_logged_means:
            if rows.means is None:
                raise EvaluationError(f"{self.name} needs the means that a ledger keeps with each decision")
            np.subtract(rows.reward, rows.means[0], out=terms[NUMERATOR])
            terms[NUMERATOR] *= shrunk
            terms[BASELINE] = rows.means[1]
        elif not self.uses_model:
            np.multiply(shrunk, rows.reward, out=terms[NUMERATOR])
            terms[BASELINE] = 0.0
        elif rows.model_logged is None or rows.model_target is None:
            raise EvaluationError(f"{self.name} needs q_hat")
        else:
            np.subtract(rows.reward, rows.model_logged, out=terms[NUMERATOR])
            terms[NUMERATOR] *= shrunk
            terms[BASELINE] = rows.model_target
        terms[DENOMINATOR] = shrunk if self.self_normalised else 1.0
        terms[WEIGHT] = rows.weight
        return terms


def _keep_weights(rows: LoggedRows, _: float) -> FloatArray:
    return rows.weight


def _zero_weights(rows: LoggedRows, _: float) -> FloatArray:
    return np.zeros(len(rows))


def _match_weights(rows: LoggedRows, _: float) -> FloatArray:
    return rows.matched


def _clip_weights(rows: LoggedRows, clip: float) -> FloatArray:
    return np.minimum(rows.weight, clip)


def _switch_weights(rows: LoggedRows, tau: float) -> FloatArray:
    return np.where(rows.weight <= tau, rows.weight, 0.0)


def _shrink_optimistic(rows: LoggedRows, lambda_: float) -> FloatArray:
    # λw / (w² + λ), divided through by λ so that λ = ∞ is w.
    if lambda_ == 0:
        return np.zeros(len(rows))
    with np.errstate(over="ignore"):
        return rows.weight / (1 + rows.weight**2 / lambda_)


def _shrink_harmonic(rows: LoggedRows, lambda_: float) -> FloatArray:
    # At λ = 1 a weight of 0 would be 0/0; its limit is 0.
    divisor = 1 - lambda_ + lambda_ * rows.weight
    return np.divide(rows.weight, divisor, out=np.zeros(len(rows)), where=divisor > 0)


# The four defaults bound f(w) by ten (dr_os by five): a place to start from, not an optimum.
FORMULAS = MappingProxyType(
    {
        formula.name: formula
        for formula in (
            Formula("ips", _keep_weights),
            Formula("snips", _keep_weights, self_normalised=True),
            Formula("dm", _zero_weights, uses_model=True),
            Formula("dr", _keep_weights, uses_model=True),
            Formula("sndr", _keep_weights, uses_model=True, self_normalised=True),
            Formula("switch_dr", _switch_weights, uses_model=True, parameter=Parameter("tau", 10.0)),
            Formula("dr_os", _shrink_optimistic, uses_model=True, parameter=Parameter("lambda_", 100.0)),
            Formula("clipped_ips", _clip_weights, parameter=Parameter("clip", 10.0)),
            Formula("clipped_dr", _clip_weights, uses_model=True, parameter=Parameter("clip", 10.0)),
            Formula("sg_ips", _shrink_harmonic, parameter=Parameter("lambda_", 0.1, highest=1.0)),
            Formula("replay", _match_weights, self_normalised=True),
        )
    }
)
"""Every estimator by name, with its parameter not yet set: ``Formula.named`` sets it."""

LEDGER_FORMULAS = MappingProxyType({"dr_logged": Formula("dr_logged", _keep_weights, uses_logged_means=True)})
"""Estimators that need what only a ledger keeps: the means that each policy had of its candidates as it decided.

``dr_logged`` is ``dr`` with those for q̂. They were there before the reward, so each term is the target's value in
expectation whatever was learned meanwhile: what a service sums as rewards come.
"""
