"""A report as one HTML file: tables, figures and the script that draws them, so that it opens anywhere, offline too."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bandstand.evaluate.figures import figures

HEADS = ("Estimator", "Value", "Std. error", "Interval", "Lift", "Effective rows")

_TITLES = {
    "estimates": "Estimates",
    "curve": "As the log went on (± one standard error)",
    "weights": "Importance weights",
}
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


def page(report: Mapping[str, Any]) -> str:
    """Write a report, as :func:`bandstand.evaluate.report.report` makes it."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415 (no types; slow to import)

    drawn = json.dumps(figures(report)).replace("<", "\\u003c")
    policies = "".join(_policy(each) for each in report["policies"])
    sections = "".join(
        f'<h2>{escape(heading)}</h2><div class="figure" id="{name}"></div>' for name, heading in _TITLES.items()
    )
    title = "Off-policy evaluation"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1>{_facts(facts(report))}{policies}{sections}"
        f'<script type="application/json" id="figures">{drawn}</script>'
        f"<script>{get_plotlyjs()}</script><script>{_DRAW}</script></body></html>\n"
    )


def facts(report: Mapping[str, Any]) -> dict[str, str]:
    """Say in words what the log holds and what was asked of it."""
    log = report["log"]
    told = {
        "log": report["source"],
        "decisions": f"{log['decisions']:,}",
        "rewarded": f"{log['rewarded']:,} ({log['coverage']:.1%})",
    }
    if "users" in log:
        told["users"] = f"{log['users']:,}"
    if log.get("first"):
        told["from"], told["to"] = log["first"], log["last"]
    told["logged mean reward"] = plus_minus(log["mean_reward"], log["stderr"])
    for name, logger in log.get("policies", {}).items():
        told[f"decided by {name}"] = f"{logger['decisions']:,}, mean reward {_shown(logger['mean_reward'])}"
    missing = report["missing_reward"]
    if missing is not None:
        told["without a reward"] = f"counted as {missing:g}"
    elif log["rewarded"] < log["decisions"]:
        told["without a reward"] = "left out: the estimates are over the rewarded decisions"
    told["interval"] = f"{report['interval']}, {report['level']:.0%}"
    return told


def heading(policy: Mapping[str, Any]) -> str:
    """Say which policy, in what state."""
    taught = policy["rewards"]
    return f"{policy['policy']}, {policy['how']}" + ("" if taught is None else f" (taught by {taught:,} rewards)")


def rows(policy: Mapping[str, Any]) -> list[list[str]]:
    """Return a policy's estimates as the cells under ``HEADS``."""
    return [
        [
            each["estimator"],
            _shown(each["value"]),
            _shown(each["stderr"]),
            "–" if each["low"] is None or each["high"] is None else f"{each['low']:.4f} to {each['high']:.4f}",
            "–" if each["lift"] is None else f"{each['lift']:+.4f}",
            f"{each['ess']:,.0f} ({each['ess'] / each['n']:.0%})",
        ]
        for each in policy["estimates"]
    ]


def doubts(policy: Mapping[str, Any]) -> list[str]:
    """Return the reasons to doubt a policy's estimates, each as a sentence."""
    return [
        (f"{', '.join(each['estimators'])}: " if each["estimators"] else "") + each["doubt"]
        for each in policy["doubts"]
    ]


def plus_minus(value: float | None, stderr: float | None) -> str:
    """Write a value with its standard error; a dash where there is none."""
    return _shown(value) if stderr is None else f"{_shown(value)} ± {_shown(stderr)}"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _facts(told: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in told.items()) + "</dl>"


def _policy(policy: Mapping[str, Any]) -> str:
    listed = "".join(f"<li>{escape(each)}</li>" for each in doubts(policy))
    return f"<h2>{escape(heading(policy))}</h2>{_table(HEADS, rows(policy))}" + (f"<ul>{listed}</ul>" if listed else "")


def _table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
