"""Score: have the request decided with its neighbours of the same turn of the loop, and answer after the commit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandstand.errors import DecisionConflictError, StorageFullError
from bandstand.service.context import ServiceContext
from bandstand.service.request_identity import is_same_score_request
from bandstand.store.records import Array, Decision


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
        return _return_earlier(deployment, earlier, request, policy and chosen.name)

    made = None
    while made is None:
        if store.get_cached_profile(user_id) is None:
            await store.load_profile(user_id)
        made = await deployment.scoring.submit(request, body, client, chosen, is_named=policy is not None)
    decision = made.decision
    try:
        stands = await made.stands
    except StorageFullError:
        if not deployment.score_when_full:
            raise
        return _build_result(decision, made.numbers, logged=False)
    if stands is not decision:  # somebody else's came first, and may even be erased again: look once more
        return await score(deployment, request, body=body, client=client, policy=policy)
    if made.captured is not None and deployment.shadows is not None:
        deployment.shadows.enqueue(made.captured)
    return _build_result(decision, made.numbers)


def _return_earlier(
    deployment: ServiceContext, earlier: Decision, request: Mapping[str, Any], policy: str | None
) -> ScoreResult:
    """The first answer again, where the request reads the same again."""
    is_same = is_same_score_request(deployment.catalogue, json.loads(earlier.body), request)
    if (policy is not None and policy != earlier.policy.name) or not is_same:
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
