"""Score with slots: one decision a slot, in one commit, each with its probability given what stands in those before."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import to_builtins
from pydantic_core import to_json

from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.bandit.slots import list_slot_choices
from bandstand.errors import DecisionConflictError, FieldError, InvalidRequestError, StorageUnavailableError
from bandstand.learning.shadows import CapturedDecision
from bandstand.service.context import ServiceContext
from bandstand.service.request_identity import is_same_score_request
from bandstand.service.score_batch import count_try, find_profile, make_decision
from bandstand.store.protocol import MovedError
from bandstand.store.records import Decision

SLOT = "slot"
"""Where a slot's request says which one it is; it is read by nobody who decides."""


@dataclass(frozen=True, slots=True)
class SlotResult:
    """What one slot shows.

    Attributes:
        slot: the slot's id.
        propensity: the probability of the pick, given what the slots before it show.
    """

    slot: str
    decision_id: str
    tip_id: str
    score: float
    propensity: float
    exploring: bool


@dataclass(frozen=True, slots=True)
class SlotsResult:
    """What all slots show, in their order; ``repeated``: the same request came before, and these are its decisions."""

    policy: str
    slots: Sequence[SlotResult]
    repeated: bool


async def score_slots(
    deployment: ServiceContext, request: Mapping[str, Any], *, client: str, policy: str | None = None
) -> SlotsResult:
    """Fill ``request["slots"]`` from ``request["candidates"]``, no candidate twice.

    The decision of the nth slot is called by the request's own ``decision_id``, or one made for it, ``#`` and n from 0.
    Its request in the ledger is an ordinary one: the context with the slot's own fields over it, the slot's baseline
    first among the candidates, and excluded all that it could not show.

    Args:
        deployment: where.
        request: a validated score request with slots.
        client: name of the API key.
        policy: the policy to ask; ``None`` for the active one.

    Raises:
        UnknownPolicyError: no such policy.
        LearningModeError: the request names another policy than the baseline, and only that serves.
        InvalidRequestError: the slots cannot all be filled, or name an unknown candidate.
        DecisionConflictError: the caller's ``decision_id`` names another request.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
    """
    request = to_builtins(request)  # slots take parts of it for requests of their own
    slots = _read_slots(request)
    own_id: str | None = request.get("decision_id")
    named = None if policy is None else deployment.choose_policy(policy, request["user_id"]).name
    if own_id is not None and (earlier := await _find_earlier(deployment, slots, own_id, named)) is not None:
        return earlier
    tries, known, logged = 0, None, False
    while True:
        chosen = deployment.choose_policy(policy, request["user_id"])
        filled = await _fill(deployment, request, slots, client, chosen, is_named=policy is not None)
        decisions = [each.decision for each in filled]
        for decision in decisions:
            decision.tries, decision.known = tries, known
        try:
            logged = await deployment.store.decide_together(decisions)
        except MovedError as moved:  # another process has taught the user, or changed what all decide by
            tries, known = count_try(tries), moved.known
        else:
            break
    if logged:
        for each in filled:
            if each.captured is not None and deployment.shadows is not None:
                deployment.shadows.enqueue(each.captured)
        return _build_result(decisions, slots, repeated=False)
    if own_id is not None and (earlier := await _find_earlier(deployment, slots, own_id, named)) is not None:
        return earlier
    message = "the decisions collided with others; try again"
    raise StorageUnavailableError(message)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A slot of a request, read.

    Attributes:
        id: what it is called.
        request: the score request of this slot, but for what the slots before it show.
        allowed: places, in the request's order of candidates, of what it may show.
        order: places of the candidates in the slot's own order: its baseline first.
    """

    id: str
    request: Mapping[str, Any]
    allowed: frozenset[int]
    order: Sequence[int]


@dataclass(frozen=True, slots=True)
class _FilledSlot:
    decision: Decision
    captured: CapturedDecision | None


def _read_slots(request: Mapping[str, Any]) -> list[_Slot]:
    candidates: Sequence[Mapping[str, Any]] = request["candidates"]
    places = {candidate["id"]: place for place, candidate in enumerate(candidates)}
    excluded = _find_places(places, request.get("exclude", ()), "exclude")
    asked: Sequence[Mapping[str, Any]] = request["slots"]
    if len({slot["id"] for slot in asked}) < len(asked):
        raise _build_error("slots", "ids must differ from each other")
    slots = []
    for number, slot in enumerate(asked):
        own = _find_places(places, slot.get("exclude", ()), f"slots.{number}.exclude")
        baseline = _find_places(places, [slot["baseline"]] if "baseline" in slot else (), f"slots.{number}.baseline")
        order = [*baseline, *(place for place in range(len(candidates)) if place not in baseline)]
        shared = {name: request[name] for name in ("user_id", "defer") if name in request}
        context = {**request.get("context", {}), **slot.get("context", {})}
        own_request = {**shared, "candidates": [candidates[place] for place in order], "context": context}
        allowed = frozenset(places.values()) - excluded - own
        slots.append(_Slot(slot["id"], {**own_request, SLOT: slot["id"]}, allowed, order))
    return slots


def _find_places(places: Mapping[str, int], ids: Sequence[str], field: str) -> frozenset[int]:
    if not all(each in places for each in ids):
        raise _build_error(field, "names no candidate")
    return frozenset(places[each] for each in ids)


def _build_error(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field}: {message}", [FieldError(field, message)])


def _build_request(slot: _Slot, decision_id: str, choices: Sequence[int]) -> dict[str, Any]:
    """The slot's score request, now that it is known what it may show."""
    request = {**slot.request, "decision_id": decision_id}
    if len(choices) < len(slot.order):
        places = zip(slot.order, request["candidates"], strict=True)
        request["exclude"] = [candidate["id"] for place, candidate in places if place not in choices]
    return request


