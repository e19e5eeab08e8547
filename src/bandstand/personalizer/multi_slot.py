"""Multi-slot rank calls, as score requests with slots: how they are parsed, and their rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from bandstand.personalizer.rank import (
    MAX_ACTIONS,
    RankedAction,
    parse_actions,
    parse_boolean,
    parse_context,
    parse_event_id,
    parse_excluded,
    parse_features,
    parse_id,
    refuse_rank,
    to_candidate,
)

_SLOT_FEATURES = "slotFeatures"
"""Under which a slot's features stand in the context of its decision."""


@dataclass(frozen=True, slots=True)
class RankedSlot:
    """A slot of a call.

    Attributes:
        excluded: ids of actions that it may not show.
        baseline: id of the action that stands there without any policy.
    """

    id: str
    features: Mapping[str, Any]
    excluded: frozenset[str]
    baseline: str


@dataclass(frozen=True, slots=True)
class MultiSlotCall:
    """A multi-slot rank call, validated; see :class:`bandstand.personalizer.rank.RankCall`."""

    event_id: str
    is_own_id: bool
    context: Mapping[str, Any]
    actions: Sequence[RankedAction]
    slots: Sequence[RankedSlot]
    deferred: bool

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "MultiSlotCall":
        """Read a body.

        Raises:
            PersonalizerError: it is no such call; says which part of it is at fault.
        """
        actions = parse_actions(body.get("actions"))
        event_id = parse_event_id(body.get("eventId"))
        return cls(
            event_id=event_id or str(uuid4()),
            is_own_id=event_id is not None,
            context=parse_context(body.get("contextFeatures")),
            actions=actions,
            slots=_parse_slots(body.get("slots"), frozenset(action.id for action in actions)),
            deferred=parse_boolean(body.get("deferActivation"), "deferActivation"),
        )

    def to_score_request(self, user_id: str) -> dict[str, Any]:
        """The same as ``POST /score`` has it."""
        request: dict[str, Any] = {
            "user_id": user_id,
            "candidates": [to_candidate(action) for action in self.actions],
            "context": self.context,
            "decision_id": self.event_id,
            "slots": [_to_slot(slot) for slot in self.slots],
        }
        return {**request, "defer": True} if self.deferred else request


def _to_slot(slot: RankedSlot) -> dict[str, Any]:
    context = {_SLOT_FEATURES: slot.features} if slot.features else {}
    return {"id": slot.id, "context": context, "exclude": sorted(slot.excluded), "baseline": slot.baseline}


def _parse_slots(value: object, actions: frozenset[str]) -> list[RankedSlot]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ACTIONS:
        raise refuse_rank(f"slots: must be a list of 1 to {MAX_ACTIONS} slots")
    if len(value) > len(actions):
        raise refuse_rank("slots: there must be at least as many actions as slots")
    slots = [_parse_slot(each, f"slots[{number}]", actions) for number, each in enumerate(value)]
    if len({slot.id for slot in slots}) < len(slots):
        raise refuse_rank("slots: ids must differ from each other")
    if len({slot.baseline for slot in slots}) < len(slots):
        raise refuse_rank("slots: baseline actions must differ from each other")
    return slots


def _parse_slot(value: object, place: str, actions: frozenset[str]) -> RankedSlot:
    if not isinstance(value, Mapping):
        raise refuse_rank(f"{place}: must be an object")
    excluded = parse_excluded(value.get("excludedActions"), f"{place}.excludedActions")
    if not excluded <= actions:
        raise refuse_rank(f"{place}.excludedActions: must hold ids of the call's actions alone")
    baseline = parse_id(value.get("baselineAction"), f"{place}.baselineAction")
    if baseline not in actions:
        raise refuse_rank(f"{place}.baselineAction: must be one of the call's actions")
    if baseline in excluded:
        raise refuse_rank(f"{place}.baselineAction: must not be excluded from its slot")
    features = value.get("features")
    return RankedSlot(
        id=parse_id(value.get("id"), f"{place}.id"),
        features={} if features is None else parse_features(features, f"{place}.features"),
        excluded=excluded,
        baseline=baseline,
    )
