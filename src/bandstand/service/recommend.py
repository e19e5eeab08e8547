"""Recommend: write tips and pick one of them, in one call."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bandstand.service.context import ServiceContext
from bandstand.service.generate import TipWriting, WrittenTips, generate
from bandstand.service.score import score

_FOR_PROMPTS = frozenset({"tasks", "extra"})


@dataclass(frozen=True, kw_only=True)
class TipPick:
    """The pick among tips as ``/score`` says it; ``None`` and no ranking where no tip was written."""

    tip_id: str | None = None
    score: float | None = None
    policy: str | None = None
    decision_id: str | None = None
    propensity: float | None = None
    exploring: bool | None = None
    ranking: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class RecommendResult(WrittenTips, TipPick):
    """The pick, then everything that ``/generate`` says of the tips."""


async def recommend(
    deployment: ServiceContext, writing: TipWriting, request: Mapping[str, Any], *, client: str
) -> RecommendResult:
    """Write up to ``request["n"]`` tips for ``request["user_id"]`` and pick one with the active policy.

    The decision's body in the ledger is what ``/score`` would have been sent: the candidates and the context that the
    schemas read, not the tasks.

    Raises:
        BandstandError: as :func:`bandstand.service.generate.generate` and :func:`bandstand.service.score.score` raise.
    """
    written = await generate(deployment, writing, request, client=client)
    if not written.candidates:
        return RecommendResult(**vars(written))
    context = request.get("context", {})
    candidates = [asdict(candidate) for candidate in written.candidates]
    to_score = {
        "user_id": request["user_id"],
        "candidates": candidates,
        "context": {name: context[name] for name in deployment.catalogue.context_fields if name in context},
    }
    scored = await score(deployment, to_score, body=json.dumps(to_score).encode(), client=client)
    return RecommendResult(
        **vars(written),
        tip_id=scored.tip_id,
        score=scored.score,
        policy=scored.policy,
        decision_id=scored.decision_id,
        propensity=scored.propensity,
        exploring=scored.exploring,
        ranking=scored.build_ranking(candidates),
    )


def observe_recommendation(deployment: ServiceContext, request: Mapping[str, Any], result: RecommendResult) -> None:
    """Count what tasks and context brought of what the policy reads; the rest of a task is for the prompt."""
    if result.policy is None:
        return
    context = {name: value for name, value in request.get("context", {}).items() if name not in _FOR_PROMPTS}
    candidates = [{"content": tip.content, "features": tip.features} for tip in result.candidates]
    policy = deployment.catalogue.policies[result.policy]
    deployment.feature_health.observe(policy, lambda: {"candidates": candidates, "context": context})
