"""A page holds all that it needs, and what is written in it stays writing."""

import json
import re

import pytest

from bandstand.reporting.figure import build_figure, build_line
from bandstand.reporting.page import (
    format_plus_minus,
    render_definition_list,
    render_html_page,
    render_placeholders,
    render_table,
)

HOSTILE = "</script><script>alert(1)</script>"


def test_nothing_that_is_written_becomes_markup() -> None:
    figures = {"one": build_figure([build_line(HOSTILE, [1], [0.5], {})], HOSTILE, "")}
    body = (
        render_definition_list({HOSTILE: HOSTILE})
        + render_table([HOSTILE], [[HOSTILE]])
        + render_placeholders({"one": HOSTILE})
    )
    page = render_html_page(HOSTILE, body, figures)
    assert HOSTILE not in page
    assert page.count("&lt;/script&gt;&lt;script&gt;alert(1)") == 7
    block = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    assert json.loads(block[1]) == figures


def test_a_page_has_a_place_for_each_figure_and_the_script_that_draws_it() -> None:
    page = render_html_page("Two", render_placeholders({"one": "First", "other": "Second"}), {})
    assert re.findall(r'<h2>(\w+)</h2><div class="figure" id="(\w+)">', page) == [("First", "one"), ("Second", "other")]
    assert len(page) > 1_000_000, "Plotly itself is in it"


@pytest.mark.parametrize(
    ("value", "error", "text"), [(None, None, "–"), (0.5, None, "50.0%"), (-0.123, 0.011, "-12.3% ± 1.1%")]
)
def test_a_value_is_written_with_its_error(value: float | None, error: float | None, text: str) -> None:
    assert format_plus_minus(value, error, ".1%") == text
