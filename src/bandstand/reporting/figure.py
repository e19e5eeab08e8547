"""Figures as Plotly reads them: plain JSON, readable on light and on dark paper."""

from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008: for every eye
GREY = "#888888"


def build_line(
    name: str, x: Sequence[int] | Sequence[str], y: Sequence[float | None], style: Mapping[str, Any]
) -> Figure:
    """Draw a line; it has a gap if there is no value."""
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": dict(style)}


def build_banded_line(
    name: str,
    x: Sequence[int] | Sequence[str],
    mean: Sequence[float | None],
    stderr: Sequence[float | None],
    style: Mapping[str, Any],
) -> list[Figure]:
    """Draw a line of means, on a band of one standard error where both are known.

    Args:
        name: of the line; the band comes and goes with it.
        x: where each mean is.
        mean: None if there is none; so is ``stderr``.
        stderr: of each mean.
        style: of the line; its ``color`` is the band's too.
    """
    points = zip(list[Any](x), mean, stderr, strict=True)
    known = [(at, m, s) for at, m, s in points if m is not None and s is not None]
    around = [at for at, _, _ in known] + [at for at, _, _ in reversed(known)]
    edges = [m + s for _, m, s in known] + [m - s for _, m, s in reversed(known)]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": around,
        "y": edges,
        "fill": "toself",
        "fillcolor": f"{style['color']}33",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
    }
    return [band, build_line(name, x, mean, style) | {"legendgroup": name}]


def average_over(values: Sequence[float | None], window: int) -> list[float | None]:
    """The mean of each value and those before it, ``window`` in all and as far as there are so many; of what is known.

    >>> average_over([1.0, 2.0, None, 4.0], 2)
    [1.0, 1.5, 2.0, 4.0]
    """
    means: list[float | None] = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - window) : end] if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return means


def build_figure(traces: Sequence[Figure], x: str, y: str) -> Figure:
    """Put traces on axes with these titles."""
    axis = {"gridcolor": f"{GREY}44", "zerolinecolor": f"{GREY}88", "automargin": True}
    layout = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GREY},
        "margin": {"t": 16, "r": 16},
        "legend": {"orientation": "h", "y": 1.12},
        "showlegend": True,
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
    }
    return {"data": list(traces), "layout": layout}
