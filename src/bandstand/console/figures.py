"""The console's own figures as Plotly reads them; the script that draws them puts in the colours of the page."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bandstand.console.changes import DayMark
from bandstand.reporting.figure import build_banded_line
from bandstand.service.gain import GainDayReport
from bandstand.service.readout import ReadoutPoint
from bandstand.simulate.figures import build_reward_curve
from bandstand.times import to_datetime

Figure = dict[str, Any]

COLOURS = ("#2f7fc1", "#d9700f", "#1f9d74", "#c46a9d", "#b58900", "#6a6fd1", "#8a8f94")
_HOUR = 3600
_MAX_LABELS = 6
_LABEL_ROWS = 3
_MAX_WORDS = 8


def build_gain_figure(days: Sequence[GainDayReport], marks: Mapping[str, Sequence[DayMark]]) -> Figure:
    """Draw the sum of all that was gained over random and over the caller's first, each in its band, and zero.

    Args:
        days: the oldest first.
        marks: what changed, by day, the oldest first.
    """
    x = [each.until for each in days]
    traces: list[Figure] = []
    for target, name, colour, dash in (
        ("random", "over random", COLOURS[0], "solid"),
        ("first", "over the caller's first", COLOURS[1], "dash"),
    ):
        values = [each.cumulative[target] for each in days]
        halves = [None if each.high is None else each.high - each.value for each in values]
        style = {"color": colour, "width": 2, "dash": dash}
        traces += build_banded_line(name, x, [each.value for each in values], halves, style)
        traces[-1] |= {"mode": "lines+markers", "marker": {"size": 5, "color": colour}, "hovertemplate": "%{y:.1f}"}
        traces[-1] |= _build_single_band(halves)
    figure = make_figure(traces)
    layout = figure["layout"]
    layout["yaxis"] |= {"title": {"text": "Gained so far"}, "zeroline": True, "zerolinewidth": 2}
    layout["xaxis"] |= _build_day_axis(x)
    shown = {day: on_day for day, on_day in marks.items() if days and day >= x[0]}
    if shown:
        figure["data"].append(_build_mark_trace(shown))
    labelled = {
        day: labels for day, on_day in shown.items() if (labels := [each.label for each in on_day if each.label])
    }
    layout["shapes"] = [
        {"type": "line", "x0": day, "x1": day, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot", "width": 1}}
        for day in labelled
    ]
    newest = list(labelled.items())[-_MAX_LABELS:]  # more would lie over one another: the others say it on hover
    layout["annotations"] = [
        {
            "x": day,
            "y": 1 - 0.09 * (place % _LABEL_ROWS),
            "yref": "paper",
            "text": labels[-1] + (f" +{len(labels) - 1}" if len(labels) > 1 else ""),
            "showarrow": False,
            "xanchor": "right" if day >= x[-1] else "left",
            "yanchor": "top",
        }
        for place, (day, labels) in enumerate(newest)
    ]
    return figure


def _build_single_band(halves: Sequence[float | None]) -> Figure:
    """Of one point alone the band is a bar: an area would have no width."""
    return {"error_y": {"type": "data", "array": halves}} if len(halves) == 1 and halves[0] is not None else {}


def _build_day_axis(days: Sequence[str]) -> Figure:
    """An axis of days; around one day alone a day on either side, or it would be cut into milliseconds."""
    axis: Figure = {"type": "date"}
    if len(set(days)) == 1:
        day = datetime.fromisoformat(days[0])
        around = [f"{day + timedelta(days=each):%Y-%m-%d}" for each in (-1, 1)]
        axis |= {"range": around, "tickformat": "%b %-d", "dtick": 86_400_000}
    return axis


def _build_mark_trace(marks: Mapping[str, Sequence[DayMark]]) -> Figure:
    """What changed on each marked day, to read under the pointer: a row of small signs on the line of zero."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "what changed",
        "x": list(marks),
        "y": [0.0] * len(marks),
        "text": ["<br>".join(each.words for each in on_day[:_MAX_WORDS]) for on_day in marks.values()],
        "hovertemplate": "%{text}<extra>%{x}</extra>",
        "marker": {"symbol": "diamond", "size": 8, "color": COLOURS[6]},
    }


def build_difference_figure(days: Sequence[ReadoutPoint]) -> Figure:
    """Draw the difference of each arm to the control in its band, which narrows, and zero.

    Args:
        days: the oldest first.
    """
    arms = dict.fromkeys(arm for each in days for arm in each.differences)
    traces: list[Figure] = []
    for index, arm in enumerate(arms):
        known = [(each.day, each.differences[arm]) for each in days if arm in each.differences]
        colour = COLOURS[index % len(COLOURS)]
        halves = [None if each.high is None else each.high - each.value for _, each in known]
        values = [each.value for _, each in known]
        traces += build_banded_line(arm, [day for day, _ in known], values, halves, {"color": colour, "width": 2})
        traces[-1] |= {"mode": "lines+markers", "marker": {"size": 5, "color": colour}, "hovertemplate": "%{y:.3f}"}
        traces[-1] |= _build_single_band(halves)
    figure = make_figure(traces)
    figure["layout"]["yaxis"] |= {"title": {"text": "Difference a decision"}, "zeroline": True, "zerolinewidth": 2}
    figure["layout"]["xaxis"] |= _build_day_axis([each.day for each in days])
    return figure


def build_running_mean(rewards: Sequence[tuple[float, float]]) -> Figure:
    """Draw a user's rewards, and their mean so far.

    Args:
        rewards: time and value, oldest first.
    """
    numbers = list(range(1, len(rewards) + 1))
    means, total = [], 0.0
    for number, (_, value) in zip(numbers, rewards, strict=True):
        total += value
        means.append(total / number)
    given = {
        "type": "scatter",
        "mode": "markers",
        "name": "reward",
        "x": numbers,
        "y": [value for _, value in rewards],
        "text": [_format_time(ts) for ts, _ in rewards],
        "hovertemplate": "%{y:.2f} at %{text}<extra></extra>",
        "marker": {"color": COLOURS[6], "size": 5, "opacity": 0.6},
    }
    mean = {
        "type": "scatter",
        "mode": "lines",
        "name": "mean so far",
        "x": numbers,
        "y": means,
        "hovertemplate": "%{y:.3f}<extra></extra>",
        "line": {"color": COLOURS[0], "width": 2},
    }
    return make_figure([given, mean], x="The newest rewards, oldest first")


def build_comparison(summaries: Mapping[int, Mapping[str, Any]], per_day: int = 1) -> Figure:
    """Draw the reward curves of several runs into one figure.

    Args:
        summaries: by the number of the run.
        per_day: decisions over which the curves are averaged.
    """
    return build_reward_curve(
        {
            kind: {
                f"{name} (run {run})": each
                for run, summary in summaries.items()
                for name, each in summary[kind].items()
            }
            for kind in ("policies", "baselines")
        },
        per_day,
    )


def make_figure(traces: list[Figure], x: str = "") -> Figure:
    """Put traces on axes, the lower one with this title."""
    layout: Figure = {
        "hovermode": "closest",
        "xaxis": {"automargin": True, **({"title": {"text": x}} if x else {})},
        "yaxis": {"automargin": True},
        "showlegend": True,
    }
    return {"data": traces, "layout": layout}


def format_hour(hour: int) -> str:
    """When an hour since the epoch begins, as Plotly reads it."""
    return _format_time(hour * _HOUR)


def _format_time(ts: float) -> str:
    return to_datetime(ts).strftime("%Y-%m-%d %H:%M")
