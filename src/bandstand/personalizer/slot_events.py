"""The multi-slot calls: an event with slots is one decision of ours a slot, called by the event's id and a number."""

import json

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.api.asgi.metrics import Metrics
from bandstand.errors import DecisionConflictError, InvalidRequestError
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.events import EventCalls, find_user, parse_event_id, parse_reward_value
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.multi_slot import MultiSlotCall
from bandstand.personalizer.orphans import OrphanReward
from bandstand.personalizer.rank import MAX_ACTIONS, refuse_rank
from bandstand.personalizer.routing import PersonalizerRequest
from bandstand.service.score_slots import SLOT, SlotsResult, score_slots

_INVALID_REWARD = "InvalidRewardRequest"


class SlotEventCalls:
    """Answers the multi-slot calls.

    Args:
        loop: what decides and learns.
        metrics: where it counts.
        events: answers the calls about single events, and teaches.
    """

    def __init__(self, loop: PersonalizerLoop, metrics: Metrics, events: EventCalls) -> None:
        self._loop = loop
        self._metrics = metrics
        self._events = events

    async def rank(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/multislot/rank``."""
        call = MultiSlotCall.parse(await request.read_object("InvalidRankRequest"))
        filled = await self._fill(request, call)
        slots = [{"id": slot.slot, "rewardActionId": slot.tip_id} for slot in filled.slots]
        if call.is_own_id and not filled.repeated:
            await self._events.teach_orphans(call.event_id, {slot.slot: slot.decision_id for slot in filled.slots})
        return request.answer(201, {"slots": slots, "eventId": call.event_id, "policy": filled.policy})

    async def reward(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/multislot/events/{id}/reward``."""
        body = await request.read_object(_INVALID_REWARD)
        event_id = parse_event_id(request, _INVALID_REWARD)
        rewards = self._parse_rewards(request, body.get("reward"))
        decisions = await self._find_decisions(event_id)
        if decisions and not all(reward.slot in decisions for reward in rewards):
            raise PersonalizerError(400, _INVALID_REWARD, "reward: names a slot that the event has not")
        for reward in rewards:
            if decisions:
                await self._events.teach(decisions[reward.slot], reward)
            else:
                self._events.keep_orphan(event_id, reward)
        return request.answer(204)

    async def activate(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/multislot/events/{id}/activate``: all slots at once."""
        event_id = parse_event_id(request, "InvalidEventIdToActivate")
        decisions = await self._find_decisions(event_id)
        for decision_id in decisions.values():
            await self._loop.activate(decision_id, request.inner.client)
        if not decisions:
            self._metrics.record_unknown_event("activate")
        return request.answer(204)

    async def _fill(self, request: PersonalizerRequest, call: MultiSlotCall) -> SlotsResult:
        asked = call.to_score_request(find_user(request, self._loop, call.context))
        self._loop.check_fields(asked)
        deployment = self._loop.deployment
        try:
            filled = await score_slots(deployment, asked, client=request.inner.client)
        except DecisionConflictError:
            raise refuse_rank("eventId: already names another rank request") from None
        except InvalidRequestError as error:
            raise refuse_rank(error.detail) from None
        if not filled.repeated:
            for slot in filled.slots:
                self._metrics.record_decision(filled.policy, exploring=slot.exploring)
            deployment.feature_health.observe(deployment.catalogue.policies[filled.policy], lambda: asked)
        return filled

    def _parse_rewards(self, request: PersonalizerRequest, value: object) -> list[OrphanReward]:
        if not isinstance(value, list) or not 0 < len(value) <= MAX_ACTIONS:
            raise PersonalizerError(400, _INVALID_REWARD, f"reward: must be a list of 1 to {MAX_ACTIONS} rewards")
        rewards = []
        for number, each in enumerate(value):
            if not isinstance(each, dict) or not isinstance(each.get("slotId"), str) or not each["slotId"]:
                raise PersonalizerError(400, _INVALID_REWARD, f"reward[{number}].slotId: must be the id of a slot")
            given = parse_reward_value(each.get("value"), f"reward[{number}].value")
            rewards.append(self._events.build_reward(request, given, each["slotId"]))
        return rewards

    async def _find_decisions(self, event_id: str) -> dict[str, str]:
        """Ids of the event's decisions by slot; none where the event is unknown."""
        decisions: dict[str, str] = {}
        for number in range(MAX_ACTIONS):
            found = await self._loop.deployment.store.find_receipt(f"{event_id}#{number}")
            if found is None:
                break
            decisions[json.loads(found.body)[SLOT]] = found.decision_id
        return decisions
