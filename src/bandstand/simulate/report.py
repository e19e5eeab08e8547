"""A run as one HTML file: tables, figures and the script that draws them, so that it opens anywhere, offline too."""

from calendar import day_name
from collections.abc import Mapping
from html import escape
from typing import Any

from bandstand.reporting.page import fact_list, html_page, places, plus_minus, table
from bandstand.simulate.figures import figures

_TITLES = {
    "reward": "Expected reward by decision, ± one standard error",
    "regret": "Regret by decision, ± one standard error",
    "actions": "What users did",
    "personas": "Gap closed, by persona",
}


def html_report(result: Mapping[str, Any]) -> str:
    """Write the report of a result, as :func:`bandstand.simulate.run.result.result` makes it."""
    title = f"Simulation {result['run']}" if result["run"] else "Simulation"
    body = (
        f"{_facts(result)}<h2>Policies</h2>{_policies(result)}{places(_TITLES)}{_hearing(result)}"
        f"<h2>Judges</h2>{_judges(result)}"
    )
    return html_page(title, body, figures(result))


def world_of(plan: Mapping[str, Any]) -> str:
    """Say whom policies meet, and what is not as usual there."""
    told = (
        f"{personas_of(plan)}: {plan['personas']:,} users, {plan['days']:,} days of {plan['decisions_per_day']:,} "
        f"decisions among {plan['candidates']:,} candidates"
    )
    if plan["day_of_week"] is not None:
        told += f", every day a {day_name[plan['day_of_week']]}"
    if plan["reflex_rate"]:
        told += f", {plan['reflex_rate']:.0%} of what is done by reflex"
    return told


def personas_of(plan: Mapping[str, Any]) -> str:
    """Name a plan's persona set."""
    return plan["world"] if isinstance(plan["world"], str) else f"{len(plan['world'])} personas of its own"


def judged_by(plan: Mapping[str, Any]) -> str:
    """Say who decides what users do, or reads what they say."""
    chat = plan["chat"]
    if chat is None:
        return f"judge {plan['judge']['kind']}"
    threshold = f", τ = {chat['tau']:g}" if chat["gate"] == "hard" else ""
    return f"{chat['tier']} reads what they say, {chat['gate']} gate{threshold}"


def _facts(result: Mapping[str, Any]) -> str:
    plan = result["plan"]
    told = {
        "State": result["state"],
        "World": world_of(plan),
        "Seeds": f"{plan['seeds']}, from {plan['first_seed']}",
        "Reactions": judged_by(plan),
        "Decisions": f"{result['decisions']:,}",
    }
    return fact_list(told)


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
    return table([*measures, *(act.replace("_", " ").capitalize() for act in acts)], rows)


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
    return f"<h2>What the judge heard</h2>{table(heads, rows)}{confusions}"


def _confusion(counts: Mapping[str, Mapping[str, int]]) -> str:
    return table(["", *counts], [[true, *(f"{n:,}" for n in row.values())] for true, row in counts.items()])


def _judges(result: Mapping[str, Any]) -> str:
    rows = [
        [name, each["judge"], each["fallback"] or "", f"{each['decisions']:,}"]
        for name, policy in result["policies"].items()
        for each in policy["judges"]
    ]
    return table(["Policy", "Decided by", "Because", "Decisions"], rows)
