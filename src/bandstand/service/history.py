"""History: a user's newest decisions, and the receipt of one."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandstand.errors import UnknownDecisionError
from bandstand.service.context import ServiceContext, format_time, format_whole_seconds
from bandstand.service.explanation import CandidateExplanation, explain_candidate, load_theta
from bandstand.service.judgements import STATUS_OF_STATE, JudgementStatus
from bandstand.store.records import Decision, Reward
from bandstand.store.tables.shadows import Shadow

HISTORY_LENGTH = 100
EGREEDY_V1 = "egreedy-v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One decision in a user's history.

    Attributes:
        ts: in whole seconds.
        features: the raw values that the pick was made on, defaults filled in; under the contract's ε-greedy policy
            also whether the pick explored.
        day_of_week: ``None`` if the policy's schema has no such number.
    """

    ts: str
    features: Mapping[str, Any]
    score: float
    tip_id: str
    decision_id: str
    policy: str
    exploring: bool
    propensity: float
    day_of_week: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserHistory:
    """A user's newest decisions, oldest first; ``content_withheld`` where the caller may not see their features."""

    user_id: str
    history: Sequence[HistoryEntry]
    content_withheld: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptCandidate:
    """One candidate as the user saw it and as the policy did.

    Attributes:
        content: what was shown; ``None`` if the request left it out, as ``source`` and ``source_id``.
        raw_features: as they were sent.
        features: x; ``None`` if its schema is no longer configured.
        excluded: the request did not let it be picked.
        explanation: what its mean consists of now; ``None`` if not requested, or if its policy is no longer configured.
    """

    tip_id: str
    content: str | None
    source: str | None
    source_id: str | None
    raw_features: Mapping[str, Any]
    features: Sequence[float] | None
    mean: float
    width: float
    score: float
    probability: float
    excluded: bool
    explanation: CandidateExplanation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptReward:
    """The reward that stands for a decision."""

    reward: float
    applied: bool
    reason: str | None
    source: str
    ts: str
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptJudgement:
    """The turn that was taken as the decision's reward; label and confidence once there is a verdict."""

    judgement_id: str
    status: JudgementStatus
    label: str | None
    confidence: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptGeneration:
    """Where the pick was written; no id and no model where retention has taken the generation."""

    generation_id: str | None
    prompt_version: str
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptShadow:
    """What a policy in the shadow would have done with the decision; see :class:`~.shadows.Shadow` for the numbers."""

    policy: str
    policy_hash: str
    tip_id: str
    agrees: bool
    exploring: bool
    propensity: float
    weight: float
    probabilities: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionReceipt:
    """Everything that a decision was made of.

    Attributes:
        seed: the uniform draw u in [0, 1).
        floor: δ, the share of uniform picks.
        feature_labels: ``None`` if the schema is no longer configured.
        held: it was held back, and not activated.
        window_ends: until when its rewards count; ``None`` for ever.
        content_withheld: what was shown, and the features, are left out, for the caller may not see them.
    """

    decision_id: str
    user_id: str
    ts: str
    client: str
    policy: str
    policy_hash: str
    schema: str
    schema_hash: str
    tip_id: str
    score: float
    propensity: float
    exploring: bool
    seed: float
    floor: float
    context: Mapping[str, Any]
    feature_labels: Sequence[str] | None
    candidates: Sequence[ReceiptCandidate]
    reward: ReceiptReward | None
    judgement: ReceiptJudgement | None
    generation: ReceiptGeneration | None
    shadows: Sequence[ReceiptShadow]
    held: bool
    window_ends: str | None
    content_withheld: bool = False


async def load_history(deployment: ServiceContext, user_id: str) -> UserHistory:
    """The user's newest 100 decisions since the last reset, oldest first, with the raw values they were made on."""
    decisions = await deployment.store.list_history(user_id, HISTORY_LENGTH)
    return UserHistory(user_id=user_id, history=[_build_entry(deployment, decision) for decision in decisions])


