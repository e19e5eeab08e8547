"""Which features move a policy: how much each adds to the mean reward of what was picked, on average over a log.

A linear policy's mean reward of a candidate is a sum of contributions θ_j x_j. The score of a feature is the mean of
|Σ θ_j x_j| over the decisions looked at, the sum being over its own columns. It says what the policy makes of a
feature, not what the feature causes.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bandstand.bandit.columns import INTERCEPT
from bandstand.bandit.disjoint import get_block
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.requests import LoggedRequest
from bandstand.store.logged_events import LoggedDecision

_MAX_DECISIONS = 1000
"""Most that are looked at, drawn evenly from the log: each costs a millisecond."""

_SEED = 1
_PAIR = " × "


class FeatureScore(NamedTuple):
    """A feature, without its values, and its score."""

    name: str
    score: float


class FeatureImportance:
    """Decisions of a log, of which scores are made once it has been read; memory does not grow with the log."""

    def __init__(self) -> None:
        self._decisions: list[LoggedDecision] = []
        self._seen = 0
        self._draws = np.random.default_rng(_SEED)

    def add(self, decisions: Iterable[LoggedDecision]) -> None:
        """Take in the next decisions: each is as likely to be looked at (Vitter, 1985, algorithm R)."""
        for decision in decisions:
            self._seen += 1
            if len(self._decisions) < _MAX_DECISIONS:
                self._decisions.append(decision)
            elif (place := int(self._draws.integers(self._seen))) < _MAX_DECISIONS:
                self._decisions[place] = decision

    def compute_scores(self, candidate: CandidatePolicy) -> list[FeatureScore]:
        """Return the scores of all features under what a policy believes in the end, the largest first.

        Raises:
            EvaluationError: a decision is none.
        """
        totals: dict[str, float] = {}
        for decision in self._decisions:
            request = LoggedRequest.parse(f"the decision of event {decision.seq}", decision.body, decision.pick)
            for name, contribution in sum_contributions(candidate, decision, request).items():
                totals[name] = totals.get(name, 0.0) + abs(contribution)
        found = [FeatureScore(name, total / len(self._decisions)) for name, total in totals.items() if total]
        return sorted(found, key=lambda each: (-each.score, each.name))


def sum_contributions(candidate: CandidatePolicy, decision: LoggedDecision, request: LoggedRequest) -> dict[str, float]:
    """What each feature of a decision's pick adds to its mean reward, without the intercept."""
    schema = candidate.policy.schema
    context, (features,) = request.context, request.features
    theta = candidate.get_mean(decision.uid, decision.ts)
    weights = theta[get_block(schema.encode(context, [features])[0])] if schema.block_count else theta
    sums: dict[str, float] = {}
    for part in schema.list_parts(context, features):
        if part.value and part.name != INTERCEPT:
            name = strip_values(part.name)
            sums[name] = sums.get(name, 0.0) + part.value * float(weights[part.column])
    return sums


def strip_values(name: str) -> str:
    """A part's name without its values.

    >>> strip_values("context.kind=new × candidate.price")
    'context.kind × candidate.price'
    """
    return _PAIR.join(side.partition("=")[0] for side in name.split(_PAIR))
