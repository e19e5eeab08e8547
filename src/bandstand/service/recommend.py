"""Recommend: write tips and pick one of them, in one call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bandstand.service.context import ServiceContext
from bandstand.service.generate import TipWriting, WrittenTips, generate
from bandstand.service.score import ScoreResult, score


@dataclass(frozen=True, slots=True)
class RecommendResult:
    """Tips and the pick among them; no pick where no tip was written."""

    written: WrittenTips
    scored: ScoreResult | None

    def to_response(self) -> dict[str, Any]:
        """What the wire says of it: the pick as ``/score`` does, then everything that ``/generate`` does."""
        scored = self.scored
        pick = ("tip_id", "score", "policy", "decision_id", "propensity", "exploring")
        candidates = self.written.candidates
        return {
            **{name: None if scored is None else getattr(scored, name) for name in pick},
            "ranking": [] if scored is None else scored.build_ranking(candidates),
            **self.written.to_response(),
        }


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
        return RecommendResult(written, None)
    context = request.get("context", {})
    to_score = {
        "user_id": request["user_id"],
        "candidates": written.candidates,
        "context": {name: context[name] for name in deployment.catalogue.context_fields if name in context},
    }
    return RecommendResult(
        written, await score(deployment, to_score, body=json.dumps(to_score).encode(), client=client)
    )
