"""The v1 policies against oracles that share no code with them: the textbook, exact fractions, and mabwiser."""

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.ridge import Prior, RidgeState, compute_posterior
from tests.bandit.given import CATALOGUE, FloatArray, Values

MABWISER = Path(__file__).parents[2].parent / "shared" / "data" / "ope" / "linucb_oracle.json"


class Textbook:
    """Contract A2 and A3 as written: A = I + Σ x xᵀ, b = Σ r x, θ = A⁻¹ b, inverted anew each time."""

    def __init__(self, *, weekday: bool) -> None:
        self.weekday = weekday
        self.A = np.eye(7 if weekday else 5)
        self.b = np.zeros(7 if weekday else 5)

    def features(self, context: Values, candidate: Values) -> FloatArray:
        hour, age, priority = context["hour_of_day"], candidate["task_age_days"], candidate["priority"]
        assert isinstance(hour, int)
        assert isinstance(age, float)
        assert isinstance(priority, int)
        x = [
            math.sin(2 * math.pi * hour / 24),
            math.cos(2 * math.pi * hour / 24),
            1.0 if candidate["is_overdue"] else 0.0,
            min(max(age, 0.0), 30.0) / 30.0,
            (priority - 1) / 3,
        ]
        if self.weekday:
            day = context["day_of_week"]
            assert isinstance(day, int)
            x += [math.sin(2 * math.pi * day / 7), math.cos(2 * math.pi * day / 7)]
        return np.array(x)

    def score(self, x: FloatArray, alpha: float) -> float:
        inverse = np.linalg.inv(self.A)
        return float(x @ inverse @ self.b + alpha * np.sqrt(x @ inverse @ x))

    def learn(self, x: FloatArray, reward: float) -> None:
        self.A += np.outer(x, x)
        self.b += reward * x


def _world(rng: np.random.Generator, count: int) -> tuple[Values, list[Values]]:
    context: Values = {"hour_of_day": int(rng.integers(24)), "day_of_week": int(rng.integers(7))}
    candidates: list[Values] = [
        {
            "is_overdue": bool(rng.integers(2)),
            "task_age_days": float(rng.uniform(-5.0, 60.0)),
            "priority": int(rng.integers(1, 5)),
        }
        for _ in range(count)
    ]
    return context, candidates


@pytest.mark.parametrize(("name", "weekday", "alpha"), [("linucb-v1", False, 1.0), ("egreedy-v1", True, 0.0)])
def test_v1_scores_equal_the_textbook_to_1e9_over_long_histories(name: str, weekday: bool, alpha: float) -> None:
    policy, textbook, rng = CATALOGUE.get_policy(name), Textbook(weekday=weekday), np.random.default_rng(1)
    state = RidgeState.empty(policy.schema.dimension)
    for _ in range(3_000):
        context, candidates = _world(rng, int(rng.integers(1, 12)))
        x = policy.schema.encode(context, candidates)
        distribution = policy.distribution(compute_posterior(state, policy.prior), x)
        rows = [textbook.features(context, candidate) for candidate in candidates]
        expected = [textbook.score(row, alpha) for row in rows]
        np.testing.assert_allclose(distribution.score, expected, rtol=0, atol=1e-9)
        best = int(np.argmax(distribution.greedy))
        assert max(expected) - expected[best] < 1e-9
        reward = float(rng.uniform(-1.0, 1.0))
        textbook.learn(rows[best], reward)
        state = state.with_reward(x[best], reward)


def _solve_exactly(matrix: Sequence[Sequence[Fraction]], right: Sequence[Fraction]) -> list[Fraction]:
    """Solve by Gauss-Jordan elimination, exactly."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = next(row for row in range(column, size) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for row in range(size):
            if row != column:
                factor = rows[row][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [row[-1] for row in rows]


def test_a_tiny_case_equals_exact_fractions() -> None:
    history = [((1, 0, 1), Fraction(1, 2)), ((0, 2, -1), Fraction(-1)), ((3, 1, 1), Fraction(1, 4))]
    a = [[Fraction(i == j) + sum(x[i] * x[j] for x, _ in history) for j in range(3)] for i in range(3)]
    b = [sum((reward * x[i] for x, reward in history), Fraction(0)) for i in range(3)]
    state = RidgeState.empty(3)
    for x, reward in history:
        state = state.with_reward(np.array(x, np.float64), float(reward))
    belief = compute_posterior(state, Prior.build_standard(3))
    theta = _solve_exactly(a, b)
    np.testing.assert_allclose(belief.mean, [float(value) for value in theta], rtol=0, atol=1e-15)
    for probe in ((1, 0, 0), (2, -1, 5)):
        square = sum(
            value * solved for value, solved in zip(probe, _solve_exactly(a, [Fraction(v) for v in probe]), strict=True)
        )
        [width] = belief.compute_widths(np.array([probe], np.float64))
        assert abs(width - math.sqrt(square)) < 1e-14


@pytest.fixture(scope="module")
def mabwiser() -> dict[str, Any]:
    if not MABWISER.exists():
        pytest.skip(f"the oracle's file is not beside this checkout: {MABWISER.name}")
    document: dict[str, Any] = json.loads(MABWISER.read_text("utf-8"))
    return document


@pytest.mark.parametrize(
    ("case", "alpha", "ridge"),
    [
        ("linucb_alpha0.25_lambda1.0", 0.25, 1.0),
        ("linucb_alpha0.25_lambda0.5", 0.25, 0.5),
        ("linucb_alpha1.0_lambda1.0", 1.0, 1.0),
        ("linucb_alpha1.0_lambda0.5", 1.0, 0.5),
        ("lingreedy_eps0_lambda1", 0.0, 1.0),
    ],
)
def test_disjoint_arms_equal_mabwiser(mabwiser: dict[str, Any], case: str, alpha: float, ridge: float) -> None:
    contexts, tests = np.array(mabwiser["contexts"]), np.array(mabwiser["test_contexts"])
    d = contexts.shape[1]
    prior = Prior(np.zeros(d), np.eye(d) / ridge, 1.0)
    states = {arm: RidgeState.empty(d) for arm in sorted(set(mabwiser["arms"]))}
    for x, arm, reward in zip(contexts, mabwiser["arms"], mabwiser["rewards"], strict=True):
        states[arm] = states[arm].with_reward(x, reward)
    beliefs = [compute_posterior(state, prior) for state in states.values()]
    scores = [tests @ belief.mean + alpha * belief.compute_widths(tests) for belief in beliefs]
    np.testing.assert_allclose(np.transpose(scores), mabwiser["expected"][case], rtol=0, atol=1e-9)
