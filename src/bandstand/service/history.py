"""History: a user's newest decisions, and the receipt of one."""

import json
from collections.abc import Mapping
from typing import Any

from bandstand.errors import UnknownDecisionError
from bandstand.service.context import ServiceContext, format_time
from bandstand.store.records import Decision

HISTORY_LENGTH = 100


async def list_history(deployment: ServiceContext, user_id: str) -> list[dict[str, Any]]:
    """The user's newest 100 decisions since the last reset, oldest first, with the raw values they were made on."""
    return [
        _build_entry(deployment, decision) for decision in await deployment.store.list_history(user_id, HISTORY_LENGTH)
    ]


async def load_receipt(deployment: ServiceContext, decision_id: str) -> dict[str, Any]:
    """Everything a decision was made of, enough to make the same pick again.

    With K candidates, probability p, ``floor`` δ and ``seed`` u: where u < δ the pick is candidate ⌊K·u/δ⌋; else the
    exploit branch g = (p − δ/K)/(1−δ) is inverted at (u−δ)/(1−δ).

    Raises:
        UnknownDecisionError: no such decision.
    """
    decision = await deployment.store.find_receipt(decision_id)
    if decision is None or decision.numbers is None:
        message = "no such decision"
        raise UnknownDecisionError(message)
    request = json.loads(decision.body)
    candidates = request["candidates"]
    schema = deployment.catalogue.schemas.get(decision.policy.schema)
    if schema is not None and schema.hash == decision.policy.schema_hash:
        features = schema.encode(_get_context(request), [candidate.get("features", {}) for candidate in candidates])
        encoded, labels = features.tolist(), list(schema.labels)
    else:  # the encoding it was made under is no longer configured
        encoded, labels = [None] * len(candidates), None
    reward = decision.reward
    shadows = await deployment.store.load_shadows(decision)
    return {
        "decision_id": decision.decision_id,
        "user_id": decision.user_id,
        "ts": format_time(decision.ts),
        "client": decision.client,
        "policy": decision.policy.name,
        "policy_hash": decision.policy.hash,
        "schema": decision.policy.schema,
        "schema_hash": decision.policy.schema_hash,
        "tip_id": decision.tip_id,
        "score": decision.score,
        "propensity": decision.propensity,
        "exploring": decision.exploring,
        "seed": decision.seed,
        "floor": decision.floor,
        "context": _get_context(request),
        "feature_labels": labels,
        "candidates": [
            {"tip_id": candidate["id"], "features": x, "mean": mean, "width": width, "score": score, "probability": p}
            for candidate, x, (mean, width, score, p) in zip(
                candidates, encoded, decision.numbers.T.tolist(), strict=True
            )
        ],
        "reward": None
        if reward is None
        else {
            "reward": reward.value,
            "applied": reward.applied,
            "reason": reward.reason,
            "source": reward.source,
            "ts": format_time(reward.ts),
            "client": reward.client,
        },
        "shadows": [
            {
                "policy": shadow.policy.name,
                "policy_hash": shadow.policy.hash,
                "tip_id": candidates[shadow.pick]["id"],
                "agrees": shadow.agrees,
                "exploring": shadow.exploring,
                "propensity": shadow.propensity,
                "weight": shadow.weight,
                "probabilities": shadow.probabilities.tolist(),
            }
            for shadow in sorted(shadows, key=lambda shadow: shadow.policy.name)
        ],
    }


def _build_entry(deployment: ServiceContext, decision: Decision) -> dict[str, Any]:
    request = json.loads(decision.body)
    context = _get_context(request)
    raw = request["candidates"][decision.pick].get("features", {})
    schema = deployment.catalogue.schemas.get(decision.policy.schema)
    features = {**raw, **context} if schema is None else schema.raw_values(context, raw)
    day = features.get("day_of_week")  # a deployment's own schema may not have it, or mean a name by it
    return {
        "ts": format_time(decision.ts),
        "features": features,
        "score": decision.score,
        "tip_id": decision.tip_id,
        "decision_id": decision.decision_id,
        "policy": decision.policy.name,
        "exploring": decision.exploring,
        "propensity": decision.propensity,
        "day_of_week": day if isinstance(day, int) else None,
    }


def _get_context(request: Mapping[str, Any]) -> Mapping[str, Any]:
    context: Mapping[str, Any] = request.get("context", {})
    return context
