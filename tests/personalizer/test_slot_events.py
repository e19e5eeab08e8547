"""Multi-slot calls on the wire."""

from typing import Any

import pytest

from tests.api.given import Service
from tests.personalizer.given import ACTIONS, BASE, CONTEXT, read_error

SLOTS: list[dict[str, Any]] = [
    {"id": "top", "baselineAction": "pasta", "features": [{"size": "large"}]},
    {"id": "side", "baselineAction": "salad", "excludedActions": ["pasta"]},
]


def build_body(**fields: Any) -> dict[str, Any]:
    return {"contextFeatures": CONTEXT, "actions": ACTIONS, "slots": SLOTS, **fields}


async def rank_slots(service: Service, **fields: Any) -> dict[str, Any]:
    answer = await service.post(f"{BASE}/multislot/rank", build_body(**fields))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def reward_slots(service: Service, event_id: str, *rewards: tuple[str, object], **headers: str) -> Any:
    body = {"reward": [{"slotId": slot, "value": value} for slot, value in rewards]}
    return await service.post(f"{BASE}/multislot/events/{event_id}/reward", body, **headers)


@pytest.mark.asyncio(loop_scope="module")
async def test_each_slot_shows_another_action(shared: Service) -> None:
    answer = await rank_slots(shared, eventId="page")
    assert answer["eventId"] == "page"
    assert [slot["id"] for slot in answer["slots"]] == ["top", "side"]
    shown = [slot["rewardActionId"] for slot in answer["slots"]]
    assert len(set(shown)) == 2
    assert shown[1] != "pasta"
    assert await rank_slots(shared, eventId="page") == answer
    assert (await shared.receipt("page#0"))["context"]["slotFeatures"] == {"size": "large"}
    assert "slotFeatures" not in (await shared.receipt("page#1"))["context"]


@pytest.mark.asyncio(loop_scope="module")
async def test_each_slot_is_rewarded_for_itself(shared: Service) -> None:
    await rank_slots(shared, eventId="rewarded")
    assert (await reward_slots(shared, "rewarded", ("side", 1.0))).status_code == 204
    assert (await reward_slots(shared, "rewarded", ("top", -0.5), ("side", 0.0))).status_code == 204
    assert (await shared.receipt("rewarded#0"))["reward"]["reward"] == -0.5
    assert (await shared.receipt("rewarded#1"))["reward"]["reward"] == 1.0
    assert (await shared.post(f"{BASE}/multislot/events/rewarded/activate", b"")).status_code == 204
    unknown = await reward_slots(shared, "rewarded", ("nowhere", 1.0))
    read_error(unknown, 400, "InvalidRewardRequest")


@pytest.mark.asyncio(loop_scope="module")
async def test_rewards_that_overtake_their_rank_call_are_taught(shared: Service) -> None:
    assert (await reward_slots(shared, "early", ("side", 0.75), ("nowhere", 1.0))).status_code == 204
    assert (await shared.post(f"{BASE}/multislot/events/early/activate", b"")).status_code == 204
    await rank_slots(shared, eventId="early")
    assert (await shared.receipt("early#1"))["reward"]["reward"] == 0.75
    assert (await shared.receipt("early#0"))["reward"] is None


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("slots", "names"),
    [
        (None, "slots"),
        ([], "slots"),
        ([*SLOTS, {"id": "a", "baselineAction": "ice cream"}, {"id": "b", "baselineAction": "x"}], "slots"),
        ([SLOTS[0], SLOTS[0]], "slots"),
        ([None], "slots[0]"),
        ([{"id": "", "baselineAction": "pasta"}], "slots[0].id"),
        ([{"id": "a"}], "slots[0].baselineAction"),
        ([{"id": "a", "baselineAction": "nobody"}], "slots[0].baselineAction"),
        ([{"id": "a", "baselineAction": "pasta", "excludedActions": ["pasta"]}], "slots[0].baselineAction"),
        ([{"id": "a", "baselineAction": "pasta", "excludedActions": ["nobody"]}], "slots[0].excludedActions"),
        ([{"id": "a", "baselineAction": "pasta", "features": [None]}], "slots[0].features"),
        ([SLOTS[0], {**SLOTS[1], "baselineAction": "pasta", "excludedActions": []}], "slots"),
    ],
)
async def test_bad_slots_are_refused_by_name(shared: Service, slots: object, names: str) -> None:
    answer = await shared.post(f"{BASE}/multislot/rank", build_body(slots=slots))
    assert names in read_error(answer, 400, "InvalidRankRequest")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("rewards", [None, [], [None], [{"slotId": "", "value": 1}], [{"slotId": "top", "value": 2}]])
async def test_bad_rewards_are_refused(shared: Service, rewards: object) -> None:
    answer = await shared.post(f"{BASE}/multislot/events/any/reward", {"reward": rewards})
    read_error(answer, 400, "InvalidRewardRequest")
