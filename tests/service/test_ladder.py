"""The ladder: what the figures of a step say, of the reward and of what rewards bring by name."""

from dataclasses import replace

import pytest

from bandstand.service.ladder import decide_step
from bandstand.store.tables.arms import REWARD, ArmHistory, ArmSums
from bandstand.store.tables.launches import LaunchPlan

PLAN = LaunchPlan(policy="new", control="old", steps=(1.0, 10.0, 50.0, 100.0), min_decisions=500)


def sums(arm: str, mean: float, users: int) -> ArmSums:
    """Users of one decision each, who reward with 1 or -1."""
    total = mean * users
    return ArmSums(1, arm, REWARD, users, users, users, users, total, users, total, float(users))


@pytest.mark.parametrize(
    ("step", "mean", "users", "guardrail", "move"),
    [
        (0, 0.4, 499, None, "hold"),
        (0, 0.4, 500, None, "advance"),
        (0, 0.0, 499, None, "rollback"),
        (0, 0.4, 500, 0.9, "rollback"),
        (1, 0.4, 5_000, None, "hold"),  # before more than a fifth of the users it must be sure
        (1, 0.4, 100_000, None, "advance"),
        (1, 0.5, 5_000, None, "advance"),
        (1, 0.36, 100_000, None, "rollback"),
    ],
)
def test_the_rule(step: int, mean: float, users: int, guardrail: float | None, move: str) -> None:
    plan = PLAN if guardrail is None else replace(PLAN, guardrails={REWARD: guardrail})
    history = ArmHistory({REWARD: {"new": sums("new", mean, users), "old": sums("old", 0.4, 400_000)}})
    assert decide_step(plan, step, history).move == move


@pytest.mark.parametrize(
    ("users", "clicks", "move"),
    [
        (0, 0, "hold"),  # nobody brings it
        (19, 0, "hold"),
        (499, 0, "hold"),  # a rare event: nobody knows as yet
        (500, 0, "rollback"),
        (499, 40, "advance"),
        (499, 120, "advance"),
        (5_000, 100, "rollback"),
    ],
)
def test_the_rule_of_a_metric(users: int, clicks: int, move: str) -> None:
    plan = replace(PLAN, guardrails={"click": 0.1})
    brought = ArmSums(1, "new", "click", users, users, users, users, clicks, users, clicks, clicks)
    history = ArmHistory({REWARD: {"new": sums("new", 0.4, 600), "old": sums("old", 0.4, 400_000)}})
    if users:
        history = ArmHistory({**history.now, "click": {"new": brought}})
    assert decide_step(plan, 0, history).move == move
