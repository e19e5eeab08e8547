"""Logs, models and evaluations on the wire."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.api.given import TWO, Service, read_ok
from tests.personalizer.given import (
    BASE,
    LOOP_BASE,
    NARROW_LOOP,
    make_loop,
    rank,
    rank_body,
    read_error,
    reward,
)

RANGE = {"startTime": "2020-01-01T00:00:00Z", "endTime": "2100-01-01T00:00:00Z"}
BOLD = {"name": "bold", "arguments": "--cb_explore_adf --epsilon 0.4"}
QUERY = "api-version=2022-09-01-preview"


async def use(service: Service, base: str = BASE, count: int = 30) -> None:
    """Rank and reward some events; every third has no reward."""
    for number in range(count):
        answer = await rank(service, base, eventId=f"e{number}")
        if number % 3:
            await reward(service, f"e{number}", float(answer["rewardActionId"] == "salad"), base)


async def test_logs_are_told_of_and_deleted_and_what_was_learned_stays(service: Service) -> None:
    read_error(await service.get(f"{BASE}/logs/properties"), 404, "LogsPropertiesNotFound")
    await use(service)
    dates = read_ok(await service.get(f"{BASE}/logs/properties"))["dateRange"]
    assert dates["from"] <= dates["to"]
    before = await service.stats("default")
    assert (await service.client.delete(f"{BASE}/logs")).status_code == 204
    read_error(await service.get(f"{BASE}/logs/properties"), 404, "LogsPropertiesNotFound")
    assert (await service.get("/decisions/e1")).status_code == 404
    after = await service.stats("default")
    assert after["theta"] == before["theta"]
    assert (await reward(service, "e0", 1.0)).status_code == 204, "nobody knows it any more"
    assert (await service.stats("default"))["reward_count"] == before["reward_count"]


async def test_a_model_is_given_and_reset(service: Service) -> None:
    await use(service)
    given = await service.get(f"{BASE}/model?signed=true")
    assert given.headers["content-type"] == "application/octet-stream"
    (line,) = gzip.decompress(given.content).splitlines()
    assert json.loads(line)["user_id"] == "default"
    assert set(read_ok(await service.get(f"{BASE}/model/properties"))) == {"creationTime", "lastModifiedTime"}
    assert (await service.client.delete(f"{BASE}/model")).status_code == 204
    assert (await service.stats("default"))["reward_count"] == 0


async def load_sums(service: Service, base: str = LOOP_BASE) -> dict[str, Any]:
    """What everybody's model has learned, to the last bit."""
    lines = gzip.decompress((await service.get(f"{base}/model")).content).splitlines()
    return {each["user_id"]: each["policies"] for each in map(json.loads, lines)}


async def test_a_model_that_was_given_is_taken_back_as_it_was(service: Service) -> None:
    await make_loop(service, NARROW_LOOP)
    await use(service, LOOP_BASE, count=9)
    before = await load_sums(service)
    given = (await service.get(f"{LOOP_BASE}/model")).content
    for number in range(9, 15):
        await rank(service, LOOP_BASE, eventId=f"e{number}")
        await reward(service, f"e{number}", -1.0, LOOP_BASE)
    assert await load_sums(service) != before
    for _ in range(2):
        assert (await service.client.put(f"{LOOP_BASE}/model", content=given)).status_code == 204
        assert await load_sums(service) == before
    assert (await service.get("/loops/menu/decisions/e14")).status_code == 200, "the log stays"
    await rank(service, LOOP_BASE, eventId="after")
    await reward(service, "after", 1.0, LOOP_BASE)
    stats = read_ok(await service.get("/loops/menu/stats/default"))
    assert stats["reward_count"] == 7, "six were in the file, and it goes on from there"


