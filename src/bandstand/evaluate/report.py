"""What a log says of policies, as JSON values: what a machine reads, and what tables and figures are made of."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bandstand.evaluate.estimators.evaluation import WEIGHT_BINS, Evaluated
from bandstand.evaluate.replay.policy_replay import LogFacts
from bandstand.evaluate.spec import Question

AS_TRAINED = "as trained on this log"


class Answer(NamedTuple):
    """What was found about one policy.

    Attributes:
        policy: its name.
        how: in what state it was evaluated, in a few words.
        rewards: how many taught it before its last decision; None where it was not ours to teach.
        evaluated: what the log says.
    """

    policy: str
    how: str
    rewards: int | None
    evaluated: Evaluated


def report(source: str, question: Question, answers: Sequence[Answer], facts: LogFacts | None = None) -> dict[str, Any]:
    """Put everything into one document; what is not a number is null.

    Args:
        source: where the log is.
        question: what was asked.
        answers: at least one.
        facts: what the log holds besides, if it is one of decisions.
    """
    return {
        "source": source,
        "missing_reward": question.missing_reward,
        "interval": question.interval,
        "level": question.level,
        "log": _log(answers[0].evaluated, facts),
        "policies": [_policy(answer) for answer in answers],
    }


def _log(evaluated: Evaluated, facts: LogFacts | None) -> dict[str, Any]:
    log: dict[str, Any] = {
        "decisions": evaluated.decisions,
        "rewarded": evaluated.rewarded,
        "coverage": evaluated.rewarded / evaluated.decisions,
        "mean_reward": evaluated.logged,
        "stderr": _number(evaluated.logged_stderr),
    }
    if facts is not None:
        log |= {
            "users": len(facts.users),
            "first": _iso(facts.first),
            "last": _iso(facts.last),
            "policies": {
                name: {
                    "decisions": logger.decisions,
                    "rewarded": logger.rewarded,
                    "mean_reward": logger.reward_sum / logger.rewarded if logger.rewarded else None,
                }
                for name, logger in facts.loggers.items()
            },
        }
    return log


def _policy(answer: Answer) -> dict[str, Any]:
    evaluated = answer.evaluated
    return {
        "policy": answer.policy,
        "how": answer.how,
        "rewards": answer.rewards,
        "estimates": [
            {
                "estimator": name,
                **{key: _number(value) for key, value in asdict(estimate).items() if key != "warnings"},
                "lift": _number(estimate.value - evaluated.logged),
            }
            for name, estimate in evaluated.estimates.items()
        ],
        "supported": evaluated.supported,
        "doubts": [{"doubt": doubt.sentence, "estimators": list(doubt.estimators)} for doubt in evaluated.doubts],
        "curve": [{key: _number(value) for key, value in point._asdict().items()} for point in evaluated.curve],
        "weights": dict(zip(WEIGHT_BINS, evaluated.weights, strict=True)),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _iso(ts: float | None) -> str | None:
    return datetime.fromtimestamp(ts, UTC).isoformat(timespec="seconds") if ts else None
