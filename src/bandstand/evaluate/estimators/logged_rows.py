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

MAX_VALUE = 1e50
"""Largest reward, model value or weight taken: the squares of their products still fit a double."""

RowLocator = Callable[[int], str]
"""What an error calls a row, from its index in a chunk."""

_ROUNDING = 1e-9
_SLOTTED = 3  # (n, k, slots): the Open Bandit Pipeline's arrays have an axis of slots, mostly of one
_CELLS_PER_CHUNK = 131_072
_ROWS_PER_CHUNK = (512, 8192)  # beyond, OpenBLAS puts threads to every dot product, at five times the processor's time


@dataclass(frozen=True, slots=True, eq=False)
class LoggedRows:
    """Checked rows: n decisions, what was done, its reward, and what the target policy would have done.

    Attributes:
        reward: r_i, (n,).
        weight: w_i = π(a_i|x_i) / p_i, (n,).
        matched: whether π(a_i|x_i) = 1, as 0.0 or 1.0, (n,).
        model_logged: q̂(x_i, a_i), (n,), or None without ``q_hat``.
        model_target: Σ_a π(a|x_i) q̂(x_i, a), (n,), or None without ``q_hat``.
        logged_counts: how often each action was logged, (k,); empty where ``target`` is (n,).
        target_counts: Σ_i π(a|x_i), how often the target would take each action, (k,); empty likewise.
        means: of what was logged with each row, that of the logged action and that of all under π, (2, n), or None.
    """

    reward: FloatArray
    weight: FloatArray
    matched: FloatArray
    model_logged: FloatArray | None
    model_target: FloatArray | None
    logged_counts: FloatArray
    target_counts: FloatArray
    means: FloatArray | None = None

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
        locate: RowLocator | None = None,
    ) -> Self:
        """Check one chunk of a log.

        Args:
            reward: (n,), finite, |r| ≤ 1e50.
            action: index of the logged action, integers in [0, k), (n,); not read, and may be None, where
                ``target`` has shape (n,).
            propensity: probability with which the logger drew that action, in (0, 1], (n,).
            target: π(a|x_i) of the policy to evaluate, (n, k), each row ≥ 0 and summing to 1 within 1e-5; or (n,), its
                probability of the logged action alone, which is all that estimators without a model need. A third axis
                of length 1, as in the Open Bandit Pipeline's arrays, is skipped.
            q_hat: modelled mean reward of every action, (n, k), finite; None for estimators without a model.
            first_row: number of rows before this chunk; errors count rows from there.
            locate: what errors call a row of this chunk, from its index; by default "row N" counted from 0.

        Raises:
            EvaluationError: a shape, type or value is not as above; names the array and the first bad row.
        """
        if locate is None:
            locate = partial(_format_row, first_row)
        rewards = _check_finite("reward", _to_floats("reward", reward, (1,)), locate)
        n = len(rewards)
        propensities = _to_floats("propensity", propensity, (1,))
        targets = _to_floats("target", target, (1, 2))
        _check_same_length(n, propensity=propensities, target=targets)
        _reject_rows(~((propensities > 0) & (propensities <= 1 + _ROUNDING)), "propensity", "is not in (0, 1]", locate)

        actions = None
        logged = wanted = np.zeros(0)
        if targets.ndim == 1:
            _reject_rows(~((targets >= 0) & (targets <= 1 + _ROUNDING)), "target", "is not in [0, 1]", locate)
            chosen = targets
        else:
            actions = _to_actions(action, n, targets.shape[1], locate)
            _check_distributions(targets, locate)
            chosen = targets[np.arange(n), actions]
            logged = np.bincount(actions, minlength=targets.shape[1]).astype(np.float64)
            wanted = np.ones(n) @ targets

        with np.errstate(over="ignore"):
            weight = chosen / propensities
        _reject_rows(weight > MAX_VALUE, "propensity", f"makes a weight over {MAX_VALUE:g}", locate)

        model_logged = model_target = None
        if q_hat is not None:
            if actions is None:
                raise EvaluationError("q_hat needs a target of shape (n, k), not (n,)")
            model = _check_finite("q_hat", _to_floats("q_hat", q_hat, (2,)), locate)
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
            logged_counts=logged,
            target_counts=wanted,
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
            EvaluationError: as ``of``; also if there are no rows.
        """
        columns = {"reward": _to_array("reward", reward), "propensity": _to_array("propensity", propensity)}
        columns["target"] = _to_array("target", target)
        if action is not None:
            columns["action"] = _to_array("action", action)
        if q_hat is not None:
            columns["q_hat"] = _to_array("q_hat", q_hat)
        for name, column in columns.items():
            if column.ndim == 0:
                raise EvaluationError(f"{name} is one number, not an array")
        n = len(columns["reward"])
        if n == 0:
            raise EvaluationError("there are no rows to evaluate")
        _check_same_length(n, **columns)

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


def _to_array(name: str, values: ArrayLike) -> NDArray[Any]:
    if np.ma.is_masked(values):  # numpy would read what lies under the mask
        raise EvaluationError(f"{name} has masked values; leave such rows out")
    try:
        return np.asarray(values)
    except ValueError as error:  # numpy's word for rows of unequal length
        raise EvaluationError(f"{name} is not an array: its rows have different lengths") from error


def _to_floats(name: str, values: ArrayLike, dimensions: tuple[int, ...]) -> FloatArray:
    array = _to_array(name, values)
    if array.ndim == _SLOTTED and array.shape[2] == 1 and max(dimensions) == _SLOTTED - 1:
        array = array[:, :, 0]
    if array.ndim not in dimensions:
        allowed = " or ".join("(n,)" if wanted == 1 else "(n, k)" for wanted in dimensions)
        raise EvaluationError(f"{name} has shape {array.shape}, not {allowed}")
    if array.dtype.kind not in "biuf":
        raise EvaluationError(f"{name} must be real numbers, not {array.dtype}")
    return array.astype(np.float64, copy=False)


def _to_actions(action: ArrayLike | None, n: int, k: int, locate: RowLocator) -> NDArray[np.intp]:
    if action is None:
        raise EvaluationError("action is missing: a target of shape (n, k) needs it")
    array = _to_array("action", action)
    if array.ndim != 1:
        raise EvaluationError(f"action has shape {array.shape}, not (n,)")
    if array.dtype.kind not in "iu":
        raise EvaluationError(f"action must be integers, not {array.dtype}")
    _check_same_length(n, action=array)
    _reject_rows((array < 0) | (array >= k), "action", f"is not in [0, {k})", locate)
    return array.astype(np.intp, copy=False)


def _check_distributions(target: FloatArray, locate: RowLocator) -> None:
    # A product with ones is several times faster here than sum(axis=1); NaN and infinity fail the comparison too.
    totals = target @ np.ones(target.shape[1])
    _reject_rows(~(np.abs(totals - 1) <= ROW_SUM_TOLERANCE), "target", "does not sum to 1", locate)
    if target.size and target.min() < 0:
        _reject_rows((target < 0).any(axis=1), "target", "has a negative probability", locate)


def _check_finite(name: str, array: FloatArray, locate: RowLocator) -> FloatArray:
    sound = np.abs(array) <= MAX_VALUE
    if not sound.all():
        bad = ~sound if array.ndim == 1 else ~sound.all(axis=1)
        _reject_rows(bad, name, f"is not finite, or beyond ±{MAX_VALUE:g}", locate)
    return array


def _check_same_length(n: int, **columns: NDArray[Any]) -> None:
    for name, column in columns.items():
        if len(column) != n:
            raise EvaluationError(f"{name} has {len(column)} rows, reward {n}")


def _reject_rows(bad: NDArray[np.bool_] | np.bool_, name: str, problem: str, locate: RowLocator) -> None:
    if bad.any():
        message = f"{name} {problem} in {locate(int(bad.argmax()))}"
        raise EvaluationError(message, [FieldError(name, problem)])


def _format_row(first_row: int, index: int) -> str:
    return f"row {first_row + index}"