async def test_the_default_loop_takes_its_model_back_and_nobody_who_asks_meanwhile_is_refused(
    service: Service,
) -> None:
    await make_loop(service)
    await use(service, count=6)
    await service.score("(everybody)", decision_id="odd")  # where each has a model of their own, a name as any
    await service.reward(decision_id="odd", reward=1.0)
    before, given = await load_sums(service, BASE), (await service.get(f"{BASE}/model")).content
    await use(service, LOOP_BASE, count=3)
    other = await load_sums(service)
    await service.score("erin", decision_id="erin-1")
    await service.reward(decision_id="erin-1", reward=1.0)
    done = asyncio.Event()

    async def ask(number: int) -> None:
        while not done.is_set():
            name = f"asked-{number}"
            read_ok(await service.post("/score", {"user_id": name, "candidates": TWO, "decision_id": name}))
            read_ok(await service.post("/reward", {"decision_id": name, "reward": 0.5}))
            asked = {"eventId": f"ranked-{number}"}
            assert (await service.post(f"{BASE}/rank", rank_body(**asked), x_bandstand_user=name)).status_code == 201
            read_ok(await service.get("/loops"))
            number += 10

    asking = [asyncio.create_task(ask(number)) for number in range(5)]
    for _ in range(2):
        assert (await service.client.put(f"{BASE}/model", content=given)).status_code == 204
    done.set()
    await asyncio.gather(*asking)
    found = await load_sums(service, BASE)
    assert {user_id: found[user_id] for user_id in before} == before
    assert await load_sums(service) == other, "another loop goes on as it was"
    erin = await service.stats("erin")
    assert (erin["reward_count"], erin["theta"] is None or not any(erin["theta"])) == (0, True), "not in the file"
    assert (await service.receipt("erin-1"))["reward"] is not None, "the log stays"
    assert (await service.client.delete("/users/default")).status_code == 200
    assert "default" not in await load_sums(service, BASE)
    assert (await service.client.put(f"{BASE}/model", content=given)).status_code == 204
    assert "default" not in await load_sums(service, BASE), "who was erased since is left out"


async def test_a_model_of_another_loop_is_refused_and_nothing_changes(service: Service) -> None:
    await make_loop(service, NARROW_LOOP)
    await use(service, LOOP_BASE, count=6)
    before = await load_sums(service)
    given = (await service.get(f"{LOOP_BASE}/model")).content
    strange = gzip.compress(gzip.decompress(given).replace(b'"menu"', b'"other"'))
    each_their_own = gzip.compress(gzip.decompress(given).replace(b"(everybody)", b"ada"))
    recoded = gzip.compress(gzip.decompress(given).replace(b'"anything":"', b'"anything":"0'))
    broken = [(b"", "no file"), (b"VW", "no file"), (given[: len(given) // 2], "no file")]
    broken += [(gzip.compress(b"{}\n"), "line 1"), (gzip.compress(b"\xff\n"), "line 1")]
    for body, reason in ((strange, "policy"), (each_their_own, "one model"), (recoded, "schema"), *broken):
        answer = await service.client.put(f"{LOOP_BASE}/model", content=body)
        assert reason in read_error(answer, 400, "InvalidModelImportFormat")
    assert await load_sums(service) == before
    assert (await service.client.put(f"{LOOP_BASE}/model", content=given)).status_code == 204


# ── evaluations ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**RANGE, "policies": []}, "InvalidEvaluationContract"),
        ({"name": "x", "policies": []}, "InvalidEvaluationContract"),
        ({"name": "x", "startTime": "2026-01-02", "endTime": "2026-01-01"}, "InvalidEvaluationContract"),
        ({"name": "x", **RANGE, "policies": [BOLD, BOLD]}, "DuplicateCustomPolicyNames"),
        (
            {"name": "x", **RANGE, "policies": [{**BOLD, "name": str(n)} for n in range(11)]},
            "InvalidEvaluationContract",
        ),
        ({"name": "x", **RANGE, "policies": [{"name": "p", "arguments": "-q ::"}]}, "InvalidPolicyConfiguration"),
        ({"name": "x", **RANGE, "policies": [None]}, "InvalidEvaluationContract"),
        ({"name": "x", **RANGE, "policies": []}, "NoLogsExistInDateRange"),
    ],
)
async def test_a_bad_evaluation_is_refused(shared: Service, body: dict[str, Any], code: str) -> None:
    read_error(await shared.post(f"{BASE}/evaluations", body), 400, code)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_evaluation_is_not_found(shared: Service) -> None:
    read_error(await shared.get(f"{BASE}/evaluations/none"), 404, "EvaluationNotFound")
    read_error(await shared.client.delete(f"{BASE}/evaluations/none"), 404, "EvaluationNotFound")
    applied = {"evaluationId": "none", "policyName": "x"}
    read_error(await shared.post(f"{BASE}/configurations/applyFromEvaluation", applied), 404, "EvaluationNotFound")
    read_error(await shared.get(f"/personalizer/featureImportances/x?{QUERY}"), 404, "FeatureImportanceNotFound")
    assert read_ok(await shared.get(f"/personalizer/featureImportances?{QUERY}"))["value"] == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["evaluations?top=x", "evaluations?skip=-1", "evaluations?filter=x"])
