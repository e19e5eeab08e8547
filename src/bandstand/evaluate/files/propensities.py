"""If a log says a probability twice, both must agree: the pick's, and those of all candidates."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import ROW_SUM_TOLERANCE, FloatArray, RowLocator

RELATIVE_TOLERANCE: Final = 1e-5
"""How far two records of one probability may differ: single precision, and six digits in text, pass."""

_SMALLEST: Final = 1e-7


def check_pick(propensity: float, pick: int, propensities: FloatArray) -> None:
    """Check one decision: the probabilities of all candidates, (K,), sum to 1, and the pick's is the one logged.

    Raises:
        EvaluationError: they contradict each other.
    """
    _check(np.array([propensity]), np.array([pick]), propensities[np.newaxis], lambda _: "")


def check_picks(propensity: FloatArray, action: NDArray[np.intp], propensities: FloatArray, locate: RowLocator) -> None:
    """Check rows: propensity (n,), action (n,), propensities (n, k).

    Raises:
        EvaluationError: those of a row contradict each other; names it.
    """
    outside = (action < 0) | (action >= propensities.shape[1])
    if outside.any():
        raise EvaluationError(f"action is not in [0, {propensities.shape[1]}) in {locate(int(outside.argmax()))}")
    _check(propensity, action, propensities, lambda index: f" in {locate(index)}")


def _check(propensity: FloatArray, action: NDArray[np.intp], propensities: FloatArray, where: RowLocator) -> None:
    sums = propensities.sum(axis=1)
    wrong = ~(np.abs(sums - 1) <= ROW_SUM_TOLERANCE) | (propensities < 0).any(axis=1)
    if wrong.any():
        index = int(wrong.argmax())
        raise EvaluationError(f"propensities do not sum to 1, but to {sums[index]:g}{where(index)}")
    listed = propensities[np.arange(len(action)), action]
    close = np.abs(propensity - listed) <= _SMALLEST + RELATIVE_TOLERANCE * np.abs(listed)
    if not close.all():
        index = int(close.argmin())
        raise EvaluationError(
            f"propensity is {propensity[index]:g}, and that of the pick in propensities {listed[index]:g}{where(index)}"
        )
