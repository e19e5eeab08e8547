"""Contract A2 and A3 as a textbook writes them: an oracle that shares no code with what it judges."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Textbook:
    """One user's ridge model: A = I + Σ x xᵀ, b = Σ r x, θ = A⁻¹ b, inverted anew each time.

    Args:
        weekday: seven features (``egreedy-v1``) instead of five (``linucb-v1``).
        alpha: width of the bound; 0 for none.
    """

    def __init__(self, *, weekday: bool, alpha: float) -> None:
        size = 7 if weekday else 5
        self._weekday = weekday
        self._alpha = alpha
        self._A = np.eye(size)
        self._b = np.zeros(size)

    @property
    def compute_theta(self) -> Vector:
        return np.asarray(np.linalg.solve(self._A, self._b), dtype=np.float64)

    def features(self, hour: int, day: int, candidate: Mapping[str, Any]) -> Vector:
        age = candidate.get("task_age_days", 0.0)
        x = [
            math.sin(2 * math.pi * hour / 24),
            math.cos(2 * math.pi * hour / 24),
            1.0 if candidate.get("is_overdue", False) else 0.0,
            min(max(age, 0.0), 30.0) / 30.0,
            (candidate.get("priority", 1) - 1) / 3,
        ]
        if self._weekday:
            x += [math.sin(2 * math.pi * day / 7), math.cos(2 * math.pi * day / 7)]
        return np.array(x)

    def score(self, x: Vector) -> float:
        return float(x @ self.compute_theta + self._alpha * math.sqrt(x @ np.linalg.solve(self._A, x)))

    def learn(self, x: Vector, reward: float) -> None:
        self._A += np.outer(x, x)
        self._b += reward * x