async def test_a_bad_list_is_refused(shared: Service, path: str) -> None:
    read_error(await shared.get(f"/personalizer/{path}&{QUERY}"), 400, "BadRequest")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("featureImportances/x", RANGE, "InvalidEvaluationContract"),
        ("featureImportances/x", {"name": "x"}, "InvalidEvaluationContract"),
        ("featureImportances/x", {"name": "x", **RANGE}, "NoLogsExistInDateRange"),
        ("featureImportances/%FF", {"name": "x", **RANGE}, "InvalidEvaluationContract"),
        ("evaluations/%00", {"name": "x", **RANGE, "policies": []}, "InvalidEvaluationContract"),
        ("evaluations/x", {"name": "x", **RANGE, "enablePolicyOptimization": 1}, "InvalidEvaluationContract"),
    ],
)
async def test_a_bad_job_is_refused(shared: Service, path: str, body: dict[str, Any], code: str) -> None:
    read_error(await shared.client.put(f"/personalizer/{path}?{QUERY}", json=body), 400, code)


@pytest.mark.slow  # a child makes it
async def test_an_evaluation_says_what_ours_says_and_is_applied(service: Service) -> None:
    await make_loop(service)
    await use(service, LOOP_BASE)
    body = {"name": "first", **RANGE, "policies": [BOLD], "enableOfflineExperimentation": True}
    created = await service.post(f"{LOOP_BASE}/evaluations", body)
    assert created.status_code == 201
    location = str(created.request.url.join(created.headers["location"]))
    assert location.endswith(f"/loops/menu{BASE}/evaluations/{created.json()['id']}")
    found = await wait_for(service, location)
    assert found["status"] == "completed"
    results = {each["name"]: each for each in found["policyResults"]}
    assert {each["policySource"] for each in results.values()} == {
        "Online",
        "Baseline",
        "Random",
        "Custom",
        "OfflineExperimentation",
    }
    assert found["optimalPolicy"] in results
    check_windows(results)
    check_importance(found["featureImportance"])
    await check_series(service, found)
    await check_importance_resource(service)
    report = read_ok(await service.get("/loops/menu/evaluations/1"))["report"]
    ours = {each["policy"]: each["estimates"][0] for each in report["policies"]}
    for name, key in (("bold", "custom-0"), ("Baseline", "baseline"), ("Random", "random")):
        total, estimate = results[name]["totalSummary"], ours[key]
        assert total["averageReward"] == pytest.approx(estimate["value"], rel=1e-12)
        assert total["confidenceInterval"] == pytest.approx(1.96 * estimate["stderr"])
        assert total["ipsEstimatorNumerator"] / total["ipsEstimatorDenominator"] == pytest.approx(estimate["value"])
        assert total["snipsEstimatorDenominator"] == pytest.approx(estimate["mean_weight"] * estimate["n"])
    random = results["Random"]["totalSummary"]
    assert random["nonZeroProbability"] == 30
    online = results["Online"]["totalSummary"]
    assert (online["ipsEstimatorDenominator"], online["nonZeroProbability"]) == (30, 30)
    n, total_reward = 30, online["ipsEstimatorNumerator"]
    assert online["sumOfSquares"] == pytest.approx(total_reward), "its rewards are 0 and 1"
    variance = (online["sumOfSquares"] - total_reward**2 / n) / (n - 1) / n
    assert online["confidenceInterval"] == pytest.approx(1.96 * variance**0.5)
    applied = {"evaluationId": found["id"], "policyName": "bold"}
    assert (await service.post(f"{LOOP_BASE}/configurations/applyFromEvaluation", applied)).status_code == 204
    assert read_ok(await service.get(f"{LOOP_BASE}/configurations/policy")) == BOLD
    listed = read_ok_list(await service.get(f"{LOOP_BASE}/evaluations"))
    assert [each["status"] for each in listed] == ["optimalPolicyApplied"]
    newer = read_ok(await service.get(f"/loops/menu/personalizer/evaluations?{QUERY}"))
    assert ([each["status"] for each in newer["value"]], newer["nextLink"]) == (["OptimalPolicyApplied"], None)
    unknown = {"evaluationId": found["id"], "policyName": "Baseline"}
    read_error(
        await service.post(f"{LOOP_BASE}/configurations/applyFromEvaluation", unknown), 404, "LearningSettingsNotFound"
    )
    again = await service.client.put(f"/loops/menu/personalizer/evaluations/{found['id']}?{QUERY}", json=body)
    read_error(again, 400, "EvaluationAlreadyExists")
    assert (await service.client.delete(location)).status_code == 204