async def load_receipt(deployment: ServiceContext, decision_id: str, *, explain: bool = False) -> DecisionReceipt:
    """Load the receipt of a decision: everything it was made from, enough to compute the same pick again.

    With K candidates that are not excluded, probability p, ``floor`` δ and ``seed`` u: where u < δ the pick is the one
    at ⌊K·u/δ⌋ among these; else the exploit branch g = (p − δ/K)/(1−δ) is inverted at (u−δ)/(1−δ).

    Args:
        deployment: where.
        decision_id: which.
        explain: say too what each candidate's mean is made of, by feature, as the user is believed to be now.

    Raises:
        UnknownDecisionError: no such decision.
    """
    decision = await deployment.store.find_receipt(decision_id)
    if decision is None or decision.numbers is None:
        message = "no such decision"
        raise UnknownDecisionError(message)
    request = json.loads(decision.body)
    candidates, excluded = request["candidates"], frozenset(request.get("exclude") or ())
    schema = deployment.catalogue.schemas.get(decision.policy.schema)
    if schema is not None and schema.hash == decision.policy.schema_hash:
        x = schema.encode(_get_context(request), schema.read_candidates(candidates))
        encoded, labels = x.tolist(), list(schema.labels)
    else:  # the encoding it was made under is no longer configured
        encoded, labels = [None] * len(candidates), None
    explanations: Sequence[CandidateExplanation | None] = [None] * len(candidates)
    theta = await load_theta(deployment, decision) if explain else None
    if theta is not None and schema is not None:
        context, features = _get_context(request), schema.read_candidates(candidates)
        explanations = await asyncio.to_thread(
            lambda: [explain_candidate(schema, theta, context, each) for each in features]
        )
    shadows = await deployment.store.load_shadows(decision)
    return DecisionReceipt(
        decision_id=decision.decision_id,
        user_id=decision.person,
        ts=format_time(decision.ts),
        client=decision.client,
        policy=decision.policy.name,
        policy_hash=decision.policy.hash,
        schema=decision.policy.schema,
        schema_hash=decision.policy.schema_hash,
        tip_id=decision.tip_id,
        score=decision.score,
        propensity=decision.propensity,
        exploring=decision.exploring,
        seed=decision.seed,
        floor=decision.floor,
        context=_get_context(request),
        feature_labels=labels,
        candidates=[
            ReceiptCandidate(
                tip_id=candidate["id"],
                content=candidate.get("content"),
                source=candidate.get("source"),
                source_id=candidate.get("source_id"),
                raw_features=candidate.get("features", {}),
                features=row,
                mean=mean,
                width=width,
                score=score,
                probability=p,
                excluded=candidate["id"] in excluded,
                explanation=explanation,
            )
            for candidate, row, (mean, width, score, p), explanation in zip(
                candidates, encoded, decision.numbers.T.tolist(), explanations, strict=True
            )
        ],
        reward=None if decision.reward is None else _build_reward(decision.reward),
        judgement=await _load_judgement(deployment, decision),
        generation=await _load_generation(deployment, decision),
        shadows=[
            _build_shadow(shadow, candidates[shadow.pick]["id"])
            for shadow in sorted(shadows, key=lambda shadow: shadow.policy.name)
        ],
        held=decision.window is not None and decision.window.held,
        window_ends=None if decision.window is None else format_time(decision.window.due),
    )


def _build_entry(deployment: ServiceContext, decision: Decision) -> HistoryEntry:
    request = json.loads(decision.body)
    context = _get_context(request)
    candidate = request["candidates"][decision.pick]
    schema = deployment.catalogue.schemas.get(decision.policy.schema)
    if schema is None:
        features = {**candidate.get("features", {}), **context}
    else:
        features = schema.raw_values(context, schema.read_candidates([candidate])[0])
    day = features.get("day_of_week")  # a deployment's own schema may not have it, or mean a name by it
    if decision.policy.name == EGREEDY_V1:  # the contract's first implementation kept it there, for this policy alone
        features = {**features, "exploring": decision.exploring}
    return HistoryEntry(
        ts=format_whole_seconds(decision.ts),
        features=features,
        score=decision.score,
        tip_id=decision.tip_id,
        decision_id=decision.decision_id,
        policy=decision.policy.name,
        exploring=decision.exploring,
        propensity=decision.propensity,
        day_of_week=day if isinstance(day, int) else None,
    )


def _build_reward(reward: Reward) -> ReceiptReward:
    return ReceiptReward(
        reward=reward.value,
        applied=reward.applied,
        reason=reward.reason,
        source=reward.source,
        ts=format_time(reward.ts),
        client=reward.client,
    )


async def _load_judgement(deployment: ServiceContext, decision: Decision) -> ReceiptJudgement | None:
    turn = await deployment.store.find_decision_turn(decision)
    if turn is None:
        return None
    verdict = await deployment.store.find_verdict(turn) or {}
    return ReceiptJudgement(
        judgement_id=turn.judgement_id,
        status=STATUS_OF_STATE[turn.state],
        label=verdict.get("label"),
        confidence=verdict.get("confidence"),
    )


async def _load_generation(deployment: ServiceContext, decision: Decision) -> ReceiptGeneration | None:
    origin = await deployment.store.find_origin(decision)
    if origin is None:
        return None
    return ReceiptGeneration(
        generation_id=origin.generation_id, prompt_version=origin.prompt.version, model=origin.model
    )


def _build_shadow(shadow: Shadow, tip_id: str) -> ReceiptShadow:
    return ReceiptShadow(
        policy=shadow.policy.name,
        policy_hash=shadow.policy.hash,
        tip_id=tip_id,
        agrees=shadow.agrees,
        exploring=shadow.exploring,
        propensity=shadow.propensity,
        weight=shadow.weight,
        probabilities=shadow.probabilities.tolist(),
    )


def _get_context(request: Mapping[str, Any]) -> Mapping[str, Any]:
    context: Mapping[str, Any] = request.get("context", {})
    return context
