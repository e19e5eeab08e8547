"""A simulation's result for a person: what each policy earned, overall and over the course of users' decisions."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bandstand.judge.taxonomy import POLARITIES
from bandstand.reporting.page import format_plus_minus
from bandstand.simulate.report import describe_judge

_WIDTH = 120
_WINDOWS = ((1, 10), (11, 40), (41, 60), (61, None))


def show_tables(result: Mapping[str, Any]) -> None:
    """Print a result as tables."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    plan = result["plan"]
    world = plan["world"] if isinstance(plan["world"], str) else "own"
    title = (
        f"Run {result['run']}: {result['decisions']:,} of {result['total']:,} decisions, {world} personas, "
        f"{plan['seeds']} seeds, {describe_judge(plan)}"
    )
    if result["seconds"]:
        title += f", {result['seconds']:.1f} s"
    console.print(_build_overall_table(result), title, sep="\n")
    console.print(_build_window_table(result))
    if "hearing" in result:
        console.print(_build_agreement_table(result["hearing"]), _build_confusion_table(result["hearing"]), sep="\n")
    fallbacks = [
        f"{name}: {each['decisions']:,} decided by {each['judge']}"
        + (f" ({each['fallback']})" if each["fallback"] else "")
        for name, policy in result["policies"].items()
        for each in policy["judges"]
        if plan["judge"]["kind"] != "rule"
    ]
    for line in fallbacks:
        console.print(line)


def _build_overall_table(result: Mapping[str, Any]) -> Table:
    table = Table("policy")
    # What users mean to say has seven names, too many beside the rest: the judge's tables tell of them.
    actions = () if "hearing" in result else tuple(next(iter(result["policies"].values()))["actions"])
    for head in ("mean reward", "expected", "gap closed", "regret", *actions):
        table.add_column(head, justify="right")
    for name, each in result["policies"].items():
        table.add_row(
            name,
            format_plus_minus(each["mean_reward"], each["stderr"], ".4f"),
            format_plus_minus(each["expected_reward"], each["expected_stderr"], ".4f"),
            format_plus_minus(each["gap_closed"], each["gap_stderr"], ".1%"),
            format_plus_minus(each["regret"], None, ".4f"),
            *(f"{each['actions'][act]:.1%}" for act in actions),
        )
    for name, each in result["baselines"].items():
        table.add_row(name, "", format_plus_minus(each["mean_reward"], each["stderr"], ".4f"), style="dim")
    return table


def _build_agreement_table(agreement: Mapping[str, Any]) -> Table:
    """How well the judge read, and its cost compared with being taught by the truth."""
    table = Table("judge, by policy")
    for head in ("taught", "macro-F1", "neg. precision", "neg. recall", "sign flips", "flips taught", "regret cost"):
        table.add_column(head, justify="right")
    for name, heard in agreement.items():
        polarity, cost = heard["polarity"], heard["regret_cost"]
        table.add_row(
            name,
            format_plus_minus(heard["coverage"], None, ".1%"),
            format_plus_minus(polarity["macro_f1"], None, ".3f"),
            format_plus_minus(polarity["negative_precision"], None, ".3f"),
            format_plus_minus(polarity["negative_recall"], None, ".3f"),
            format_plus_minus(heard["sign_flips"], None, ".2%"),
            format_plus_minus(heard["gated"]["sign_flips"], None, ".2%"),
            format_plus_minus(cost["mean"], cost["stderr"], ".4f"),
        )
    return table


def _build_confusion_table(agreement: Mapping[str, Any]) -> Table:
    """What was meant, and what was read, over all policies: shares of what was meant."""
    sides = [side for side in POLARITIES if any(side in each["polarity"]["confusion"] for each in agreement.values())]
    table = Table("meant")
    for side in sides:
        table.add_column(f"heard as {side}", justify="right")
    for true in sides:
        rows = [each["polarity"]["confusion"].get(true, {}) for each in agreement.values()]
        counts = [sum(row.get(said, 0) for row in rows) for said in sides]
        table.add_row(true, *(f"{count / sum(counts):.1%}" if sum(counts) else "" for count in counts))
    return table


def _build_window_table(result: Mapping[str, Any]) -> Table:
    """Mean reward and gap closed in windows of a user's decisions."""
    table = Table("gap closed in decisions")
    curves = {name: each["by_decision"] for name, each in result["policies"].items()}
    decisions = next(iter(curves.values()))["decision"]
    windows = [(low, high) for low, high in _WINDOWS if low <= decisions[-1]]
    for low, high in windows:
        table.add_column(f"{low}–{high or 'end'}", justify="right")
    bounds = {name: each["by_decision"]["mean_reward"] for name, each in result["baselines"].items()}
    for name, curve in curves.items():
        cells = [_format_gap(curve, bounds, decisions, low, high) for low, high in windows]
        table.add_row(name, *cells)
    return table


def _format_gap(
    curve: Mapping[str, Any], bounds: Mapping[str, Any], decisions: list[int], low: int, high: int | None
) -> str:
    picked = [
        (count, expected, bounds["random"][at], bounds["oracle"][at])
        for at, (decision, count, expected) in enumerate(
            zip(decisions, curve["decisions"], curve["expected_reward"], strict=True)
        )
        if decision >= low and (high is None or decision <= high) and expected is not None
    ]
    earned = sum(count * (expected - random) for count, expected, random, _ in picked)
    possible = sum(count * (oracle - random) for count, _, random, oracle in picked)
    return f"{earned / possible:.1%}" if possible else "–"
