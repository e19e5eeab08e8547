"""Rank, reward and activate: an event of Personalizer's is a decision of ours, and its id the decision's."""

from collections.abc import Mapping
from typing import Any

import structlog
from pydantic_core import to_json

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.schemas.requests import validate_id
from bandstand.bandit.rewards import validate_reward
from bandstand.errors import (
    AlreadyRewardedError,
    BandstandError,
    DecisionConflictError,
    IdempotencyMismatchError,
    InvalidRequestError,
    UnknownDecisionError,
)
from bandstand.personalizer.errors import CLIENT_REQUEST_ID, PersonalizerError
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.orphans import OrphanReward, OrphanRewards
from bandstand.personalizer.rank import RankCall, order_ranking, refuse_rank
from bandstand.personalizer.routing import PersonalizerRequest
from bandstand.service import reward, score
from bandstand.service.score import ScoreResult
from bandstand.store.tables.judgements import RewardPendingError

_USER = b"x-bandstand-user"
_SETTLED = (AlreadyRewardedError, IdempotencyMismatchError, RewardPendingError)

log = structlog.get_logger("bandstand.personalizer")


class EventCalls:
    """Answers the calls about single events."""

    def __init__(self, loop: PersonalizerLoop, metrics: Metrics, orphans: OrphanRewards) -> None:
        self._loop = loop
        self._metrics = metrics
        self._orphans = orphans

    async def rank(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/rank``."""
        call = RankCall.parse(await request.read_object("InvalidRankRequest"))
        asked = call.to_score_request(find_user(request, self._loop, call.context))
        scored = await self._score(request, asked)
        assert scored.numbers is not None  # noqa: S101 (the store gave the decision in full)
        probabilities = scored.numbers[3].tolist()
        ids = [action.id for action in call.actions]
        order = order_ranking(ids, probabilities, ids.index(scored.tip_id), call.excluded)
        answer: dict[str, Any] = {
            "ranking": [{"id": ids[index], "probability": probabilities[index]} for index in order],
            "eventId": call.event_id,
            "rewardActionId": scored.tip_id,
            "policy": scored.policy,
            "exploring": scored.exploring,
        }
        if self._loop.explains:
            answer["inferenceExplanation"] = await self._loop.explain_pick(asked, scored.tip_id)
        if call.is_own_id and not scored.repeated:
            await self.teach_orphans(call.event_id, {"": call.event_id})
        return request.answer(201, answer)

    async def reward(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/events/{id}/reward``."""
        body = await request.read_object("InvalidRewardRequest")
        value = parse_reward_value(body.get("value"), "value")
        event_id = parse_event_id(request, "InvalidRewardRequest")
        await self.teach(event_id, self.build_reward(request, value))
        return request.answer(204)

    async def activate(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/events/{id}/activate``."""
        event_id = parse_event_id(request, "InvalidEventIdToActivate")
        if not await self._loop.activate(event_id, request.inner.client):
            self._metrics.record_unknown_event("activate")
        return request.answer(204)

    def build_reward(self, request: PersonalizerRequest, value: float, slot: str = "") -> OrphanReward:
        """A reward on its way to its event."""
        request_id = request.inner.headers.get(CLIENT_REQUEST_ID, b"").decode("latin-1")
        expires = self._loop.clock() + self._loop.reward_wait_s
        return OrphanReward(value, request.inner.client, request_id, expires, slot)

    async def teach(self, event_id: str, given: OrphanReward) -> None:
        """Teach a reward; keep it for a while where its event is unknown."""
        try:
            await self._teach(event_id, given)
        except UnknownDecisionError:
            self.keep_orphan(event_id, given)

    def keep_orphan(self, event_id: str, given: OrphanReward) -> None:
        """Keep a reward of an unknown event for a while."""
        self._metrics.record_unknown_event("reward")
        self._orphans.add(event_id, given)

    async def teach_orphans(self, event_id: str, decisions: Mapping[str, str]) -> None:
        """Teach what came before an event did.

        Args:
            event_id: the event.
            decisions: ids of its decisions by slot; of an event without, the one of "".
        """
        for given in self._orphans.take(event_id, self._loop.clock()):
            try:
                if given.slot in decisions:
                    await self._teach(decisions[given.slot], given)
            except BandstandError as error:  # the rank call is answered all the same
                log.warning("a reward that came first is lost", code=error.code)

    async def _teach(self, decision_id: str, given: OrphanReward) -> None:
        """Teach a reward of a known decision, once for its client's request id.

        Raises:
            UnknownDecisionError: there is no such event.
            PersonalizerError: the loop takes no such reward.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """
        scope = f"{given.client} /personalizer/events/{decision_id}"
        idempotency = (scope, given.request_id) if given.request_id else None
        asked = {"decision_id": decision_id, "reward": given.value}
        deployment = self._loop.deployment
        try:
            taught = await reward.reward(deployment, asked, client=given.client, idempotency=idempotency)
        except _SETTLED:  # a second reward is answered, and changes nothing
            return
        except InvalidRequestError as error:  # the loop's own range may be narrower
            raise PersonalizerError(400, "InvalidRewardRequest", error.detail) from None
        if not taught.repeated:
            self._metrics.record_reward(taught.policy, applied=taught.applied)

    async def _score(self, request: PersonalizerRequest, asked: Mapping[str, Any]) -> ScoreResult:
        deployment = self._loop.deployment
        self._loop.check_fields(asked)
        try:
            scored = await score.score(deployment, asked, body=to_json(asked), client=request.inner.client)
        except DecisionConflictError:
            raise refuse_rank("eventId: already names another rank request") from None
        except InvalidRequestError as error:
            raise refuse_rank(error.detail) from None
        if not scored.repeated:
            self._metrics.record_decision(scored.policy, exploring=scored.exploring)
            decided_by = deployment.catalogue.policies[scored.policy]
            deployment.feature_health.observe(decided_by, lambda: asked)
        return scored


def find_user(request: PersonalizerRequest, loop: PersonalizerLoop, context: Mapping[str, Any]) -> str:
    """Whose model answers: everybody's, or that of the user whom a header names, or else the context.

    Raises:
        PersonalizerError: what should name a user names nobody.
    """
    named = request.inner.headers.get(_USER)
    if named is None:
        return loop.find_user(context) or loop.everybody
    try:
        return validate_id(named.decode("utf-8"), "x-bandstand-user")
    except (UnicodeDecodeError, InvalidRequestError):
        raise refuse_rank("x-bandstand-user: must be an id of 1 to 256 characters") from None


def parse_reward_value(value: object, place: str) -> float:
    """A reward.

    Raises:
        PersonalizerError: it is no number from −1 to 1.
    """
    try:
        return validate_reward(value)
    except InvalidRequestError:
        raise PersonalizerError(400, "InvalidRewardRequest", f"{place}: must be a number from -1 to 1") from None


def parse_event_id(request: PersonalizerRequest, wire_code: str) -> str:
    """The event that a path names.

    Raises:
        PersonalizerError: it is no id.
    """
    try:
        return validate_id(request.id, "eventId")
    except InvalidRequestError as error:
        raise PersonalizerError(400, wire_code, error.detail) from None
