"""Metrics: what is counted after some traffic, under which labels, and that no caller can invent labels."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.given import TWO, Service, run_service

Samples = dict[tuple[str, ...], float]


async def scrape_metrics(service: Service) -> Samples:
    response = await service.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if "le" not in sample.labels
    }


@pytest.mark.parametrize("hot_path", [True, False])
async def test_traffic_is_counted(tmp_path: Path, hot_path: bool) -> None:
    async with run_service(tmp_path, hot_path=hot_path) as service:
        for number in range(4):
            await service.score(f"user-{number}", policy="linucb", decision_id=f"order-{number}")
        await service.reward(decision_id="order-0", reward=1)
        await service.post("/reset/user-1")
        await service.reward(decision_id="order-1", reward=1)
        await service.reward_legacy("user-2", policy="egreedy")
        await service.post("/reward", {})
        await service.client.head("/stats/user-1")
        found = await scrape_metrics(service)
    assert found["bandstand_request_seconds_count", "HEAD", "/stats/{user_id}", "200"] == 1
    assert found["bandstand_request_seconds_count", "POST", "/score/{policy}", "200"] == 4
    assert found["bandstand_request_seconds_count", "POST", "/reward", "200"] == 2
    assert found["bandstand_request_seconds_count", "POST", "/reward", "422"] == 1
    assert found["bandstand_request_seconds_count", "POST", "/reset/{user_id}", "200"] == 1
    assert found["bandstand_request_seconds_sum", "POST", "/score/{policy}", "200"] > 0
    assert found["bandstand_decisions_total", "false", "linucb-v1"] == 4
    assert found["bandstand_rewards_total", "true", "linucb-v1"] == 1
    assert found["bandstand_rewards_total", "false", "linucb-v1"] == 1
    assert found["bandstand_rewards_total", "true", "egreedy-v1"] == 1
    assert found["bandstand_commit_events_sum",] >= 4 + 3 + 1, "upkeep commits too"
    assert found["bandstand_warm_users",] == 4
    assert found["bandstand_pending_events",] == 0
    assert found["bandstand_quarantined_documents",] == 0
    assert found["bandstand_ready",] == 1


@pytest.mark.parametrize("durability", ["full", "process"])
async def test_commits_say_whether_they_synced(tmp_path: Path, durability: str) -> None:
    async with run_service(tmp_path, durability=durability) as service:
        for _ in range(5):  # upkeep, which syncs, may share a commit or two with them
            await service.score()
        await service.reward_legacy()
        found = await scrape_metrics(service)
    assert found["bandstand_commit_seconds_count", "false"] >= 1
    assert ("bandstand_commit_seconds_count", "true") in found
    assert (found["bandstand_commit_seconds_count", "true"] >= 1) == (durability == "full")


async def test_a_retry_is_no_second_decision_or_reward(service: Service) -> None:
    for _ in range(3):
        await service.score(policy="linucb", decision_id="order-1")
        await service.reward(decision_id="order-1", reward=1)
        await service.post(
            "/reward/egreedy",
            {"user_id": "ada", "tip_id": "t", "reward": 1, "features": {}},
            idempotency_key="k-1",
        )
    found = await scrape_metrics(service)
    assert found["bandstand_decisions_total", "false", "linucb-v1"] == 1
    assert found["bandstand_rewards_total", "true", "linucb-v1"] == 1
    assert found["bandstand_rewards_total", "true", "egreedy-v1"] == 1


async def test_no_caller_can_invent_labels(service: Service) -> None:
    for number in range(50):
        await service.raw(f"VERB{number}", f"/stats/{number}".encode())
        await service.raw("GET", f"/{number}/{number}".encode())
        await service.post(f"/score/{number}", {"user_id": str(number), "candidates": TWO})
        await service.get(f"/stats/{number}/x")
    found = await scrape_metrics(service)
    labels = {key[1:] for key in found if key[0] == "bandstand_request_seconds_count"}
    assert labels == {
        ("other", "/stats/{user_id}", "405"),
        ("GET", "unmatched", "404"),
        ("POST", "/score/{policy}", "404"),
        ("GET", "/stats/{policy}/{user_id}", "404"),
    }


async def test_exploring_is_a_label(service: Service) -> None:
    answers = [await service.score(policy="egreedy") for _ in range(100)]
    found = await scrape_metrics(service)
    explored = sum(answer["exploring"] for answer in answers)
    assert found.get(("bandstand_decisions_total", "true", "egreedy-v1"), 0) == explored
    assert found["bandstand_decisions_total", "false", "egreedy-v1"] == 100 - explored
