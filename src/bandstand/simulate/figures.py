"""A run's figures as Plotly reads them: plain JSON, made of a summary."""

from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008: for every eye
_GREY = "#888888"
_ACTIONS = {"done": "#009e73", "snooze": "#e69f00", "dismiss": _GREY}


def figures(summary: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw everything that a summary holds: the reward and regret curves, the actions, the personas."""
    return {
        "reward": reward_curve(summary),
        "regret": regret_curve(summary),
        "actions": action_shares(summary),
        "personas": persona_gaps(summary),
    }


def reward_curve(summary: Mapping[str, Any]) -> Figure:
    """Draw the expected reward by decision with a band of one standard error, between random and the oracle."""
    traces = [
        _line(name, curve["decision"], curve["mean_reward"], {"color": _GREY, "dash": "dot", "width": 1})
        for name, curve in ((name, bound["by_decision"]) for name, bound in summary["baselines"].items())
    ]
    for colour, (name, curve) in _curves(summary):
        traces += _band(name, curve["decision"], curve["expected_reward"], curve["expected_stderr"], colour)
    return _figure(traces, "Decision of a user", "Expected reward")


def regret_curve(summary: Mapping[str, Any]) -> Figure:
    """Draw the regret of each decision with a band of one standard error."""
    traces = []
    for colour, (name, curve) in _curves(summary):
        traces += _band(name, curve["decision"], curve["regret"], curve["regret_stderr"], colour)
    return _figure(traces, "Decision of a user", "Regret a decision")


def action_shares(summary: Mapping[str, Any]) -> Figure:
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
            "marker": {"color": _ACTIONS.get(action, _COLOURS[place % len(_COLOURS)])},
        }
        for place, action in enumerate(acts)
    ]
    figure = _figure(traces, "Share of decisions", "")
    figure["layout"] |= {"barmode": "stack"}
    figure["layout"]["yaxis"] |= {"autorange": "reversed"}
    return figure


def persona_gaps(summary: Mapping[str, Any]) -> Figure:
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
    return _figure([heat], "", "")


def _curves(summary: Mapping[str, Any]) -> list[tuple[str, tuple[str, Mapping[str, Any]]]]:
    policies = [(name, policy["by_decision"]) for name, policy in summary["policies"].items()]
    return [(_COLOURS[index % len(_COLOURS)], each) for index, each in enumerate(policies)]


def _band(
    name: str, x: Sequence[int], mean: Sequence[float | None], stderr: Sequence[float | None], colour: str
) -> list[Figure]:
    known = [(at, m, s) for at, m, s in zip(x, mean, stderr, strict=True) if m is not None and s is not None]
    around = [at for at, _, _ in known] + [at for at, _, _ in reversed(known)]
    edges = [m + s for _, m, s in known] + [m - s for _, m, s in reversed(known)]
    band = {
        "type": "scatter",
        "x": around,
        "y": edges,
        "fill": "toself",
        "fillcolor": f"{colour}33",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
    }
    return [band, _line(name, x, mean, {"color": colour, "width": 2}) | {"legendgroup": name}]


def _line(name: str, x: Sequence[int], y: Sequence[float | None], line: Mapping[str, Any]) -> Figure:
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": dict(line)}


def _figure(traces: Sequence[Figure], x: str, y: str) -> Figure:
    axis = {"gridcolor": f"{_GREY}44", "zerolinecolor": f"{_GREY}88", "automargin": True}
    layout = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": _GREY},
        "margin": {"t": 16, "r": 16},
        "legend": {"orientation": "h", "y": 1.12},
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
    }
    return {"data": list(traces), "layout": layout}
