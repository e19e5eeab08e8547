"""What a log says of policies, as JSON values: what a machine reads, and what tables and figures are made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from bandstand.evaluate.estimators.evaluation import WEIGHT_BINS, LogEvaluationResult
from bandstand.evaluate.feature_importance import FeatureScore
from bandstand.evaluate.policy_replay.replay import LogSummary
from bandstand.evaluate.spec import EvaluationSpec
from bandstand.times import to_datetime

AS_TRAINED = "as trained on this log"

ASSUMPTIONS: Mapping[str, str] = {
    "ips": "unbiased if the logged propensities are right; a few rows of large weight can carry it",
    "snips": "as ips, divided by the sum of weights: steadier, with a bias that vanishes as the log grows",
    "dm": "right only if the reward model is; it uses no propensity",
    "dr": "unbiased if the propensities or the reward model are right; the model takes out noise",
    "dr_logged": "as dr, with the means that each policy had as it decided; what a service sums by itself",
    "sndr": "as dr, with weights divided by their sum",
    "switch_dr": "as dr, but trusts the model alone where a weight is above tau",
    "dr_os": "as dr, with weights shrunk towards 0 to trade bias for variance",
    "clipped_ips": "as ips, with weights cut at a bound: biased towards 0, steadier",
    "clipped_dr": "as dr, with weights cut at a bound",
    "sg_ips": "as ips, with weights shrunk smoothly instead of cut",
    "replay": "counts only decisions where the policy would have picked the same; needs a log that explored evenly",
}
"""What each estimator takes for granted, in one line."""


class PolicyResult(NamedTuple):
    """What was found about one policy.

    Attributes:
        policy: its name.
        training: in what state it was evaluated, in a few words.
        rewards: how many taught it before its last decision; None if it was not ours to teach.
        result: what the log says.
    """

    policy: str
    training: str
    rewards: int | None
    result: LogEvaluationResult


def build_report(
    source: str,
    spec: EvaluationSpec,
    results: Sequence[PolicyResult],
    summary: LogSummary | None = None,
    importance: Sequence[FeatureScore] | None = None,
) -> dict[str, Any]:
    """Put everything into one document; what is not a number is null.

    Args:
        source: where the log is.
        spec: the question.
        results: at least one.
        summary: what the log holds besides, if it is one of decisions.
        importance: what each feature adds, if that was requested.
    """
    rare: dict[str, Any] = {} if importance is None else {"importance": [list(each) for each in importance]}
    if spec.window_s is not None:
        rare["window_s"] = spec.window_s
    return {
        "source": source,
        "missing_reward": spec.missing_reward,
        "interval": spec.interval,
        "level": spec.level,
        "log": _build_log(results[0].result, summary),
        "policies": [_build_policy(answer) for answer in results],
        **rare,
    }


def _build_log(result: LogEvaluationResult, summary: LogSummary | None) -> dict[str, Any]:
    log: dict[str, Any] = {
        "decisions": result.decisions,
        "rewarded": result.rewarded,
        "coverage": result.rewarded / result.decisions,
        "mean_reward": result.logged_mean,
        "stderr": _finite_or_none(result.logged_stderr),
    }
    if summary is not None:
        log |= {
            "users": len(summary.users),
            "first": _format_time(summary.first),
            "last": _format_time(summary.last),
            "policies": {
                name: {
                    "decisions": logger.decisions,
                    "rewarded": logger.rewarded,
                    "mean_reward": logger.reward_sum / logger.rewarded if logger.rewarded else None,
                }
                for name, logger in summary.logging_policies.items()
            },
        }
    return log


def _build_policy(result: PolicyResult) -> dict[str, Any]:
    evaluated = result.result
    windows = {"windows": [list(each) for each in evaluated.windows]} if evaluated.windows else {}
    return {
        "policy": result.policy,
        "how": result.training,
        "rewards": result.rewards,
        "estimates": [
            {
                "estimator": name,
                **{key: _finite_or_none(value) for key, value in asdict(estimate).items() if key != "warnings"},
                "lift": _finite_or_none(estimate.value - evaluated.logged_mean),
            }
            for name, estimate in evaluated.estimates.items()
        ],
        "supported": evaluated.supported_share,
        "doubts": [{"doubt": doubt.message, "estimators": list(doubt.estimators)} for doubt in evaluated.warnings],
        "curve": [{key: _finite_or_none(value) for key, value in point._asdict().items()} for point in evaluated.curve],
        "weights": dict(zip(WEIGHT_BINS, evaluated.weights, strict=True)),
        **windows,
    }


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _format_time(ts: float | None) -> str | None:
    return to_datetime(ts).isoformat(timespec="seconds") if ts else None
