"""A run as one HTML file: tables, figures and the script that draws them, so that it opens anywhere, offline too."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bandstand.simulate.figures import figures

_TITLES = {
    "reward": "Expected reward by decision, ± one standard error",
    "regret": "Regret by decision, ± one standard error",
    "actions": "What users did",
    "personas": "Gap closed, by persona",
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


def html_report(result: Mapping[str, Any]) -> str:
    """Write the report of a result, as :func:`bandstand.simulate.result.result` makes it."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # noqa: PLC0415 (no types; slow to import)

    drawn = json.dumps(figures(result)).replace("<", "\\u003c")
    title = f"Simulation {result['run']}" if result["run"] else "Simulation"
    sections = "".join(
        f'<h2>{escape(heading)}</h2><div class="figure" id="{name}"></div>' for name, heading in _TITLES.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1>{_facts(result)}<h2>Policies</h2>{_policies(result)}{sections}{_hearing(result)}<h2>Judges</h2>{_judges(result)}"
        f'<script type="application/json" id="figures">{drawn}</script>'
        f"<script>{get_plotlyjs()}</script><script>{_DRAW}</script></body></html>\n"
    )


def plus_minus(value: float | None, stderr: float | None, form: str) -> str:
    """Write a value with its standard error; a dash where there is none."""
    if value is None:
        return "–"
    return format(value, form) if stderr is None else f"{format(value, form)} ± {format(stderr, form)}"


def _facts(result: Mapping[str, Any]) -> str:
    plan = result["plan"]
    world = plan["world"] if isinstance(plan["world"], str) else f"{len(plan['world'])} personas of its own"
    facts = {
        "State": result["state"],
        "World": f"{world}: {plan['personas']} users, {plan['days']} days of {plan['decisions_per_day']} decisions "
        f"among {plan['candidates']} candidates",
        "Seeds": f"{plan['seeds']}, from {plan['first_seed']}",
        "Judge": plan["judge"]["kind"],
        "Decisions": f"{result['decisions']:,}",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(str(fact))}</dd>" for name, fact in facts.items()) + "</dl>"


def _policies(result: Mapping[str, Any]) -> str:
    acts = next(iter(result["policies"].values()))["actions"]
    rows = [
        [
            name,
            plus_minus(each["mean_reward"], each["stderr"], ".4f"),
            plus_minus(each["expected_reward"], each["expected_stderr"], ".4f"),
            plus_minus(each["gap_closed"], each["gap_stderr"], ".1%"),
            plus_minus(each["regret"], each["regret_stderr"], ".4f"),
            *(f"{share:.1%}" for share in each["actions"].values()),
        ]
        for name, each in result["policies"].items()
    ]
    rows += [
        [name, "", plus_minus(each["mean_reward"], each["stderr"], ".4f"), *[""] * (len(acts) + 2)]
        for name, each in result["baselines"].items()
    ]
    measures = ["Policy", "Mean reward", "Expected reward", "Gap closed", "Regret a decision"]
    return _table([*measures, *(act.replace("_", " ").capitalize() for act in acts)], rows)


def _hearing(result: Mapping[str, Any]) -> str:
    """How the judge heard what users said, where they talk."""
    if "hearing" not in result:
        return ""
    rows = [
        [
            name,
            plus_minus(heard["coverage"], None, ".1%"),
            plus_minus(heard["polarity"]["macro_f1"], None, ".3f"),
            plus_minus(heard["polarity"]["negative_precision"], None, ".3f"),
            plus_minus(heard["polarity"]["negative_recall"], None, ".3f"),
            plus_minus(heard["gated"]["sign_flips"], None, ".2%"),
            plus_minus(heard["regret_cost"]["mean"], heard["regret_cost"]["stderr"], ".4f"),
        ]
        for name, heard in result["hearing"].items()
    ]
    heads = [
        "Policy",
        "Taught",
        "Macro-F1",
        "Negative precision",
        "Negative recall",
        "Sign flips taught",
        "Regret cost",
    ]
    confusions = "".join(
        f"<h3>{escape(name)}: what was meant (rows) and heard</h3>{_confusion(heard['labels']['confusion'])}"
        for name, heard in result["hearing"].items()
    )
    return f"<h2>What the judge heard</h2>{_table(heads, rows)}{confusions}"


def _confusion(counts: Mapping[str, Mapping[str, int]]) -> str:
    return _table(["", *counts], [[true, *(f"{n:,}" for n in row.values())] for true, row in counts.items()])


def _judges(result: Mapping[str, Any]) -> str:
    rows = [
        [name, each["judge"], each["fallback"] or "", f"{each['decisions']:,}"]
        for name, policy in result["policies"].items()
        for each in policy["judges"]
    ]
    return _table(["Policy", "Decided by", "Because", "Decisions"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
