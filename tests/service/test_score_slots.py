"""Score with slots: no candidate twice, one decision a slot, logged together, each with its own probability."""

import asyncio
import json
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import pytest

from bandstand.errors import DecisionConflictError, InvalidRequestError
from bandstand.service.history import load_receipt
from bandstand.service.score_slots import SlotsResult, score_slots
from tests.service.given import Service

Slots = list[dict[str, Any]]
THREE: Slots = [{"id": "top"}, {"id": "side", "exclude": ["tip-0"]}, {"id": "foot"}]


async def fill(service: Service, slots: Slots, policy: str | None = None, **fields: Any) -> SlotsResult:
    request = service.request(**fields) | {"slots": slots}
    return await score_slots(service.deployment, request, client="tests", policy=policy)


async def test_no_candidate_stands_twice_and_each_slot_is_a_decision(service: Service) -> None:
    filled = await fill(service, THREE, decision_id="page")
    assert [slot.slot for slot in filled.slots] == ["top", "side", "foot"]
    assert [slot.decision_id for slot in filled.slots] == ["page#0", "page#1", "page#2"]
    assert len({slot.tip_id for slot in filled.slots}) == 3
    assert filled.slots[1].tip_id != "tip-0"
    before: set[str] = set()
    for slot in filled.slots:
        receipt = await load_receipt(service.deployment, slot.decision_id)
        probabilities = {each.tip_id: each.probability for each in receipt.candidates}
        assert probabilities[slot.tip_id] == slot.propensity > 0
        assert sum(probabilities.values()) == pytest.approx(1.0)
        assert all(probabilities[shown] == 0 for shown in before)
        before.add(slot.tip_id)
    profile = await service.deployment.store.load_profile("anna")
    assert sum(state.pulls for state in profile.policies.values()) == 3


async def test_the_product_of_the_propensities_is_that_of_the_placement(service: Service) -> None:
    """Of a uniform policy every placement is equally likely, and as often drawn as it says."""
    request = service.request(count=3) | {"slots": [{"id": "a"}, {"id": "b"}]}
    policy = next(name for name, each in service.deployment.catalogue.policies.items() if each.kind == "uniform")
    drawn: dict[tuple[str, ...], int] = {}
    for number in range(600):
        filled = await score_slots(
            service.deployment, request | {"decision_id": f"d{number}"}, client="tests", policy=policy
        )
        assert prod(slot.propensity for slot in filled.slots) == pytest.approx(1 / 6)
        placement = tuple(slot.tip_id for slot in filled.slots)
        drawn[placement] = drawn.get(placement, 0) + 1
    assert set(drawn) == set(permutations([f"tip-{number}" for number in range(3)], 2))
    counts = np.array(list(drawn.values()))
    assert ((counts - 100) ** 2 / 100).sum() < 35.9  # χ² of 5 degrees of freedom, p = 1e-6: each run has its own secret


async def test_the_same_request_is_answered_the_same_and_another_refused(service: Service) -> None:
    request = service.request(decision_id="mine") | {"slots": THREE}
    first, *others = await asyncio.gather(*(score_slots(service.deployment, request, client="tests") for _ in range(4)))
    assert all(other.slots == first.slots for other in others)
    assert sum(not each.repeated for each in (first, *others)) == 1
    await service.reopen()
    assert (await score_slots(service.deployment, request, client="tests")).slots == first.slots
    for slots in (
        THREE[:2],
        [*THREE, {"id": "more"}],
        [*THREE[:2], {"id": "other"}],
        [{"id": "top"}, *THREE[1:]][::-1],
    ):
        with pytest.raises(DecisionConflictError):
            await score_slots(service.deployment, request | {"slots": slots}, client="tests")


async def test_a_slot_has_its_own_context_baseline_and_exclusions_in_the_ledger(service: Service) -> None:
    slots: Slots = [{"id": "top", "context": {"hour_of_day": 3}, "baseline": "tip-2", "exclude": ["tip-1"]}]
    filled = await fill(service, slots, decision_id="page")
    receipt = await load_receipt(service.deployment, "page#0")
    assert receipt.context["hour_of_day"] == 3
    assert [each.tip_id for each in receipt.candidates] == ["tip-2", "tip-0", "tip-1", "tip-3"]
    decision = await service.deployment.store.find_receipt("page#0")
    assert decision is not None
    logged = json.loads(decision.body)
    assert (logged["slot"], logged["exclude"], "slots" in logged) == ("top", ["tip-1"], False)
    assert filled.slots[0].tip_id != "tip-1"


async def test_a_pick_leaves_the_later_slots_something_to_show(service: Service) -> None:
    only_last: Slots = [{"id": "a"}, {"id": "b", "exclude": ["tip-0", "tip-1", "tip-2"]}]
    for number in range(30):
        filled = await fill(service, only_last, decision_id=f"d{number}")
        assert filled.slots[1].tip_id == "tip-3"


@pytest.mark.parametrize(
    "slots",
    [
        [{"id": "a"}, {"id": "a"}],
        [{"id": "a", "exclude": ["nobody"]}],
        [{"id": "a", "baseline": "nobody"}],
        [{"id": str(number)} for number in range(5)],
        [{"id": name, "exclude": ["tip-1", "tip-2", "tip-3"]} for name in "ab"],
    ],
)
async def test_slots_that_cannot_be_filled_are_refused_and_leave_no_trace(service: Service, slots: Slots) -> None:
    with pytest.raises(InvalidRequestError):
        await fill(service, slots)
    assert await service.deployment.store.count_users() == 0
