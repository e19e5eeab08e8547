"""The figures of a report, as Plotly reads them."""

from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008: for every eye
_GREY = "#888888"


def figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw the estimates with their intervals, how they moved, and the importance weights."""
    return {"estimates": estimates(report), "curve": curve(report), "weights": weights(report)}


def estimates(report: Mapping[str, Any]) -> Figure:
    """Draw every estimate of every policy beside what the log earned."""
    traces = []
    for colour, policy in _coloured(report):
        known = [each for each in policy["estimates"] if each["value"] is not None]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": policy["policy"],
                "y": [f"{each['estimator']}, {policy['policy']}" for each in known],
                "x": [each["value"] for each in known],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_reach(each["value"], each["high"]) for each in known],
                    "arrayminus": [_reach(each["low"], each["value"]) for each in known],
                },
                "marker": {"color": colour, "size": 9},
            }
        )
    figure = _figure(traces, "Mean reward a decision", "")
    figure["layout"]["shapes"] = [_upright(report["log"]["mean_reward"])]
    figure["layout"]["yaxis"] |= {"autorange": "reversed", "type": "category"}
    return figure


def curve(report: Mapping[str, Any]) -> Figure:
    """Draw SNIPS over slices of the log with a band of one standard error, and what was logged in them."""
    slices = report["policies"][0]["curve"]
    logged = {"color": _GREY, "dash": "dot", "width": 2}
    traces = [_line("logged", [each["until"] for each in slices], [each["logged"] for each in slices], logged)]
    for colour, policy in _coloured(report):
        known = [each for each in policy["curve"] if each["value"] is not None]
        x = [each["until"] for each in known]
        above = [each["value"] + (each["stderr"] or 0.0) for each in known]
        below = [each["value"] - (each["stderr"] or 0.0) for each in known]
        band = {
            "type": "scatter",
            "x": x + x[::-1],
            "y": above + below[::-1],
            "fill": "toself",
            "fillcolor": f"{colour}33",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": policy["policy"],
        }
        line = _line(policy["policy"], x, [each["value"] for each in known], {"color": colour, "width": 2})
        traces += [band, line | {"legendgroup": policy["policy"]}]
    return _figure(traces, "Decisions that count", "Mean reward a decision (SNIPS)")


def weights(report: Mapping[str, Any]) -> Figure:
    """Draw how the importance weights are spread."""
    traces = []
    for colour, policy in _coloured(report):
        counts = policy["weights"]
        total = sum(counts.values())
        traces.append(
            {
                "type": "bar",
                "name": policy["policy"],
                "x": [lower if lower == "0" else f"≥ {lower}" for lower in counts],
                "y": [count / total for count in counts.values()],
                "marker": {"color": colour},
            }
        )
    figure = _figure(traces, "Importance weight", "Share of decisions")
    figure["layout"]["xaxis"] |= {"type": "category"}
    return figure


def _coloured(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(_COLOURS[index % len(_COLOURS)], policy) for index, policy in enumerate(report["policies"])]


def _reach(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else high - low


def _line(name: str, x: Sequence[int], y: Sequence[float | None], line: Mapping[str, Any]) -> Figure:
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": dict(line)}


def _upright(x: float) -> Figure:
    line = {"color": _GREY, "dash": "dot", "width": 2}
    label = {"text": "logged", "textposition": "end", "font": {"color": _GREY}}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "label": label}


def _figure(traces: Sequence[Figure], x: str, y: str) -> Figure:
    axis = {"gridcolor": f"{_GREY}44", "zerolinecolor": f"{_GREY}88", "automargin": True}
    layout = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": _GREY},
        "margin": {"t": 16, "r": 16},
        "legend": {"orientation": "h", "y": 1.12},
        "showlegend": True,
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
    }
    return {"data": list(traces), "layout": layout}
