"""Metrics: what is counted after some traffic, under which labels, and that no caller can invent labels."""

from pathlib import Path

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bandstand.api.asgi.metrics import Metrics
from bandstand.store.postgres.figures import LedgerFigures, PoolFigures
from bandstand.store.records import StoreStatus
from tests.api.given import TWO, Service, run_service

Samples = dict[tuple[str, ...], float]


async def scrape_metrics(service: Service) -> Samples:
    response = await service.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parse_samples(response.text)


def parse_samples(text: str) -> Samples:
    """The values in metrics as text, by name and labels, but for buckets."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
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


def test_the_hold_on_a_shared_ledger_is_shown() -> None:
    pool = PoolFigures(calls=5, seconds=0.25, open=2, busy=1)
    for error in (asyncpg.DeadlockDetectedError("words"), TimeoutError(), TimeoutError()):
        pool.record_error(error)
    figures = LedgerFigures(
        slot=3,
        is_leader=True,
        processes=2,
        configurations=1,
        format=1,
        round_trip_s=0.002,
        skew_s=-0.5,
        lease_s=20.0,
        synchronous_standbys=None,
        stale_scores=7,
        refreshed_scores=8,
        due_checkpoints=4,
        pools={"writers": pool},
    )
    metrics = Metrics(of_process=False)
    metrics.register_store(lambda: StoreStatus(details=figures.to_details()))
    found = parse_samples(metrics.render().decode())
    shown = {name[0].removeprefix("bandstand_shared_"): value for name, value in found.items() if len(name) == 1}
    assert (shown["leader"], shown["processes"], shown["configurations"]) == (1, 2, 1)
    assert (shown["lease_seconds"], shown["clock_skew_seconds"], shown["due_checkpoints"]) == (20, -0.5, 4)
    assert (shown["stale_scores_total"], shown["refreshed_scores_total"]) == (7, 8)
    assert "synchronous_standbys" not in shown, "nobody knows"
    of_pool = {name[0]: value for name, value in found.items() if name[1:] == ("writers",)}
    assert of_pool == {
        "bandstand_shared_calls_total": 5,
        "bandstand_shared_seconds_total": 0.25,
        "bandstand_shared_connections": 2,
        "bandstand_shared_busy_connections": 1,
    }
    assert found["bandstand_shared_errors_total", "40P01", "writers"] == 1
    assert found["bandstand_shared_errors_total", "TimeoutError", "writers"] == 2


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
