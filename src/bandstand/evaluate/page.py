"""A report as one HTML file: tables, figures and the script that draws them, so that it opens anywhere, offline too."""

from collections.abc import Mapping
from html import escape
from typing import Any

from bandstand.evaluate.figures import build_figures
from bandstand.reporting.page import (
    format_plus_minus,
    render_definition_list,
    render_html_page,
    render_placeholders,
    render_table,
)

COLUMN_HEADINGS = ("Estimator", "Value", "Std. error", "Interval", "Lift", "Effective rows")

_TITLES = {
    "estimates": "Estimates",
    "curve": "As the log went on (± one standard error)",
    "weights": "Importance weights",
}


def render_report(report: Mapping[str, Any]) -> str:
    """Write a report, as :func:`bandstand.evaluate.report.report` makes it."""
    policies = "".join(_render_policy(each) for each in report["policies"])
    return render_html_page(
        "Off-policy evaluation",
        render_definition_list(format_summary(report)) + policies + render_placeholders(_TITLES),
        build_figures(report),
    )


def format_summary(report: Mapping[str, Any]) -> dict[str, str]:
    """Say in words what the log holds and what was evaluated."""
    log = report["log"]
    summary = {
        "log": report["source"],
        "decisions": f"{log['decisions']:,}",
        "rewarded": f"{log['rewarded']:,} ({log['coverage']:.1%})",
    }
    if "users" in log:
        summary["users"] = f"{log['users']:,}"
    if log.get("first"):
        summary["from"], summary["to"] = log["first"], log["last"]
    summary["logged mean reward"] = format_plus_minus(log["mean_reward"], log["stderr"])
    for name, logger in log.get("policies", {}).items():
        summary[f"decided by {name}"] = (
            f"{logger['decisions']:,}, mean reward {format_plus_minus(logger['mean_reward'])}"
        )
    missing = report["missing_reward"]
    if missing is not None:
        summary["without a reward"] = f"counted as {missing:g}"
    elif log["rewarded"] < log["decisions"]:
        summary["without a reward"] = "left out: the estimates are over the rewarded decisions"
    summary["interval"] = f"{report['interval']}, {report['level']:.0%}"
    return summary


def format_heading(policy: Mapping[str, Any]) -> str:
    """Say which policy, in what state."""
    taught = policy["rewards"]
    return f"{policy['policy']}, {policy['how']}" + ("" if taught is None else f" (taught by {taught:,} rewards)")


def format_rows(policy: Mapping[str, Any]) -> list[list[str]]:
    """Return a policy's estimates as the cells under ``HEADS``."""
    return [
        [
            each["estimator"],
            format_plus_minus(each["value"]),
            format_plus_minus(each["stderr"]),
            "–" if each["low"] is None or each["high"] is None else f"{each['low']:.4f} to {each['high']:.4f}",
            "–" if each["lift"] is None else f"{each['lift']:+.4f}",
            f"{each['ess']:,.0f} ({each['ess'] / each['n']:.0%})",
        ]
        for each in policy["estimates"]
    ]


def format_warnings(policy: Mapping[str, Any]) -> list[str]:
    """Return the reasons to doubt a policy's estimates, each as a sentence."""
    return [
        (f"{', '.join(each['estimators'])}: " if each["estimators"] else "") + each["doubt"]
        for each in policy["doubts"]
    ]


def _render_policy(policy: Mapping[str, Any]) -> str:
    listed = "".join(f"<li>{escape(each)}</li>" for each in format_warnings(policy))
    return f"<h2>{escape(format_heading(policy))}</h2>{render_table(COLUMN_HEADINGS, format_rows(policy))}" + (
        f"<ul>{listed}</ul>" if listed else ""
    )
