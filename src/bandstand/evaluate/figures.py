"""The figures of a report, as Plotly reads them."""

from collections.abc import Mapping
from typing import Any

from bandstand.reporting.figure import COLOURS, GREY, Figure, build_banded_line, build_figure, build_line


def build_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw the estimates with their intervals, how they moved, and the importance weights."""
    return {
        "estimates": build_estimates_figure(report),
        "curve": build_curve_figure(report),
        "weights": build_weights_figure(report),
    }


def build_estimates_figure(report: Mapping[str, Any]) -> Figure:
    """Draw every estimate of every policy, and what the log earned."""
    traces = []
    for colour, policy in _assign_colours(report):
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
                    "array": [_compute_error_bar(each["value"], each["high"]) for each in known],
                    "arrayminus": [_compute_error_bar(each["low"], each["value"]) for each in known],
                },
                "marker": {"color": colour, "size": 9},
            }
        )
    figure = build_figure(traces, "Mean reward a decision", "")
    figure["layout"]["shapes"] = [_build_vertical_line(report["log"]["mean_reward"])]
    figure["layout"]["yaxis"] |= {"autorange": "reversed", "type": "category"}
    return figure


def build_curve_figure(report: Mapping[str, Any]) -> Figure:
    """Draw SNIPS over slices of the log with a band of one standard error, and what was logged in them."""
    slices = report["policies"][0]["curve"]
    logged = {"color": GREY, "dash": "dot", "width": 2}
    traces = [build_line("logged", [each["until"] for each in slices], [each["logged"] for each in slices], logged)]
    for colour, policy in _assign_colours(report):
        until, value, stderr = ([each[name] for each in policy["curve"]] for name in ("until", "value", "stderr"))
        traces += build_banded_line(policy["policy"], until, value, stderr, {"color": colour, "width": 2})
    return build_figure(traces, "Decisions that count", "Mean reward a decision (SNIPS)")


def build_weights_figure(report: Mapping[str, Any]) -> Figure:
    """Draw how the importance weights are spread."""
    traces = []
    for colour, policy in _assign_colours(report):
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
    figure = build_figure(traces, "Importance weight", "Share of decisions")
    figure["layout"]["xaxis"] |= {"type": "category"}
    return figure


def _assign_colours(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(COLOURS[index % len(COLOURS)], policy) for index, policy in enumerate(report["policies"])]


def _compute_error_bar(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else high - low


def _build_vertical_line(x: float) -> Figure:
    dotted = {"color": GREY, "dash": "dot", "width": 2}
    label = {"text": "logged", "textposition": "end", "font": {"color": GREY}}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": dotted, "label": label}
