"""A run's figures as Plotly reads them: plain JSON, made of a summary."""

from collections.abc import Mapping
from typing import Any

from bandstand.reporting.figure import COLOURS, GREY, Figure, average_over, build_banded_line, build_figure, build_line

_DASHES = ("solid", "dash", "dot", "dashdot")  # one for each time that the colours start over
_BASELINES = {"random": "dot", "oracle": "dash"}
_ACTIONS = {"done": "#009e73", "snooze": "#e69f00", "dismiss": GREY, "neutral": GREY, "topic_shift": "#bbbbbb"}


def build_figures(summary: Mapping[str, Any], per_day: int = 1) -> dict[str, Figure]:
    """Draw everything that a summary holds: the reward and regret curves, the actions, the personas.

    Args:
        summary: of a run.
        per_day: decisions of a user in a day, over which the curves are averaged: what a user wants goes by the hour.
    """
    return {
        "reward": build_reward_curve(summary, per_day),
        "regret": build_regret_curve(summary, per_day),
        "actions": build_action_shares(summary),
        "personas": build_persona_gaps(summary),
    }


def build_reward_curve(summary: Mapping[str, Any], per_day: int = 1) -> Figure:
    """Draw the expected reward by decision with a band of one standard error, between random and the oracle.

    An average over a day has the mean of its standard errors, which is no less than its own.
    """
    traces = []
    for name, bound in summary["baselines"].items():
        known = bound["by_decision"]
        means = average_over(known["mean_reward"], _find_window(known, per_day))
        traces.append(build_line(name, known["decision"], means, _style_baseline(name)))
    for style, name, known in _get_curves(summary):
        traces += _draw_curve(name, known, "expected_reward", "expected_stderr", style, per_day)
    return build_figure(traces, "Decision of a user", "Expected reward")


def build_regret_curve(summary: Mapping[str, Any], per_day: int = 1) -> Figure:
    """Draw the regret of each decision with a band of one standard error."""
    traces = []
    for style, name, known in _get_curves(summary):
        traces += _draw_curve(name, known, "regret", "regret_stderr", style, per_day)
    return build_figure(traces, "Decision of a user", "Regret a decision")


def build_action_shares(summary: Mapping[str, Any]) -> Figure:
    """Draw what users did, as shares that fill a bar for each policy."""
    names = list(summary["policies"])
    acts = summary["policies"][names[0]]["actions"]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": action,
            "y": names,
            "x": [summary["policies"][name]["actions"][action] for name in names],
            "marker": {"color": _ACTIONS.get(action, COLOURS[place % len(COLOURS)])},
        }
        for place, action in enumerate(acts)
    ]
    figure = build_figure(traces, "Share of decisions", "")
    figure["layout"] |= {"barmode": "stack"}
    figure["layout"]["yaxis"] |= {"autorange": "reversed"}
    return figure


def build_persona_gaps(summary: Mapping[str, Any]) -> Figure:
    """Draw how much of the gap from random to the oracle each policy closes with each persona."""
    policies = list(summary["personas"])
    personas = sorted({persona for kept in summary["personas"].values() for persona in kept})
    gaps = [
        [summary["personas"][policy].get(persona, {}).get("gap_closed") for persona in personas] for policy in policies
    ]
    heat = {
        "type": "heatmap",
        "x": personas,
        "y": policies,
        "z": gaps,
        "zmin": -1,
        "zmid": 0,
        "zmax": 1,
        "colorscale": "RdBu",
        "colorbar": {"tickformat": ".0%"},
        "hovertemplate": "%{y}, %{x}: %{z:.0%}<extra></extra>",
    }
    return build_figure([heat], "", "")


def _draw_curve(
    name: str, known: Mapping[str, Any], mean: str, error: str, style: Figure, per_day: int
) -> list[Figure]:
    window = _find_window(known, per_day)
    return build_banded_line(
        name, known["decision"], average_over(known[mean], window), average_over(known[error], window), style
    )


def _find_window(known: Mapping[str, Any], per_day: int) -> int:
    """How many points of a curve make a day; a long run has several decisions in a point."""
    decisions = known["decision"]
    step = decisions[1] - decisions[0] if len(decisions) > 1 else per_day
    return max(1, round(per_day / max(step, 1)))


def _style_baseline(name: str) -> Figure:
    """Draw random and the oracle with different dashes; with several runs, the name begins with either."""
    return {"color": GREY, "dash": _BASELINES.get(name.partition(" ")[0], "dashdot"), "width": 1.5}


def _get_curves(summary: Mapping[str, Any]) -> list[tuple[Figure, str, Mapping[str, Any]]]:
    """Give each policy a style that no other has, as far as colours and dashes go."""
    curves = []
    for index, (name, policy) in enumerate(summary["policies"].items()):
        times, colour = divmod(index, len(COLOURS))
        style = {"color": COLOURS[colour], "dash": _DASHES[times % len(_DASHES)], "width": 2}
        curves.append((style, name, policy["by_decision"]))
    return curves
