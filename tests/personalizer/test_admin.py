"""Service configuration and policy on the wire: state of the loop, changed while it runs, with nothing forgotten."""

from typing import Any

import pytest

from tests.api.given import Service, read_ok
from tests.personalizer.given import LOOP, LOOP_BASE, make_loop, rank, rank_body, read_error, reward

PUT_SERVICE = f"{LOOP_BASE}/configurations/service"
QUERY = {"api-version": "2022-09-01-preview"}
PUT_POLICY = f"{LOOP_BASE}/configurations/policy"


async def put(service: Service, path: str, body: object) -> Any:
    return await service.client.put(path, json=body)


async def get_service(service: Service) -> dict[str, Any]:
    return read_ok(await service.get(PUT_SERVICE))


async def test_a_new_loop_has_the_defaults_of_a_new_resource(service: Service) -> None:
    await make_loop(service)
    configuration = await get_service(service)
    assert configuration.pop("lastConfigurationEditDate").endswith("Z")
    assert configuration == {
        "rewardWaitTime": "PT10M",
        "defaultReward": 0.0,
        "rewardAggregation": "earliest",
        "explorationPercentage": 0.2,
        "modelExportFrequency": "PT5M",
        "logMirrorEnabled": False,
        "logMirrorSasUri": None,
        "logRetentionDays": 90,
        "learningMode": "Online",
        "isAutoOptimizationEnabled": False,
        "autoOptimizationFrequency": "P7D",
        "autoOptimizationStartDate": "1970-01-01T00:00:00Z",
        "isInferenceExplainabilityEnabled": False,
        "modelRetrainDays": 0,
    }


