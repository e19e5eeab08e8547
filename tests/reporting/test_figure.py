"""A band goes as far as means and their errors are known."""

import json

import plotly.graph_objects as go  # type: ignore[import-untyped]  # it ships no types

from bandstand.reporting.figure import build_banded_line, build_figure, build_line

STYLE = {"color": "#0072b2", "width": 2}


def test_a_band_goes_around_what_is_known_and_the_line_has_gaps_elsewhere() -> None:
    band, mean = build_banded_line("policy", [1, 2, 3, 4], [0.5, None, 0.25, 1.0], [0.25, None, 0.5, None], STYLE)
    assert list(zip(band["x"], band["y"], strict=True)) == [(1, 0.75), (3, 0.75), (3, -0.25), (1, 0.25)]
    assert mean["y"] == [0.5, None, 0.25, 1.0]
    assert band["legendgroup"] == mean["legendgroup"] == "policy"
    assert band["fillcolor"] == "#0072b233", "the line's colour, thinned"


def test_plotly_takes_it_and_so_does_json() -> None:
    drawn = build_figure(
        [*build_banded_line("a", [1], [None], [None], STYLE), build_line("b", [1], [0.5], STYLE)], "across", "up"
    )
    go.Figure(drawn)
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    assert (drawn["layout"]["xaxis"]["title"]["text"], drawn["layout"]["yaxis"]["title"]["text"]) == ("across", "up")
