"""The figures: what is drawn is what was counted."""

from typing import Any

import pytest

from bandstand.console.activity_figures import build_activity_figures
from bandstand.console.figures import build_comparison, build_running_mean
from bandstand.store.tables.console_queries import PolicyActivity

HOURS = range(480_000, 480_024, 6)


def test_activity_is_drawn_by_policy_over_the_whole_span() -> None:
    activity = [
        PolicyActivity(480_000, "a", 10, 1, 4, 2.0),
        PolicyActivity(480_006, "a", 5, 0, 0, 0.0),
        PolicyActivity(480_006, "b", 3, 0, 2, -1.0),
    ]
    figures = build_activity_figures(activity, ["b", "a", "idle"], HOURS)
    assert [trace["name"] for trace in figures["decisions"]["data"]] == ["b", "a"]
    b, a = figures["decisions"]["data"]
    assert (b["y"], a["y"]) == ([3], [10, 5])
    assert a["x"] == ["2024-10-04 00:00", "2024-10-04 06:00"]
    b, a = (trace for trace in figures["reward"]["data"] if trace.get("mode") == "markers")
    assert (b["y"], a["y"]) == ([-0.5], [0.5]), "where no reward came there is no mean"
    for figure in figures.values():
        assert figure["layout"]["xaxis"]["range"] == ["2024-10-04 00:00", "2024-10-05 00:00"]


def test_a_line_is_the_mean_of_the_day_that_ends_there() -> None:
    activity = [PolicyActivity(480_000 + 6 * at, "a", 9, 0, 1 + at, (1 + at) * float(at)) for at in range(8)]
    drawn = build_activity_figures(activity, ["a"], range(480_024, 480_048, 6), {"a": 2.0})["reward"]["data"]
    band, line, points = drawn
    assert points["y"] == [4.0, 5.0, 6.0, 7.0]
    for at, mean in zip(range(4, 8), line["y"], strict=True):
        day = range(at - 3, at + 1)
        assert mean == pytest.approx(sum((1 + each) * each for each in day) / sum(1 + each for each in day))
    assert band["y"][0] - line["y"][0] == pytest.approx(1.959963984540054 * 2.0 / (2 + 3 + 4 + 5) ** 0.5)
    by_day = build_activity_figures(activity, ["a"], range(480_000, 480_048, 24), {})["reward"]["data"]
    assert [trace.get("mode") for trace in by_day] == ["lines", "lines"], "a point is a day already"


def test_rewards_and_exploration_are_shares_of_the_decisions() -> None:
    activity = [PolicyActivity(480_000, "a", 10, 1, 4, 2.0), PolicyActivity(480_006, "a", 5, 0, 8, 0.0)]
    figures = build_activity_figures(activity, ["a"], HOURS)
    for name, shares, so_far in (("arrivals", [0.4, 1.6], [0.4, 0.8]), ("exploration", [0.1, 0.0], [0.1, 1 / 15])):
        band, line, points = figures[name]["data"]
        assert points["y"] == pytest.approx(shares)
        assert line["y"] == pytest.approx(so_far)
        half = 1.959963984540054 * (so_far[0] * (1 - so_far[0]) / 10) ** 0.5
        assert band["y"][0] - line["y"][0] == pytest.approx(half)


def test_nothing_is_drawn_of_nothing() -> None:
    figures = build_activity_figures([], ["a"], HOURS)
    assert [figure["data"] for figure in figures.values()] == [[]] * 4
    assert [trace["x"] for trace in build_running_mean([])["data"]] == [[], []]


def test_the_running_mean_is_the_mean_so_far() -> None:
    given, mean = build_running_mean([(0.0, 1.0), (60.0, 0.0), (120.0, -1.0)])["data"]
    assert given["y"] == [1.0, 0.0, -1.0]
    assert given["text"][1] == "1970-01-01 00:01"
    assert mean["y"] == pytest.approx([1.0, 0.5, 0.0])


def test_runs_are_compared_curve_by_curve() -> None:
    def build_curve(value: float) -> dict[str, Any]:
        return {"decision": [1, 2], "expected_reward": [value, value], "expected_stderr": [0.1, 0.1]}

    def summary(value: float) -> dict[str, Any]:
        bound = {"by_decision": {"decision": [1, 2], "mean_reward": [value - 1, value - 1]}}
        return {"policies": {"p": {"by_decision": build_curve(value)}}, "baselines": {"random": bound}}

    lines = [trace for trace in build_comparison({3: summary(0.5), 4: summary(0.25)})["data"] if "name" in trace]
    assert {trace["name"]: trace["y"] for trace in lines} == {
        "random (run 3)": [-0.5, -0.5],
        "random (run 4)": [-0.75, -0.75],
        "p (run 3)": [0.5, 0.5],
        "p (run 4)": [0.25, 0.25],
    }