def check_windows(results: dict[str, dict[str, Any]]) -> None:
    """What is told window by window adds up to what is told of all of it."""
    for each in results.values():
        for key in ("ipsEstimatorNumerator", "ipsEstimatorDenominator", "sumOfSquares", "nonZeroProbability"):
            parts = [summary[key] for summary in each["summary"]]
            assert sum(parts) == pytest.approx(each["totalSummary"][key], abs=1e-9), (each["name"], key)
        assert {summary["aggregateTimeWindow"] for summary in each["summary"]} == {"PT5M"}


def check_importance(importance: list[list[str]]) -> None:
    scores = [float(score) for _, score in importance]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
    assert {"taste", "device.mobile^taste"} <= {name for name, _ in importance}


async def check_series(service: Service, found: dict[str, Any]) -> None:
    path = f"/loops/menu/personalizer/evaluations/{found['id']}?{QUERY}"
    times = f"&startTime={RANGE['startTime']}&endTime={RANGE['endTime']}"
    content = read_ok(await service.get(f"{path}{times}&intervalInMinutes=1440&window=Rolling"))["content"]
    assert content["intervalInMinutes"] == 1440
    for each, before in zip(content["value"], found["policyResults"], strict=True):
        assert each["summary"]["expectedReward"] == pytest.approx(before["totalSummary"]["averageReward"])
        low, high = each["summary"]["confidenceInterval"]
        assert (high - low) / 2 == pytest.approx(before["totalSummary"]["confidenceInterval"])
        last = each["timeseries"]["data"][-1]
        assert last["timeStamp"].endswith("T00:00:00Z")
    nothing = read_ok(await service.get(f"{path}&startTime=2021-01-01&endTime=2021-01-02"))["content"]
    assert all(each["timeseries"]["data"] == [] for each in nothing["value"])
    for wrong in ("intervalInMinutes=7", "window=Sliding", "startTime=soon"):
        read_error(await service.get(f"{path}&{wrong}"), 400, "InvalidEvaluationContract")


async def check_importance_resource(service: Service) -> None:
    path = f"/loops/menu/personalizer/featureImportances/mine?{QUERY}"
    read_ok(await service.client.put(path, json={"name": "which", **RANGE}))
    read_error(await service.client.put(path, json={"name": "which", **RANGE}), 400, "EvaluationAlreadyExists")
    found = await wait_for(service, path)
    assert (found["status"], found["name"]) == ("Succeeded", "which")
    scores = {each["featureName"]: each for each in found["featureScores"]}
    assert scores["device.mobile^taste"]["namespace"] == "device^taste"
    assert scores["taste"]["score"] > 0
    listed = read_ok(await service.get(f"/loops/menu/personalizer/featureImportances?{QUERY}&top=5&skip=0"))
    assert [each["id"] for each in listed["value"]] == ["mine"]
    assert (await service.client.delete(path)).status_code == 204
    read_error(await service.get(path), 404, "FeatureImportanceNotFound")


async def wait_for(service: Service, location: str) -> dict[str, Any]:
    """An evaluation, once it is made."""
    for _ in range(1000):
        found = read_ok(await service.get(location))
        if found["status"] not in {"pending", "Running"}:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("it is not made")


def read_ok_list(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return list(answer.json())
