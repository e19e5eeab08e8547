"""Score and reward on the wire: from the request's bytes to the answer's.

Both ways in use these: the gate, which calls them straight (:mod:`bandstand.api.asgi.front`), and the framework's
routes, which OpenAPI describes. So there is one schema, one behaviour, one form of error.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from pydantic_core import from_json, to_json

from bandstand.api.asgi.hot_call import HotCall
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.schemas.requests import Wire, validate_id
from bandstand.judge.cascade import JudgeOffError
from bandstand.service import judgements, turns
from bandstand.service.context import ServiceContext
from bandstand.service.reward import RewardResult, begin_reward
from bandstand.service.score import ScoreResult, begin_score
from bandstand.service.score_slots import score_slots
from bandstand.store.outcomes import OutcomeCallback, watch

_OK, _ACCEPTED = 200, 202
_encode = msgspec.json.Encoder().encode  # in a third of pydantic's time

Answer = tuple[int, bytes]
"""Status and body."""
AnswerCallback = OutcomeCallback[Answer]
Handler = Callable[[HotCall, AnswerCallback], None]
"""Begins a call that has arrived whole, and tells of its answer."""


class _ScoreAnswer(Struct):
    """The answer to a score request, in the order of its fields."""

    tip_id: str
    score: float
    policy: str
    decision_id: str | None
    propensity: float
    exploring: bool
    ranking: list[dict[str, Any]] | UnsetType = UNSET


class HotPath:
    """The two calls that a product makes all day.

    Each is begun by a call, and its answer goes to a callback; faults of the request may be raised at once.
    """

    def __init__(self, deployment: ServiceContext, wire: Wire, metrics: Metrics) -> None:
        self._deployment = deployment
        self._wire = wire
        self._metrics = metrics

    def begin_score(self, call: HotCall, done: AnswerCallback) -> None:
        """Answer ``POST /score`` and ``POST /score/{policy}``."""
        request, body = self._wire.score.read(call.body)
        if "slots" in request:
            watch(self._fill_slots(call, request, body), done)
            return
        answer = partial(self._answer_score, request, body, done)
        begin_score(self._deployment, request, answer, body=body, client=call.permit.client, policy=call.permit.policy)

    def _answer_score(
        self,
        request: Mapping[str, Any],
        body: bytes,
        done: AnswerCallback,
        scored: ScoreResult | None,
        error: BaseException | None,
    ) -> None:
        if scored is None:
            done(None, error)
            return
        try:
            if not scored.repeated:
                self._metrics.record_decision(scored.policy, exploring=scored.exploring)
                health = self._deployment.feature_health
                if health.takes_next():
                    health.look_at(self._deployment.catalogue.policies[scored.policy], from_json(body))
            answer = _ScoreAnswer(
                scored.tip_id,
                scored.score,
                scored.policy,
                scored.decision_id,
                scored.propensity,
                scored.exploring,
            )
            if request.get("ranking"):
                answer.ranking = scored.build_ranking(request["candidates"])
            encoded = _encode(answer)
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            done(None, failure)
        else:
            done((_OK, encoded), None)

    async def _fill_slots(self, call: HotCall, request: dict[str, Any], body: bytes) -> Answer:
        """Answer a score request with slots: the first one's pick, and all of them."""
        deployment = self._deployment
        filled = await score_slots(deployment, request, client=call.permit.client, policy=call.permit.policy)
        if not filled.repeated:
            for slot in filled.slots:
                self._metrics.record_decision(filled.policy, exploring=slot.exploring)
            decided_by = deployment.catalogue.policies[filled.policy]
            deployment.feature_health.observe(decided_by, partial(from_json, body))
        first = {name: value for name, value in asdict(filled.slots[0]).items() if name != "slot"}
        slots = [asdict(slot) for slot in filled.slots]
        return _OK, to_json({**first, "policy": filled.policy, "slots": slots})

    def begin_reward(self, call: HotCall, done: AnswerCallback) -> None:
        """Answer ``POST /reward`` and ``POST /reward/{policy}``."""
        request, body = self._wire.reward.read(call.body)
        client, policy = call.permit.client, call.permit.policy
        if "features" in request and "decision_id" not in request:
            self._deployment.feature_health.observe_reward(partial(from_json, body))
        idempotency = None
        if (key := call.head.headers.get(b"idempotency-key")) is not None:
            scope = f"{client} /reward/{policy}" if policy else f"{client} /reward"
            idempotency = (scope, validate_id(key.decode("latin-1"), "Idempotency-Key"))
        if "turn" in request:
            watch(self._accept_turn(call, request, idempotency), done)
            return
        answer = partial(self._answer_reward, done)
        begin_reward(self._deployment, request, answer, client=client, policy=policy, idempotency=idempotency)

    def _answer_reward(self, done: AnswerCallback, taught: RewardResult | None, error: BaseException | None) -> None:
        if taught is None:
            done(None, error)
            return
        try:
            if not taught.repeated:
                self._metrics.record_reward(taught.policy, applied=taught.applied)
            answer = {
                "ok": True,
                "policy": taught.policy,
                "reward": taught.reward,
                "applied": taught.applied,
                "reason": taught.reason,
                "decision_id": taught.decision_id,
            }
            if taught.aggregate is not None:
                answer["aggregate"] = taught.aggregate
            encoded = _encode(answer)
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            done(None, failure)
        else:
            done((_OK, encoded), None)

    async def _accept_turn(self, call: HotCall, request: dict[str, Any], idempotency: tuple[str, str] | None) -> Answer:
        """Accept a turn as a reward: 202 once it is stored, or 200 with its verdict for a caller that waits for it."""
        judging = self._deployment.judge_worker
        if judging is None:
            raise JudgeOffError("This deployment judges nothing.")
        accepted = await turns.accept(
            self._deployment,
            judging,
            request,
            client=call.permit.client,
            policy=call.permit.policy,
            idempotency=idempotency,
        )
        judgement = accepted.judgement
        if request.get("wait") or b"wait=true" in call.permit.query.split(b"&"):
            judgement = await judging.wait_for_verdict(judgement)
            if judgement.state != "waiting":
                detail = await judgements.load_detail(judging, judgement)
                return _OK, to_json({"ok": True, **asdict(detail)})
        answer = {
            "ok": True,
            "judgement_id": judgement.judgement_id,
            "policy": judgement.policy.name,
            "decision_id": request.get("decision_id"),
        }
        return _ACCEPTED, to_json(answer)
