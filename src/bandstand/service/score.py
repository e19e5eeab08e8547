"""Score: have the request decided with its neighbours of the same turn of the loop, and answer after the commit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandstand.bandit.eligibility import Indices, find_eligible
from bandstand.bandit.policies import Policy
from bandstand.errors import DecisionConflictError, OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.service.context import ServiceContext
from bandstand.service.request_identity import is_same_score_request
from bandstand.service.score_batch import MadeDecision, count_try
from bandstand.store.ids import parse_event_id
from bandstand.store.protocol import MovedError
from bandstand.store.records import Array, Decision


@dataclass(slots=True)
class ScoreResult:
    """The pick, as the caller hears of it.

    Attributes:
        decision_id: ``None`` where the decision could not be logged (``SCORE_WHEN_FULL``) and takes no reward.
        numbers: mean, width, score and probability of every candidate: shape (4, K).
        repeated: an earlier decision answers again, for the same request.
        eligible: places of the candidates that could be picked; ``None`` for all.
    """

    decision_id: str | None
    tip_id: str
    score: float
    policy: str
    propensity: float
    exploring: bool
    numbers: Array | None
    repeated: bool = False
    eligible: Indices | None = None

    def build_ranking(self, candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """All candidates, best score first, equals in the caller's order; an excluded one keeps its place."""
        assert self.numbers is not None  # noqa: S101 (the store gave the decision in full)
        _, _, scores, probabilities = self.numbers
        order = np.argsort(-scores, kind="stable")
        if self.eligible is not None:
            ranked, order = order[np.isin(order, self.eligible)], np.arange(len(scores))
            order[self.eligible] = ranked
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
        InvalidRequestError: what is excluded is no candidate, or all of them.
        LearningModeError: another than the baseline is asked, and only that serves.
        DecisionConflictError: the caller's ``decision_id`` names another request.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
    """
    chosen = deployment.choose_policy(policy, request["user_id"])
    named = None if policy is None else chosen.name
    is_named = policy is not None or deployment.is_held_out(request["user_id"])
    # An id that the service may have given is looked up: the ledger would not refuse it.
    may_be_ours = "decision_id" in request and parse_event_id(request["decision_id"]) is not None
    if may_be_ours and (earlier := await _find_earlier(deployment, request)) is not None:
        return _return_earlier(deployment, earlier, request, named)
    # Any other id of the caller's own is most often new, so it is not looked up first: the ledger takes it once.
    tries = 0
    while True:
        made: MadeDecision | None = None
        try:
            made = await _decide(deployment, request, body, client, chosen, is_named=is_named, tries=tries)
            stands = await made.stands
        except MovedError:  # another process has taught its user, or changed what all decide by
            tries = count_try(tries)
            chosen = deployment.choose_policy(policy, request["user_id"])
            continue
        except (OverloadedError, StorageFullError, StorageUnavailableError) as error:
            if (earlier := await _find_earlier(deployment, request)) is not None:
                return _return_earlier(deployment, earlier, request, named)
            if made is None or not (deployment.score_when_full and isinstance(error, StorageFullError)):
                raise
            return _build_result(request, made.decision, made.numbers, logged=False)
        if stands is made.decision:
            if made.captured is not None and deployment.shadows is not None:
                deployment.shadows.enqueue(made.captured)
            return _build_result(request, made.decision, made.numbers)
        if (earlier := await _find_earlier(deployment, request)) is not None:
            return _return_earlier(deployment, earlier, request, named)
        # What stood there has been erased meanwhile: the id is free again.


async def _decide(
    deployment: ServiceContext,
    request: Mapping[str, Any],
    body: bytes,
    client: str,
    policy: Policy,
    *,
    is_named: bool,
    tries: int,
) -> MadeDecision:
    """Have it decided with its neighbours, once its user is in memory."""
    made, store = None, deployment.store
    user_id = request["user_id"]
    owner = deployment.get_owner(user_id)
    while made is None:
        for needed in (user_id,) if owner == user_id else (user_id, owner):
            if store.get_cached_profile(needed) is None:
                await store.load_profile(needed)
        made = await deployment.scoring.submit(request, body, client, policy, is_named=is_named, tries=tries)
    return made


async def _find_earlier(deployment: ServiceContext, request: Mapping[str, Any]) -> Decision | None:
    own_id: str | None = request.get("decision_id")
    return None if own_id is None else await deployment.store.find_receipt(own_id)


def _return_earlier(
    deployment: ServiceContext, earlier: Decision, request: Mapping[str, Any], policy: str | None
) -> ScoreResult:
    """The first answer again, where the request reads the same again."""
    is_same = is_same_score_request(deployment.catalogue, json.loads(earlier.body), request)
    if (policy is not None and policy != earlier.policy.name) or not is_same:
        message = "this decision_id already names another request"
        raise DecisionConflictError(message)
    return _build_result(request, earlier, earlier.numbers, repeated=True)


def _build_result(
    request: Mapping[str, Any],
    decision: Decision,
    numbers: Array | None,
    *,
    logged: bool = True,
    repeated: bool = False,
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
        eligible=find_eligible(request),
    )
