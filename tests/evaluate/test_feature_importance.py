"""Feature importance: what each feature adds under what the policy believes in the end, by its name."""

import json

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.evaluate.feature_importance import FeatureImportance, sum_contributions
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.requests import LoggedRequest
from bandstand.store.logged_events import LoggedDecision
from tests.bandit.given import SHIPPED

TABLES = {
    "schemas": {"any": {"version": 1, "intercept": True, "features": [{"name": "all", "encoding": "open"}]}},
    "policies": {"any": {"kind": "egreedy", "schema": "any", "prior": "standard"}},
}
POLICY = Catalogue.parse(SHIPPED, TABLES).policies["any"]
CONTEXT = {"hour": 9}
USER = 1


def make_decision(number: int) -> LoggedDecision:
    candidate = {"id": "a", "features": {"colour": ("red", "blue")[number % 2], "size": number % 3}}
    body = json.dumps({"context": CONTEXT, "candidates": [candidate]}).encode()
    return LoggedDecision(number, USER, "any", float(number), 0.5, 0, 1.0, np.ones(1), body, None)


def teach() -> CandidatePolicy:
    """A policy that was rewarded for red alone."""
    candidate = CandidatePolicy(POLICY)
    for number in range(60):
        features = json.loads(make_decision(number).body)["candidates"][0]["features"]
        x = POLICY.schema.encode(CONTEXT, [features])[0].copy()
        candidate.learn(USER, x, 1.0 - 2 * (number % 2), 1.0, float(number))
    return candidate


def test_what_moves_the_policy_comes_first_by_its_name_without_values() -> None:
    importance = FeatureImportance()
    importance.add([make_decision(number) for number in range(12)])
    scores = importance.compute_scores(teach())
    names = [each.name for each in scores]
    assert names[0] == "candidate.colour"
    pairs = {"context.hour × candidate.colour", "context.hour × candidate.size"}
    assert set(names) == {"candidate.colour", "candidate.size", "context.hour", *pairs}
    assert scores == sorted(scores, key=lambda each: (-each.score, each.name))


def test_with_their_signs_they_add_up_to_what_the_candidate_is_thought_to_be_worth() -> None:
    candidate, decision = teach(), make_decision(0)
    request = LoggedRequest.parse("it", decision.body, 0)
    (x,) = POLICY.schema.encode(request.context, request.features)
    theta = candidate.get_mean(USER, decision.ts)
    made = sum_contributions(candidate, decision, request)
    assert sum(made.values()) + theta[0] * x[0] == pytest.approx(theta @ x)


def test_a_long_log_is_looked_at_here_and_there() -> None:
    importance, whole = FeatureImportance(), FeatureImportance()
    importance.add(make_decision(number) for number in range(6 * 1001))
    whole.add(make_decision(number) for number in range(6))
    candidate = CandidatePolicy(POLICY)
    candidate.learn(USER, POLICY.schema.encode(CONTEXT, [{"colour": "red"}])[0].copy(), 1.0, 1.0, 0.0)
    found, expected = (dict(each.compute_scores(candidate)) for each in (importance, whole))
    assert found["candidate.colour"] == pytest.approx(expected["candidate.colour"], rel=0.2)
