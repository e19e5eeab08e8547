"""Shadows on the wire: set by SHADOW, told in receipts, stats and metrics, and gone with their user."""

import asyncio
from pathlib import Path
from typing import Any

from tests.api.given import Service, read_ok, run_service


async def wait_for_shadows(service: Service, decision_id: str) -> list[dict[str, Any]]:
    """The shadows of a decision, once they have been looked at and logged."""
    async with asyncio.timeout(60):
        while not (found := (await service.receipt(decision_id))["shadows"]):  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.005)
    return list(found)


async def test_a_decision_is_looked_at_and_its_reward_teaches(tmp_path: Path) -> None:
    async with run_service(tmp_path, shadow="thompson-v1,linucb-v2,linucb") as service:
        picked = await service.score()
        shadows = await wait_for_shadows(service, picked["decision_id"])
        assert [each["policy"] for each in shadows] == ["linucb-v1", "thompson-v1"], "what serves is not its own shadow"
        await service.reward(decision_id=picked["decision_id"], reward=0.5)
        for policy, pulls in (("linucb-v2", 1), ("thompson-v1", 0), ("linucb", 0)):
            stats = await service.stats(policy=policy)
            assert (stats["pulls"], stats["reward_count"], stats["cumulative_reward"]) == (pulls, 1, 0.5)
        standing = read_ok(await service.get("/stats"))["shadows"]
        assert standing.keys() == {"thompson-v1", "linucb-v2", "linucb-v1"}
        assert (standing["thompson-v1"]["decisions"], standing["thompson-v1"]["rewarded"]) == (1, 1)
        assert standing["linucb-v2"]["decisions"] == 0
        listed = read_ok(await service.get("/policies"))["policies"]
        assert {each["name"] for each in listed if each["shadow"]} == set(standing)
        text = (await service.get("/metrics")).text
        assert "bandstand_shadow_waiting 0.0" in text
        assert "bandstand_shadow_dropped_total 0.0" in text


async def test_an_erasure_counts_and_takes_them(tmp_path: Path) -> None:
    async with run_service(tmp_path, shadow="thompson-v1") as service:
        picked = await service.score()
        await wait_for_shadows(service, picked["decision_id"])
        receipt = read_ok(await service.client.delete("/users/ada"))
        assert receipt["erased"]["shadows"] == 1


async def test_a_stop_looks_at_what_waits_and_a_start_goes_on(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        async with run_service(tmp_path, shadow="thompson-v1") as service:
            ids += [(await service.score())["decision_id"] for _ in range(5)]
    async with run_service(tmp_path) as service:
        assert read_ok(await service.get("/stats"))["shadows"] is None
        assert "bandstand_shadow" not in (await service.get("/metrics")).text
        for decision_id in ids:
            assert [each["policy"] for each in (await service.receipt(decision_id))["shadows"]] == ["thompson-v1"]
