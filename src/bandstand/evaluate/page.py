"""A report as one HTML file: tables, figures and the script that draws them, so that it opens anywhere, offline too."""

from collections.abc import Mapping
from html import escape
from typing import Any

from bandstand.evaluate.figures import figures
from bandstand.reporting.page import fact_list, html_page, places, plus_minus, table

HEADS = ("Estimator", "Value", "Std. error", "Interval", "Lift", "Effective rows")

_TITLES = {
    "estimates": "Estimates",
    "curve": "As the log went on (± one standard error)",
    "weights": "Importance weights",
}


def page(report: Mapping[str, Any]) -> str:
    """Write a report, as :func:`bandstand.evaluate.report.report` makes it."""
    policies = "".join(_policy(each) for each in report["policies"])
    return html_page("Off-policy evaluation", fact_list(facts(report)) + policies + places(_TITLES), figures(report))


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
        told[f"decided by {name}"] = f"{logger['decisions']:,}, mean reward {plus_minus(logger['mean_reward'])}"
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
            plus_minus(each["value"]),
            plus_minus(each["stderr"]),
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


def _policy(policy: Mapping[str, Any]) -> str:
    listed = "".join(f"<li>{escape(each)}</li>" for each in doubts(policy))
    return f"<h2>{escape(heading(policy))}</h2>{table(HEADS, rows(policy))}" + (f"<ul>{listed}</ul>" if listed else "")
