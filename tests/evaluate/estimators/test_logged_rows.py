from typing import Any

import numpy as np
import pytest

from bandstand.errors import InvalidRequestError
from bandstand.evaluate import EvaluationError, LoggedRows, dr, ips

GOOD: dict[str, Any] = {
    "reward": [1.0, 0.0, 0.5],
    "action": [0, 1, 1],
    "propensity": [0.5, 1.0, 0.25],
    "target": [[1.0, 0.0], [0.5, 0.5], [0.1, 0.9]],
    "q_hat": [[0.5, 0.0], [0.2, 0.3], [0.0, 0.5]],
}


def test_the_good_log_is_good() -> None:
    assert dr(**GOOD).n == 3


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("reward", [1.0, np.nan, 0.5], r"^reward is not finite, or beyond ±1e\+50 in row 1$"),
        ("reward", [1.0, 0.0, -np.inf], "^reward is not finite.* in row 2$"),
        ("reward", [1.0, 1e51, 0.5], "^reward is not finite.* in row 1$"),
        ("reward", [[1.0], [0.0], [0.5]], r"^reward has shape \(3, 1\), not \(n,\)$"),
        ("reward", ["1", "0", "1"], "^reward must be real numbers"),
        ("reward", [1j, 0, 0], "^reward must be real numbers"),
        ("reward", 1.0, "^reward is one number"),
        ("reward", np.ma.masked_equal([1.0, -99.0, 0.5], -99.0), "^reward has masked values"),
        ("reward", [], "^there are no rows to evaluate$"),
        ("reward", [1.0, 0.0], "^propensity has 3 rows, reward 2$"),
        ("action", [0, 1], "^action has 2 rows, reward 3$"),
        ("action", [0, 2, 1], r"^action is not in \[0, 2\) in row 1$"),
        ("action", [0, 1, -1], r"^action is not in \[0, 2\) in row 2$"),
        ("action", [0.0, 1.0, 1.0], "^action must be integers"),
        ("action", [True, False, True], "^action must be integers"),
        ("action", [[0], [1], [1]], r"^action has shape \(3, 1\), not \(n,\)$"),
        ("action", None, "^action is missing"),
        ("propensity", [0.5, 0.0, 0.25], r"^propensity is not in \(0, 1\] in row 1$"),
        ("propensity", [0.5, 1.0, -0.1], r"^propensity is not in \(0, 1\] in row 2$"),
        ("propensity", [1.001, 1.0, 0.25], r"^propensity is not in \(0, 1\] in row 0$"),
        ("propensity", [0.5, np.nan, 0.25], r"^propensity is not in \(0, 1\] in row 1$"),
        ("propensity", [1e-300, 1.0, 0.25], r"^propensity makes a weight over 1e\+50 in row 0$"),
        ("propensity", [5e-324, 1.0, 0.25], r"^propensity makes a weight over 1e\+50 in row 0$"),
        ("target", [[1.0, 0.0], [0.5, 0.4], [0.1, 0.9]], "^target does not sum to 1 in row 1$"),
        ("target", [[1.0, 0.0], [0.5, 0.5], [1.5, -0.5]], "^target has a negative probability in row 2$"),
        ("target", [[1.0, 0.0], [np.nan, 0.5], [0.1, 0.9]], "^target does not sum to 1 in row 1$"),
        ("target", [[1.0, 0.0], [0.5, 0.5]], "^target has 2 rows, reward 3$"),
        ("target", [[1.0, 0.0], [1.0], [0.1, 0.9]], "^target is not an array"),
        ("target", [[[0.5, 0.5]]] * 3, r"^target has shape \(3, 1, 2\), not \(n,\) or \(n, k\)$"),
        ("target", [0.5, 0.5, 0.5], "^q_hat needs a target of shape"),
        ("q_hat", [[0.5, 0.0], [0.2, np.inf], [0.0, 0.5]], "^q_hat is not finite.* in row 1$"),
        ("q_hat", [[0.5], [0.2], [0.0]], r"^q_hat has shape \(3, 1\), target \(3, 2\)$"),
        ("q_hat", [0.5, 0.2, 0.0], r"^q_hat has shape \(3,\), not \(n, k\)$"),
    ],
)
def test_a_bad_log_is_refused_by_array_and_row(column: str, value: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message) as refusal:
        dr(**{**GOOD, column: value})
    assert isinstance(refusal.value, ValueError)
    assert isinstance(refusal.value, InvalidRequestError)


@pytest.mark.parametrize(("target", "row"), [([0.5, 1.1, 0.5], 1), ([0.5, 0.5, -0.1], 2), ([np.nan, 0.5, 0.5], 0)])
def test_a_probability_of_the_logged_action_is_a_probability(target: list[float], row: int) -> None:
    with pytest.raises(EvaluationError, match=rf"^target is not in \[0, 1\] in row {row}$"):
        ips(GOOD["reward"], None, GOOD["propensity"], target)


def test_rows_are_counted_over_the_whole_log() -> None:
    n = 100_000
    propensity = np.full(n, 0.5)
    propensity[98_765] = 0
    with pytest.raises(EvaluationError, match=r"in row 98765$"):
        ips(np.zeros(n), np.zeros(n, dtype=int), propensity, np.full((n, 2), 0.5))


def test_rounding_is_forgiven() -> None:
    third = np.full((3, 3), 1 / 3, dtype=np.float32)
    assert ips(GOOD["reward"], GOOD["action"], [1 + 1e-12, 1.0, 1.0], third).n == 3


def test_what_is_kept_of_a_row() -> None:
    rows = LoggedRows.of(**GOOD)
    assert len(rows) == 3
    assert rows.weight.tolist() == [2.0, 0.5, 3.6]
    assert rows.matched.tolist() == [1.0, 0.0, 0.0]
    assert rows.model_logged is not None
    assert rows.model_logged.tolist() == [0.5, 0.3, 0.5]
    assert rows.model_target is not None
    assert rows.model_target.tolist() == pytest.approx([0.5, 0.25, 0.45])
    assert rows.logged_counts.tolist() == [1, 2]
    assert rows.target_counts.tolist() == pytest.approx([1.6, 1.4])


def test_split_gives_every_row_once_in_order() -> None:
    reward = np.arange(50_000, dtype=np.float64)
    chunks = list(LoggedRows.split(reward, None, np.ones(50_000), np.ones(50_000)))
    assert len(chunks) > 1
    assert np.array_equal(np.concatenate([chunk.reward for chunk in chunks]), reward)
