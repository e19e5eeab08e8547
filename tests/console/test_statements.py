"""The titles of figures: a statement, whatever is known."""

from typing import Any

import pytest

from bandstand.console.statements import describe_comparison, describe_evaluation, describe_simulation


def play(gap: float | None, regret: float | None = 0.1, **actions: float) -> dict[str, Any]:
    return {"gap_closed": gap, "regret": regret, "actions": actions, "expected_reward": gap}


@pytest.mark.parametrize(
    ("policies", "titles"),
    [
        (
            {"a": play(0.25, 0.125, done=0.25, snooze=0.75), "b": play(0.5, 0.0625, done=0.5, snooze=0.5)},
            (
                "b closes 50\u202f% of the way from a random to the best possible pick",
                "b earns 0.062 a decision less than the best possible pick, a 0.125",
                "50\u202f% of the picks of b were done, the most of all",
            ),
        ),
        (
            {"a": play(-0.25, 0.5, neutral=0.75, pos_praise=0.25)},
            (
                "No policy earns more than a random pick",
                "a earns 0.500 a decision less than the best possible pick",
                "75\u202f% of what users of a said was neutral",
            ),
        ),
        (
            {"a": play(None, None)},
            (
                "Random and the best possible pick earn the same here",
                "No regret is known yet",
                "Nobody has done anything yet",
            ),
        ),
    ],
)
def test_a_simulation(policies: dict[str, Any], titles: tuple[str, ...]) -> None:
    assert tuple(describe_simulation({"policies": policies}).values()) == titles


def test_runs_beside_one_another() -> None:
    runs = {3: {"policies": {"a": play(0.5)}}, 4: {"policies": {"a": play(0.75), "b": play(None)}}}
    assert describe_comparison(runs) == "a of run 4 earns most: 0.750 a decision expected"
    assert describe_comparison({}) == "No run has earned anything yet"


def estimate(low: float | None, high: float | None, ess: float = 50.0, n: int = 100) -> dict[str, Any]:
    return {"low": low, "high": high, "ess": ess, "n": n}


def test_an_evaluation() -> None:
    def describe(*policies: tuple[str, list[dict[str, Any]]]) -> dict[str, str]:
        rows = [
            {"policy": name, "estimates": found, "curve": [{"value": 0.25}, {"value": None}]}
            for name, found in policies
        ]
        return describe_evaluation({"log": {"mean_reward": 0.5}, "policies": rows})

    both = describe(("a", [estimate(0.6, 0.8), estimate(0.7, 0.9)]), ("b", [estimate(0.1, 0.4, ess=20.0)]))
    assert both == {
        "estimates": "By all estimates a more and b less than the log's 0.500",
        "curve": "In the last slice of the log a is ahead, at 0.250",
        "weights": "b rests on the fewest rows: they are worth 20\u202f% of the log",
    }
    doubtful = describe(("a", [estimate(0.6, 0.8), estimate(0.4, 0.9)]))
    assert doubtful["estimates"] == "No policy is told apart from the log's 0.500 by all of its estimates"
    unknown = describe_evaluation(
        {
            "log": {"mean_reward": 0.5},
            "policies": [{"policy": "a", "estimates": [estimate(None, None, n=0)], "curve": []}],
        }
    )
    assert unknown["curve"] == "The log is too short to say how the estimates went on"
    assert unknown["weights"] == "No decision carries an estimate"
