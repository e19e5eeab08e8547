"""A run as one HTML file: tables, figures and the script that draws them, so that it opens anywhere, offline too."""

from calendar import day_name
from collections.abc import Mapping
from html import escape
from typing import Any

from bandstand.reporting.page import (
    format_plus_minus,
    render_definition_list,
    render_html_page,
    render_placeholders,
    render_table,
)
from bandstand.simulate.figures import build_figures

_TITLES = {
    "reward": "Expected reward by decision, averaged over a day, ± one standard error",
    "regret": "Regret by decision, averaged over a day, ± one standard error",
    "actions": "What users did",
    "personas": "Gap closed, by persona",
}


def render_report(result: Mapping[str, Any]) -> str:
    """Write the report of a result, as :func:`bandstand.simulate.run.result.build_result` makes it."""
    title = f"Simulation {result['run']}" if result["run"] else "Simulation"
    body = (
        f"{_render_details(result)}<h2>Policies</h2>{_render_policies(result)}{render_placeholders(_TITLES)}{_render_agreement(result)}"
        f"<h2>Judges</h2>{_render_judges(result)}"
    )
    return render_html_page(title, body, build_figures(result, result["plan"]["decisions_per_day"]))


def describe_world(plan: Mapping[str, Any]) -> str:
    """Say whom policies meet, and what is not as usual there."""
    text = (
        f"{describe_personas(plan)}: {plan['personas']:,} users, {plan['days']:,} days of "
        f"{plan['decisions_per_day']:,} decisions among {plan['candidates']:,} candidates"
    )
    if plan["day_of_week"] is not None:
        text += f", every day a {day_name[plan['day_of_week']]}"
    if plan["reflex_rate"]:
        text += f", {plan['reflex_rate']:.0%} of what is done by reflex"
    return text


def describe_personas(plan: Mapping[str, Any]) -> str:
    """Name a plan's persona set."""
    return plan["world"] if isinstance(plan["world"], str) else f"{len(plan['world'])} personas of its own"


def describe_judge(plan: Mapping[str, Any]) -> str:
    """Say who decides what users do, or reads what they say."""
    chat = plan["chat"]
    if chat is None:
        return f"judge {plan['judge']['kind']}"
    threshold = f", τ = {chat['tau']:g}" if chat["gate"] == "hard" else ""
    return f"{chat['tier']} reads what they say, {chat['gate']} gate{threshold}"


def _render_details(result: Mapping[str, Any]) -> str:
    plan = result["plan"]
    details = {
        "State": result["state"],
        "World": describe_world(plan),
        "Seeds": f"{plan['seeds']}, from {plan['first_seed']}",
        "Reactions": describe_judge(plan),
        "Decisions": f"{result['decisions']:,}",
    }
    return render_definition_list(details)


def _render_policies(result: Mapping[str, Any]) -> str:
    acts = next(iter(result["policies"].values()))["actions"]
    rows = [
        [
            name,
            format_plus_minus(each["mean_reward"], each["stderr"], ".4f"),
            format_plus_minus(each["expected_reward"], each["expected_stderr"], ".4f"),
            format_plus_minus(each["gap_closed"], each["gap_stderr"], ".1%"),
            format_plus_minus(each["regret"], each["regret_stderr"], ".4f"),
            *(f"{share:.1%}" for share in each["actions"].values()),
        ]
        for name, each in result["policies"].items()
    ]
    rows += [
        [name, "", format_plus_minus(each["mean_reward"], each["stderr"], ".4f"), *[""] * (len(acts) + 2)]
        for name, each in result["baselines"].items()
    ]
    measures = ["Policy", "Mean reward", "Expected reward", "Gap closed", "Regret a decision"]
    return render_table([*measures, *(act.replace("_", " ").capitalize() for act in acts)], rows)


def _render_agreement(result: Mapping[str, Any]) -> str:
    """How the judge read what users said, if they talk."""
    if "hearing" not in result:
        return ""
    rows = [
        [
            name,
            format_plus_minus(heard["coverage"], None, ".1%"),
            format_plus_minus(heard["polarity"]["macro_f1"], None, ".3f"),
            format_plus_minus(heard["polarity"]["negative_precision"], None, ".3f"),
            format_plus_minus(heard["polarity"]["negative_recall"], None, ".3f"),
            format_plus_minus(heard["gated"]["sign_flips"], None, ".2%"),
            format_plus_minus(heard["regret_cost"]["mean"], heard["regret_cost"]["stderr"], ".4f"),
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
        f"<h3>{escape(name)}: what was meant (rows) and heard</h3>{_render_confusion(heard['labels']['confusion'])}"
        for name, heard in result["hearing"].items()
    )
    return f"<h2>What the judge heard</h2>{render_table(heads, rows)}{confusions}"


def _render_confusion(counts: Mapping[str, Mapping[str, int]]) -> str:
    return render_table(["", *counts], [[true, *(f"{n:,}" for n in row.values())] for true, row in counts.items()])


def _render_judges(result: Mapping[str, Any]) -> str:
    rows = [
        [name, each["judge"], each["fallback"] or "", f"{each['decisions']:,}"]
        for name, policy in result["policies"].items()
        for each in policy["judges"]
    ]
    return render_table(["Policy", "Decided by", "Because", "Decisions"], rows)