async def _fill(
    deployment: ServiceContext,
    request: Mapping[str, Any],
    slots: Sequence[_Slot],
    client: str,
    policy: Policy,
    *,
    is_named: bool,
) -> list[_FilledSlot]:
    """Decide slot by slot, once the user is in memory; no await lies between the first number and the return."""
    profile = await _load_profile(deployment, request["user_id"])
    decision_id: str | None = request.get("decision_id")
    filled: list[_FilledSlot] = []
    taken: list[int] = []
    for number, slot in enumerate(slots):
        choices = list_slot_choices([each.allowed for each in slots[number:]], taken)
        if not choices:
            raise _build_error("slots", "cannot all be filled, each with a candidate of its own")
        if decision_id is None:
            decision_id = deployment.decision_ids.next(deployment.store.next_seq(deployment.clock()))
        asked = _build_request(slot, f"{decision_id}#{number}", choices)
        decision = make_decision(deployment, asked, to_json(asked), client, policy, profile)
        if not is_named and deployment.running_experiment is not None:
            decision.experiment = deployment.running_experiment.seq
        shadows = deployment.shadows
        captured = None if shadows is None else shadows.capture(decision, profile, asked)
        filled.append(_FilledSlot(decision, captured))
        taken.append(slot.order[decision.pick])
    return filled


async def _load_profile(deployment: ServiceContext, user_id: str) -> Profile:
    owner = deployment.get_owner(user_id)
    while (profile := find_profile(deployment.store, user_id, owner)) is None:
        for needed in dict.fromkeys((user_id, owner)):
            await deployment.store.load_profile(needed)
    return profile


async def _find_earlier(
    deployment: ServiceContext, slots: Sequence[_Slot], own_id: str, policy: str | None
) -> SlotsResult | None:
    """The first answer, if the request is the same; ``None`` if there was none.

    Raises:
        DecisionConflictError: the id names another request.
    """
    first = await deployment.store.find_receipt(f"{own_id}#0")
    if first is None:
        return None
    others = [await deployment.store.find_receipt(f"{own_id}#{number}") for number in range(1, len(slots) + 1)]
    decisions = [first, *(each for each in others if each is not None)]
    is_other = len(decisions) != len(slots) or policy not in {None, first.policy.name}
    if is_other or not _is_same_request(deployment, decisions, slots, own_id):
        message = "this decision_id already names another request"
        raise DecisionConflictError(message)
    return _build_result(decisions, slots, repeated=True)


def _is_same_request(
    deployment: ServiceContext, decisions: Sequence[Decision], slots: Sequence[_Slot], own_id: str
) -> bool:
    """Whether slots that read the same would have been filled by these very requests."""
    taken: list[int] = []
    for number, (decision, slot) in enumerate(zip(decisions, slots, strict=True)):
        logged = json.loads(decision.body)
        choices = list_slot_choices([each.allowed for each in slots[number:]], taken)
        asked = _build_request(slot, f"{own_id}#{number}", choices)
        if logged.get(SLOT) != slot.id or not is_same_score_request(deployment.catalogue, logged, asked):
            return False
        taken.append(slot.order[decision.pick])
    return True


def _build_result(decisions: Sequence[Decision], slots: Sequence[_Slot], *, repeated: bool) -> SlotsResult:
    results = [
        SlotResult(slot.id, each.decision_id, each.tip_id, each.score, each.propensity, each.exploring)
        for slot, each in zip(slots, decisions, strict=True)
    ]
    return SlotsResult(decisions[0].policy.name, results, repeated)
