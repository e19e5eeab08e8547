"""Score and reward on the wire: from the request's bytes to the answer's.

Both ways in use these: the gate, which calls them straight (:mod:`bandstand.api.gate`), and the framework's routes,
which OpenAPI describes. So there is one schema, one behaviour, one form of error.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from bandstand.api.metrics import Metrics
from bandstand.api.wire import Wire, checked_id, parsed
from bandstand.service import reward, score
from bandstand.service.deployment import Deployment


class HotPath:
    """The two calls that a product makes all day."""

    def __init__(self, deployment: Deployment, wire: Wire, metrics: Metrics) -> None:
        self._deployment = deployment
        self._wire = wire
        self._metrics = metrics

    async def score(self, body: bytes, headers: Mapping[bytes, bytes], client: str, policy: str | None) -> bytes:  # noqa: ARG002 (one signature for both)
        """Answer ``POST /score`` and ``POST /score/{policy}``."""
        request = parsed(self._wire.score, body)
        scored = await score.score(self._deployment, request, body=body, client=client, policy=policy)
        if not scored.repeated:
            self._metrics.decision(scored.policy, exploring=scored.exploring)
        answer: dict[str, Any] = {
            "tip_id": scored.tip_id,
            "score": scored.score,
            "policy": scored.policy,
            "decision_id": scored.decision_id,
            "propensity": scored.propensity,
            "exploring": scored.exploring,
        }
        if request.get("ranking"):
            answer["ranking"] = scored.ranking(request["candidates"])
        return to_json(answer)

    async def reward(self, body: bytes, headers: Mapping[bytes, bytes], client: str, policy: str | None) -> bytes:
        """Answer ``POST /reward`` and ``POST /reward/{policy}``."""
        request = parsed(self._wire.reward, body)
        idempotency = None
        if (key := headers.get(b"idempotency-key")) is not None:
            scope = f"{client} /reward/{policy}" if policy else f"{client} /reward"
            idempotency = (scope, checked_id(key.decode("latin-1"), "Idempotency-Key"))
        taught = await reward.reward(self._deployment, request, client=client, policy=policy, idempotency=idempotency)
        if not taught.repeated:
            self._metrics.reward(taught.policy, applied=taught.applied)
        return to_json(
            {
                "ok": True,
                "policy": taught.policy,
                "reward": taught.reward,
                "applied": taught.applied,
                "reason": taught.reason,
                "decision_id": taught.decision_id,
            }
        )
