"""Rows of a decision log, checked once and reduced to what every estimator is made from.

What is kept is a few numbers a row; the (n, k) arrays are only read, never copied, so a log of any width costs no
more memory than the arrays the caller already holds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandstand.errors import FieldError
from bandstand.evaluate.errors import EvaluationError

FloatArray = NDArray[np.float64]

ROW_SUM_TOLERANCE = 1e-5
"""How far from 1 a row of ``target`` may sum; float32 distributions and rounded logs pass, forgotten actions do not."""

LARGEST = 1e50
"""Largest reward, model value or weight taken: the squares of their products still fit a double."""

Place = Callable[[int], str]
"""What an error calls a row, from its index in a chunk."""

_ROUNDING = 1e-9
_CELLS_PER_CHUNK = 131_072
_ROWS_PER_CHUNK = (512, 8192)  # beyond, OpenBLAS puts threads to every dot product, at five times the processor's time


@dataclass(frozen=True, slots=True, eq=False)
class LoggedRows:
    """Checked rows: n decisions, what was done, what came of it, and what the target policy would have done.

    Attributes:
        reward: r_i, (n,).
        weight: w_i = π(a_i|x_i) / p_i, (n,).
        matched: whether π(a_i|x_i) = 1, as 0.0 or 1.0, (n,).
        model_logged: q̂(x_i, a_i), (n,), or None without ``q_hat``.
        model_target: Σ_a π(a|x_i) q̂(x_i, a), (n,), or None without ``q_hat``.
        logged: how often each action was logged, (k,); empty where ``target`` is (n,).
        wanted: Σ_i π(a|x_i), how often the target would take each action, (k,); empty likewise.
    """

    reward: FloatArray
    weight: FloatArray
    matched: FloatArray
    model_logged: FloatArray | None
    model_target: FloatArray | None
    logged: FloatArray
    wanted: FloatArray

    def __len__(self) -> int:
        """Return n."""
        return len(self.reward)

    @classmethod
    def of(
        cls,
        reward: ArrayLike,
        action: ArrayLike | None,
        propensity: ArrayLike,
        target: ArrayLike,
        q_hat: ArrayLike | None = None,
        *,
        first_row: int = 0,
        place: Place | None = None,
    ) -> Self:
        """Check one chunk of a log.

        Args:
            reward: (n,), finite, |r| ≤ 1e50.
            action: index of the logged action, integers in [0, k), (n,); not read, and may be None, where
                ``target`` has shape (n,).
            propensity: probability with which the logger drew that action, in (0, 1], (n,).
            target: π(a|x_i) of the policy to evaluate, (n, k), each row ≥ 0 and summing to 1 within 1e-5; or (n,), its
                probability of the logged action alone, which is all that estimators without a model need.
            q_hat: modelled mean reward of every action, (n, k), finite; None for estimators without a model.
            first_row: number of rows before this chunk; errors count rows from there.
            place: what errors call a row of this chunk, from its index; by default "row N" counted from 0.

        Raises:
            EvaluationError: a shape, type or value is not as above; names the array and the first bad row.
        """
        if place is None:
            place = partial(_row, first_row)
        rewards = _finite("reward", _floats("reward", reward, (1,)), place)
        n = len(rewards)
        propensities = _floats("propensity", propensity, (1,))
        targets = _floats("target", target, (1, 2))
        _same_length(n, propensity=propensities, target=targets)
        _refuse(~((propensities > 0) & (propensities <= 1 + _ROUNDING)), "propensity", "is not in (0, 1]", place)

        actions = None
        logged = wanted = np.zeros(0)
        if targets.ndim == 1:
            _refuse(~((targets >= 0) & (targets <= 1 + _ROUNDING)), "target", "is not in [0, 1]", place)
            chosen = targets
        else:
            actions = _actions(action, n, targets.shape[1], place)
            _check_distributions(targets, place)
            chosen = targets[np.arange(n), actions]
            logged = np.bincount(actions, minlength=targets.shape[1]).astype(np.float64)
            wanted = np.ones(n) @ targets

        with np.errstate(over="ignore"):
            weight = chosen / propensities
        _refuse(weight > LARGEST, "propensity", f"makes a weight over {LARGEST:g}", place)

        model_logged = model_target = None
        if q_hat is not None:
            if actions is None:
                raise EvaluationError("q_hat needs a target of shape (n, k), not (n,)")
            model = _finite("q_hat", _floats("q_hat", q_hat, (2,)), place)
            if model.shape != targets.shape:
                raise EvaluationError(f"q_hat has shape {model.shape}, target {targets.shape}")
            model_logged = model[np.arange(n), actions]
            model_target = np.einsum("nk,nk->n", targets, model)

        return cls(
            reward=rewards,
            weight=weight,
            matched=(chosen == 1).astype(np.float64),
            model_logged=model_logged,
            model_target=model_target,
            logged=logged,
            wanted=wanted,
        )

    @classmethod
    def split(
        cls,
        reward: ArrayLike,
        action: ArrayLike | None,
        propensity: ArrayLike,
        target: ArrayLike,
        q_hat: ArrayLike | None = None,
    ) -> Iterator[Self]:
        """Yield a log held in arrays as checked chunks small enough for the processor's cache.

        Raises:
            EvaluationError: as ``of``; also where there are no rows.
        """
        columns = {"reward": _array("reward", reward), "propensity": _array("propensity", propensity)}
        columns["target"] = _array("target", target)
        if action is not None:
            columns["action"] = _array("action", action)
        if q_hat is not None:
            columns["q_hat"] = _array("q_hat", q_hat)
        for name, column in columns.items():
            if column.ndim == 0:
                raise EvaluationError(f"{name} is one number, not an array")
        n = len(columns["reward"])
        if n == 0:
            raise EvaluationError("there are no rows to evaluate")
        _same_length(n, **columns)

        width = max(1, columns["target"][0].size)
        fewest, most = _ROWS_PER_CHUNK
        step = min(most, max(fewest, _CELLS_PER_CHUNK // width))
        for start in range(0, n, step):
            part = {name: column[start : start + step] for name, column in columns.items()}
            yield cls.of(
                part["reward"],
                part.get("action"),
                part["propensity"],
                part["target"],
                part.get("q_hat"),
                first_row=start,
            )


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
    if np.ma.is_masked(values):  # numpy would read what lies under the mask
        raise EvaluationError(f"{name} has masked values; leave such rows out")
    try:
        return np.asarray(values)
    except ValueError as error:  # numpy's word for rows of unequal length
        raise EvaluationError(f"{name} is not an array: its rows have different lengths") from error


def _floats(name: str, values: ArrayLike, dimensions: tuple[int, ...]) -> FloatArray:
    array = _array(name, values)
    if array.ndim not in dimensions:
        allowed = " or ".join("(n,)" if wanted == 1 else "(n, k)" for wanted in dimensions)
        raise EvaluationError(f"{name} has shape {array.shape}, not {allowed}")
    if array.dtype.kind not in "biuf":
        raise EvaluationError(f"{name} must be real numbers, not {array.dtype}")
    return array.astype(np.float64, copy=False)


def _actions(action: ArrayLike | None, n: int, k: int, place: Place) -> NDArray[np.intp]:
    if action is None:
        raise EvaluationError("action is missing: a target of shape (n, k) needs it")
    array = _array("action", action)
    if array.ndim != 1:
        raise EvaluationError(f"action has shape {array.shape}, not (n,)")
    if array.dtype.kind not in "iu":
        raise EvaluationError(f"action must be integers, not {array.dtype}")
    _same_length(n, action=array)
    _refuse((array < 0) | (array >= k), "action", f"is not in [0, {k})", place)
    return array.astype(np.intp, copy=False)


def _check_distributions(target: FloatArray, place: Place) -> None:
    # A product with ones is several times faster here than sum(axis=1); NaN and infinity fail the comparison too.
    totals = target @ np.ones(target.shape[1])
    _refuse(~(np.abs(totals - 1) <= ROW_SUM_TOLERANCE), "target", "does not sum to 1", place)
    if target.size and target.min() < 0:
        _refuse((target < 0).any(axis=1), "target", "has a negative probability", place)


def _finite(name: str, array: FloatArray, place: Place) -> FloatArray:
    sound = np.abs(array) <= LARGEST
    if not sound.all():
        bad = ~sound if array.ndim == 1 else ~sound.all(axis=1)
        _refuse(bad, name, f"is not finite, or beyond ±{LARGEST:g}", place)
    return array


def _same_length(n: int, **columns: NDArray[Any]) -> None:
    for name, column in columns.items():
        if len(column) != n:
            raise EvaluationError(f"{name} has {len(column)} rows, reward {n}")


def _refuse(bad: NDArray[np.bool_] | np.bool_, name: str, what: str, place: Place) -> None:
    if bad.any():
        message = f"{name} {what} in {place(int(bad.argmax()))}"
        raise EvaluationError(message, [FieldError(name, what)])


def _row(first_row: int, index: int) -> str:
    return f"row {first_row + index}"
