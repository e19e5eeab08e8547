"""Score: encode the candidates, ask the policy for its distribution, draw once, log, answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandstand.bandit.choice import choose
from bandstand.bandit.distribution import hash_to_uniform
from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.errors import DecisionConflictError, StorageFullError
from bandstand.service.context import ServiceContext
from bandstand.store.records import Array, Decision

_EMPTY: dict[str, object] = {}


@dataclass(slots=True)
class ScoreResult:
    """The pick, as the caller hears of it.

    Attributes:
        decision_id: ``None`` where the decision could not be logged (``SCORE_WHEN_FULL``) and takes no reward.
        numbers: mean, width, score and probability of every candidate: shape (4, K).
        repeated: an earlier decision answers again, for the same request.
    """

    decision_id: str | None
    tip_id: str
    score: float
    policy: str
    propensity: float
    exploring: bool
    numbers: Array | None
    repeated: bool = False

    def build_ranking(self, candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """All candidates, best score first; equals keep the caller's order."""
        assert self.numbers is not None  # noqa: S101 (the store gave the decision in full)
        _, _, scores, probabilities = self.numbers
        order = np.argsort(-scores, kind="stable")
        return [
            {"tip_id": candidates[i]["id"], "score": float(scores[i]), "propensity": float(probabilities[i])}
            for i in order
        ]


async def score(
    deployment: ServiceContext, request: Mapping[str, Any], *, body: bytes, client: str, policy: str | None = None
) -> ScoreResult:
    """Pick one of ``request["candidates"]`` for ``request["user_id"]``.

    Args:
        deployment: where.
        request: a validated score request.
        body: the same request as it came, for the ledger.
        client: name of the API key.
        policy: the policy to ask; ``None`` for the active one.

    Raises:
        UnknownPolicyError: no such policy.
        DecisionConflictError: the caller's ``decision_id`` names another request.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
    """
    user_id: str = request["user_id"]
    chosen = deployment.get_policy(policy, user_id)
    store = deployment.store
    own_id: str | None = request.get("decision_id")
    if own_id is not None and (earlier := await store.find_receipt(own_id)) is not None:
        return _return_earlier(earlier, body, policy and chosen.name)

    profile = store.get_cached_profile(user_id) or await store.load_profile(user_id)
    # No await from here to `decide`: numbers are handed out in the order of the hand-over.
    decision = _make_decision(deployment, chosen, profile, request, body, client)
    if policy is None and deployment.running_experiment is not None:
        decision.experiment = deployment.running_experiment.seq
    numbers = decision.numbers
    captured = None if deployment.shadows is None else deployment.shadows.capture(decision, profile, request)
    try:
        stands = await store.decide(decision)
    except StorageFullError:
        if not deployment.score_when_full:
            raise
        return _build_result(decision, numbers, logged=False)
    if stands is not decision:  # somebody else's came first, and may even be erased again: look once more
        return await score(deployment, request, body=body, client=client, policy=policy)
    if captured is not None and deployment.shadows is not None:
        deployment.shadows.enqueue(captured)
    return _build_result(decision, numbers)


def _make_decision(
    deployment: ServiceContext, policy: Policy, profile: Profile, request: Mapping[str, Any], body: bytes, client: str
) -> Decision:
    candidates = request["candidates"]
    features = [candidate.get("features", _EMPTY) for candidate in candidates]
    x = policy.schema.encode(request.get("context", _EMPTY), features)
    ts = deployment.clock()
    seq = deployment.store.next_seq(ts)
    decision_id = request.get("decision_id")
    own_id = decision_id is not None
    if decision_id is None:
        decision_id = deployment.decision_ids.next(seq)
    seed = hash_to_uniform(deployment.store.secret, decision_id)
    prior = deployment.get_prior(policy, profile.user_id)
    distribution, pick, exploring = choose(policy, profile, x, seed, prior=prior, now=ts)
    probability = distribution.probability
    return Decision(
        decision_id=decision_id,
        own_id=own_id,
        seq=seq,
        user_id=profile.user_id,
        policy=deployment.policy_refs[policy.name],
        client=client,
        ts=ts,
        tip_id=candidates[pick]["id"],
        pick=pick,
        exploring=exploring,
        seed=seed,
        score=float(distribution.score[pick]),
        propensity=float(probability[pick]),
        floor=distribution.floor,
        body=body,
        numbers=np.array((distribution.mean, distribution.width, distribution.score, probability)),
        x=x[pick].copy(),
    )


def _return_earlier(earlier: Decision, body: bytes, policy: str | None) -> ScoreResult:
    """The first answer again, where the request is the same again."""
    if (policy is not None and policy != earlier.policy.name) or json.loads(earlier.body) != json.loads(body):
        message = "this decision_id already names another request"
        raise DecisionConflictError(message)
    return _build_result(earlier, earlier.numbers, repeated=True)


def _build_result(
    decision: Decision, numbers: Array | None, *, logged: bool = True, repeated: bool = False
) -> ScoreResult:
    return ScoreResult(
        decision_id=decision.decision_id if logged else None,
        tip_id=decision.tip_id,
        score=decision.score,
        policy=decision.policy.name,
        propensity=decision.propensity,
        exploring=decision.exploring,
        numbers=numbers,
        repeated=repeated,
    )