async def test_a_configuration_is_the_loop_s_and_what_was_learned_stays(service: Service) -> None:
    await make_loop(service)
    await rank(service, LOOP_BASE, eventId="before")
    await reward(service, "before", 1.0, base=LOOP_BASE)
    whole = await get_service(service) | {"explorationPercentage": 0.5, "isInferenceExplainabilityEnabled": True}
    answer = await put(service, PUT_SERVICE, whole)
    assert read_ok(answer)["explorationPercentage"] == 0.5
    assert (await put(service, PUT_SERVICE, {"modelExportFrequency": "PT1M"})).status_code == 200
    configuration = await get_service(service)
    assert (configuration["explorationPercentage"], configuration["modelExportFrequency"]) == (0.5, "PT1M")
    answer = await rank(service, LOOP_BASE)
    assert min(each["probability"] for each in answer["ranking"]) == pytest.approx(0.5 / 3)
    explanation = answer["inferenceExplanation"]
    assert explanation[0]["id"] == answer["rewardActionId"]
    assert all(set(each) == {"name", "score"} for each in explanation[0]["features"])
    stats = read_ok(await service.get("/loops/menu/stats/default"))
    assert stats["reward_count"] == 1
    change = read_ok(await service.get("/loops/menu"))["changes"][0]
    assert (change["action"], change["by"]) == ("change", "anonymous")
    assert "personalizer" not in change["before"] or change["before"] != change["after"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "InvalidServiceConfiguration"),
        ({"explorationPercentage": 1.5}, "InvalidServiceConfiguration"),
        ({"explorationPercentage": "0.2"}, "InvalidServiceConfiguration"),
        ({"rewardWaitTime": "PT1S"}, "InvalidRewardWaitTime"),
        ({"rewardWaitTime": "P3D"}, "InvalidRewardWaitTime"),
        ({"rewardWaitTime": 600}, "InvalidRewardWaitTime"),
        ({"defaultReward": -2}, "InvalidServiceConfiguration"),
        ({"rewardAggregation": "product"}, "InvalidServiceConfiguration"),
        ({"logRetentionDays": 1}, "InvalidLogRetentionDays"),
        ({"logRetentionDays": 0}, "InvalidLogRetentionDays"),
        ({"learningMode": "Off"}, "InvalidLearningModeServiceConfiguration"),
        ({"learningMode": "Apprentice", "defaultReward": 1.0}, "InvalidLearningModeServiceConfiguration"),
        ({"logMirrorEnabled": True}, "InvalidServiceConfiguration"),
        ({"isAutoOptimizationEnabled": 1}, "InvalidServiceConfiguration"),
        ({"autoOptimizationFrequency": "PT59M"}, "InvalidServiceConfiguration"),
        ({"isInferenceExplainabilityEnabled": "yes"}, "InvalidServiceConfiguration"),
        ({"autoOptimizationFrequency": "7 days"}, "InvalidServiceConfiguration"),
        ({"autoOptimizationStartDate": "soon"}, "InvalidServiceConfiguration"),
        ({"modelRetrainDays": -1}, "InvalidServiceConfiguration"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_bad_configuration_is_refused(shared: Service, body: object, code: str) -> None:
    answer = await shared.client.put(
        "/personalizer/v1.0/configurations/service",
        **({"content": body, "headers": {"content-type": "application/json"}} if body == b"{" else {"json": body}),
    )
    read_error(answer, 400, code)


async def test_logs_are_kept_for_as_long_as_the_loop_says(service: Service) -> None:
    await make_loop(service)
    for days, kept in ((30, 30), (-1, 0), (90, 90)):
        assert read_ok(await put(service, PUT_SERVICE, {"logRetentionDays": days}))["logRetentionDays"] == days
        assert (await get_service(service))["logRetentionDays"] == days
        assert read_ok(await service.get("/loops/menu"))["definition"]["retention_days"] == kept


async def test_an_apprentice_serves_the_first_action_that_is_not_excluded(service: Service) -> None:
    await make_loop(service)
    assert (await put(service, PUT_SERVICE, {"learningMode": "apprentice"})).status_code == 200
    assert (await get_service(service))["learningMode"] == "Apprentice"
    for _ in range(5):
        answer = await rank(service, LOOP_BASE, excludedActions=["pasta"])
        assert answer["rewardActionId"] == "ice cream"
        assert [each["probability"] for each in answer["ranking"]] == [0.0, 1.0, 0.0]
        await reward(service, answer["eventId"], 0.5, LOOP_BASE)
    newer = read_ok(await service.get("/loops/menu/personalizer/configurations/service", **QUERY))
    metrics = newer["latestApprenticeModeMetrics"]
    assert (metrics["numberOfEvents"], metrics["sumOfRewards"]) == (5, 2.5)
    assert 0 <= metrics["numberOfImitatedEvents"] <= 5
    assert "latestApprenticeModeMetrics" not in await get_service(service)


async def test_a_policy_is_kept_as_it_came_and_read_as_far_as_it_has_a_meaning(service: Service) -> None:
    await make_loop(service)
    default = read_ok(await service.get(PUT_POLICY))
    assert default["arguments"].startswith("--cb_explore_adf --epsilon 0.2 ")
    mine = {"name": "mine", "arguments": "--cb_explore_adf --epsilon 0.7 -q ::"}
    assert read_ok(await put(service, PUT_POLICY, mine)) == mine
    assert read_ok(await service.get(PUT_POLICY)) == mine
    assert (await get_service(service))["explorationPercentage"] == 0.7
    square = {"name": "square", "arguments": "--cb_explore_adf --squarecb"}
    assert read_ok(await put(service, PUT_POLICY, square)) == square
    definition = read_ok(await service.get("/loops/menu"))["definition"]
    assert definition["policies"]["menu"]["kind"] == "squarecb"
    answer = await service.client.delete(PUT_POLICY)
    assert read_ok(answer) == default
    assert read_ok(await service.get(PUT_POLICY)) == default


async def test_a_loop_that_is_not_there_is_unknown_in_its_own_form(service: Service) -> None:
    read_error(await service.get("/loops/nowhere/personalizer/v1.0/configurations/service"), 404, "ResourceNotFound")


async def test_a_loop_may_find_users_in_the_context_and_take_less_than_the_wire_does(service: Service) -> None:
    own = {"scope": "user", "rewards": {"minimum": 0.0}, "personalizer": {"user": "user.id"}}
    answer = await service.client.put("/loops/menu", json=LOOP | own)
    assert answer.status_code == 201, answer.text
    await rank(service, LOOP_BASE, eventId="e")
    for event, who, user in (("a", "ada", "ada"), ("b", 17, "17"), ("c", None, "default")):
        await rank(service, LOOP_BASE, eventId=event, contextFeatures=[{"user": {"id": who, "kind": "new"}}])
        assert read_ok(await service.get(f"/loops/menu/decisions/{event}"))["user_id"] == user
    for wrong in ("", True, {"id": 1}):
        body = rank_body(contextFeatures=[{"user": {"id": wrong}}])
        message = read_error(await service.post(f"{LOOP_BASE}/rank", body), 400, "InvalidRankRequest")
        assert "user.id" in message
    assert (await put(service, PUT_SERVICE, {"modelExportFrequency": "PT1M"})).status_code == 200
    assert read_ok(await service.get("/loops/menu"))["definition"]["personalizer"]["user"] == "user.id"
    read_error(await reward(service, "e", -0.5, LOOP_BASE), 400, "InvalidRewardRequest")
    assert (await reward(service, "e", 0.5, LOOP_BASE)).status_code == 204
