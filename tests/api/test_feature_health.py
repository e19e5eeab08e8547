"""Feature health over HTTP: in the stats, in the metrics, on the console's first page, and as a refusal."""

from pathlib import Path
from typing import Any

from tests.api.given import TWO, Service, read_ok, read_problem, run_service

MEANT_WELL: dict[str, Any] = {
    "user_id": "ada",
    "context": {"hour": 9, "dayOfWeek": 3},
    "candidates": [{**each, "features": {"isOverdue": True, "Priority": 4}} for each in TWO],
}


async def test_what_nobody_reads_is_in_stats_metrics_and_console(service: Service) -> None:
    for _ in range(30):
        read_ok(await service.post("/score", MEANT_WELL))
    found = read_ok(await service.get("/stats"))["features"]
    assert (found["requests"], found["looked_at"]) == (30, 30)
    counted = {(each["where"], each["name"]): each["count"] for each in found["unread"]}
    assert counted[("features", "isOverdue")] == 60
    assert counted[("context", "hour")] == 30
    said = "\n".join(found["warnings"])
    assert "`isOverdue` came with 60 candidates, in its `features`, and is read by no schema; did you mean" in said
    assert "`dayOfWeek` came with 30 requests" in said
    assert "could not tell the candidates apart in 30 of 30 requests" in said
    metrics = (await service.get("/metrics")).text
    assert 'bandstand_unread_fields_total{field="isOverdue",location="features"} 60.0' in metrics
    assert 'bandstand_field_share{field="priority",location="features",policy="linucb-v2"} 0.0' in metrics
    assert 'bandstand_alike_requests_total{policy="linucb-v2"} 30.0' in metrics
    page = (await service.get("/console")).text
    assert "did you mean `is_overdue`?" in page


async def test_a_reward_s_features_are_looked_at_too(service: Service) -> None:
    await service.reward_legacy(features={"prioritty": 4, "hour_of_day": 3})
    [unread] = read_ok(await service.get("/stats"))["features"]["unread"]
    assert (unread["where"], unread["name"], unread["count"]) == ("reward features", "prioritty", 1)
    assert unread["sentence"].endswith("did you mean `priority`?")


async def test_a_retry_is_no_second_request(service: Service) -> None:
    for number in range(3):
        await service.score(decision_id="order-1", attempt=number)
    await service.score(decision_id="page-1", slots=[{"id": "top"}])  # which is read
    found = read_ok(await service.get("/stats"))["features"]
    assert (found["requests"], [each["name"] for each in found["unread"]]) == (2, ["attempt"])


async def test_recommendations_count_what_tasks_bring(service: Service) -> None:
    body = {"user_id": "ada", "context": {"tasks": [{"title": "Pay the rent", "priority": 4}, {"title": "Sleep"}]}}
    answer = read_ok(await service.post("/recommend", body))
    assert [each["features"] for each in answer["candidates"]] == [{"priority": 4}, {}]
    found = read_ok(await service.get("/stats"))["features"]
    assert (found["requests"], found["unread"]) == (1, [])
    shares = {each["name"]: each["share"] for each in found["fields"]}
    assert shares == {"hour_of_day": 0, "day_of_week": 0, "is_overdue": 0, "task_age_days": 0, "priority": 0.5}


async def test_strict_features_are_refused_where_no_schema_reads_them(tmp_path: Path) -> None:
    async with run_service(tmp_path, strict_features=True) as service:
        await service.score(sent_at="now", candidates=[{**TWO[0], "colour": "red"}])
        for part, where in (
            ({"context": {"hour": 9}}, "context"),
            ({"candidates": [TWO[0], {**TWO[1], "features": {"isOverdue": True}}]}, "candidates.1.features"),
        ):
            body = {"user_id": "ada", "candidates": TWO, **part}
            problem = read_problem(await service.post("/score", body), 422, "invalid-request", where)
            assert "isOverdue" not in str(problem), "it is the caller's own word"
        legacy = {"user_id": "ada", "tip_id": "t", "reward": 1, "features": {"colour": 1}}
        read_problem(await service.post("/reward", legacy), 422, "invalid-request", "features")
        body = {"user_id": "ada", "context": {"tasks": [{"title": "Pay", "colour": 1}], "hour": 9}}
        read_problem(await service.post("/recommend", body), 422, "invalid-request", "context")
