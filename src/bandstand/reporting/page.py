"""A page that needs nothing but itself: what is written in it, its figures, and Plotly's script to draw them."""

import json
from collections.abc import Mapping, Sequence
from html import escape

from bandstand.reporting.figure import Figure

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.figure { width: 100%; height: 26rem; } dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
"""
_DRAW = """
for (const [name, figure] of Object.entries(JSON.parse(document.getElementById("figures").textContent)))
  Plotly.newPlot(name, figure.data, figure.layout, {responsive: true, displaylogo: false});
"""


def render_html_page(title: str, body: str, figures: Mapping[str, Figure]) -> str:
    """Write the page.

    Args:
        title: what it is about; also its first heading.
        body: HTML, with a `place` for each figure.
        figures: by the names of their places.
    """
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415 (no types; slow to import)

    drawn = json.dumps(figures).replace("<", "\\u003c")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1>{body}"
        f'<script type="application/json" id="figures">{drawn}</script>'
        f"<script>{get_plotlyjs()}</script><script>{_DRAW}</script></body></html>\n"
    )


def render_placeholders(headings: Mapping[str, str]) -> str:
    """Make room for figures, each under its heading.

    Args:
        headings: by the names of the figures.
    """
    return "".join(
        f'<h2>{escape(heading)}</h2><div class="figure" id="{name}"></div>' for name, heading in headings.items()
    )


def render_definition_list(entries: Mapping[str, str]) -> str:
    """List facts by name."""
    return (
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in entries.items()) + "</dl>"
    )


def render_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table; the first cell of a row says what the row is."""
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def format_plus_minus(value: float | None, stderr: float | None = None, form: str = ".4f") -> str:
    """Write a value with its standard error; a dash if there is none."""
    if value is None:
        return "–"
    return format(value, form) if stderr is None else f"{format(value, form)} ± {format(stderr, form)}"
