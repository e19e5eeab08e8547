"""Statements: what a figure of a run shows, in one sentence, which is its title."""

from collections.abc import Mapping
from typing import Any

from bandstand.console.pages import format_decimal, format_percent

_DONE = "done"


def describe_simulation(summary: Mapping[str, Any]) -> dict[str, str]:
    """The titles of a simulation's figures: ``reward``, ``regret`` and ``actions``."""
    policies: Mapping[str, Mapping[str, Any]] = summary["policies"]
    return {
        "reward": _describe_reward(policies),
        "regret": _describe_regret(policies),
        "actions": _describe_actions(policies),
    }


def describe_comparison(summaries: Mapping[int, Mapping[str, Any]]) -> str:
    """The title of the curves of several runs."""
    earned = {
        (name, run): each["expected_reward"]
        for run, summary in summaries.items()
        for name, each in summary["policies"].items()
        if each["expected_reward"] is not None
    }
    if not earned:
        return "No run has earned anything yet"
    name, run = max(earned, key=lambda key: earned[key])
    return f"{name} of run {run} earns most: {format_decimal(earned[name, run])} a decision expected"


def describe_evaluation(report: Mapping[str, Any]) -> dict[str, str]:
    """The titles of an evaluation's figures: ``estimates``, ``curve`` and ``weights``."""
    return {
        "estimates": _describe_estimates(report),
        "curve": _describe_curve(report),
        "weights": _describe_weights(report),
    }


def _describe_reward(policies: Mapping[str, Mapping[str, Any]]) -> str:
    closed = {name: each["gap_closed"] for name, each in policies.items() if each["gap_closed"] is not None}
    if not closed:
        return "Random and the best possible pick earn the same here"
    best = max(closed, key=lambda name: closed[name])
    if closed[best] <= 0:
        return "No policy earns more than a random pick"
    return f"{best} closes {format_percent(closed[best], 0)} of the way from a random to the best possible pick"


def _describe_regret(policies: Mapping[str, Mapping[str, Any]]) -> str:
    regrets = {name: each["regret"] for name, each in policies.items() if each["regret"] is not None}
    if not regrets:
        return "No regret is known yet"
    least, most = (pick(regrets, key=lambda name: regrets[name]) for pick in (min, max))
    words = f"{least} earns {format_decimal(regrets[least])} a decision less than the best possible pick"
    return words if least == most else f"{words}, {most} {format_decimal(regrets[most])}"


def _describe_actions(policies: Mapping[str, Mapping[str, Any]]) -> str:
    shares = {name: each["actions"] for name, each in policies.items() if each["actions"]}
    if not shares:
        return "Nobody has done anything yet"
    if all(_DONE in each for each in shares.values()):
        best = max(shares, key=lambda name: shares[name][_DONE])
        return f"{format_percent(shares[best][_DONE], 0)} of the picks of {best} were done, the most of all"
    name, actions = next(iter(shares.items()))
    usual = max(actions, key=lambda action: actions[action])
    return f"{format_percent(actions[usual], 0)} of what users of {name} said was {usual}"


def _describe_estimates(report: Mapping[str, Any]) -> str:
    logged = report["log"]["mean_reward"]
    names = [each["policy"] for each in report["policies"]]
    more, less = [], []
    for policy in report["policies"]:
        known = [each for each in policy["estimates"] if each["low"] is not None and each["high"] is not None]
        if known and all(each["low"] > logged for each in known):
            more.append(policy["policy"])
        elif known and all(each["high"] < logged for each in known):
            less.append(policy["policy"])
    if not more and not less:
        return f"No policy is told apart from the log's {format_decimal(logged)} by all of its estimates"
    told = [f"{', '.join(each)} {word}" for each, word in ((more, "more"), (less, "less")) if each]
    rest = len(names) - len(more) - len(less)
    words = f"By all estimates {' and '.join(told)} than the log's {format_decimal(logged)}"
    return f"{words}; {rest} not told apart" if rest else words


def _describe_curve(report: Mapping[str, Any]) -> str:
    ends = {
        each["policy"]: known[-1]
        for each in report["policies"]
        if (known := [part["value"] for part in each["curve"] if part["value"] is not None])
    }
    if not ends:
        return "The log is too short to say how the estimates went on"
    best = max(ends, key=lambda name: ends[name])
    return f"In the last slice of the log {best} is ahead, at {format_decimal(ends[best])}"


def _describe_weights(report: Mapping[str, Any]) -> str:
    shares = {
        each["policy"]: min(estimate["ess"] / estimate["n"] for estimate in each["estimates"] if estimate["n"])
        for each in report["policies"]
        if any(estimate["n"] for estimate in each["estimates"])
    }
    if not shares:
        return "No decision carries an estimate"
    least = min(shares, key=lambda name: shares[name])
    return f"{least} rests on the fewest rows: they are worth {format_percent(shares[least], 0)} of the log"
