"""``POST /revocations``: what is asked for is taken back, and what is not understood is not."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.given import API_KEYS, FEATURES, KEYS, Service, read_ok, read_problem, run_service
from tests.api.routes.test_judgements import PRAISE, wait_for_judged

NOTHING_PASSED_OVER = {"revoked_before": 0, "forgotten": 0, "never_taught": 0}


async def test_a_decision_s_reward_is_taken_back_once(service: Service) -> None:
    decision = (await service.score())["decision_id"]
    await service.reward(decision_id=decision, reward=1.0)
    await service.reward_legacy(reward=-0.5)
    answers = [read_ok(await service.post("/revocations", {"decision_id": decision})) for _ in range(2)]
    assert answers[0].pop("priors") in ([], ["linucb-v2"]), "learned from the first reward, if it was by then"
    assert answers[0] == {
        "ok": True,
        "dry_run": False,
        "rewards": 1,
        "users": 1,
        "policies": {"linucb-v2": 1},
        "passed_over": NOTHING_PASSED_OVER,
        "out_of_reach": {"users": 0, "until": None},
    }
    assert (answers[1]["rewards"], answers[1]["passed_over"]["revoked_before"]) == (0, 1)
    stats = await service.stats()
    assert (stats["pulls"], stats["reward_count"], stats["cumulative_reward"]) == (1, 1, -0.5)
    receipt = await service.receipt(decision)
    assert (receipt["reward"]["applied"], receipt["reward"]["reason"]) == (False, "revoked")


async def test_what_a_cap_decided_is_not_decided_anew(tmp_path: Path) -> None:
    """A verdict that a cap withheld stays withheld though what filled the cap is gone, and that goes on filling it."""
    legacy = {"user_id": "ada", "tip_id": "tip-1", "features": FEATURES}
    async with run_service(tmp_path / "state", judge_max_updates_per_user_hour=2) as service:
        found = [await wait_for_judged(service, PRAISE, **legacy) for _ in range(3)]
        assert [each["taught"] for each in found] == [True, True, False]
        undone = read_ok(await service.post("/revocations", {"since": "2000-01-01T00:00:00Z"}))
        assert (undone["rewards"], undone["passed_over"]) == (2, NOTHING_PASSED_OVER)
        assert (await service.stats())["reward_count"] == 0
        withheld = read_ok(await service.get(f"/judgements/{found[2]['judgement_id']}"))
        assert (withheld["taught"], withheld["reason"]) == (False, "influence_cap")
        assert (await wait_for_judged(service, PRAISE, **legacy))["reason"] == "influence_cap"
    async with run_service(tmp_path / "state", judge_max_updates_per_user_hour=2) as service:
        assert (await wait_for_judged(service, PRAISE, **legacy))["reason"] == "influence_cap", "also after a restart"
        assert (await service.stats())["reward_count"] == 0


async def test_a_time_has_a_zone_and_a_dry_run_changes_nothing(service: Service) -> None:
    await service.reward_legacy()
    body = {"since": "2000-01-01T00:00:00+01:00", "until": "2999-01-01T00:00:00Z", "dry_run": True}
    assert read_ok(await service.post("/revocations", body))["rewards"] == 1
    assert read_ok(await service.post("/revocations", {"since": "9999-12-31T23:59:59Z"}))["rewards"] == 0
    assert read_ok(await service.post("/revocations", {"until": "0001-01-01T00:00:00Z"}))["rewards"] == 0
    assert (await service.stats())["reward_count"] == 1


@pytest.mark.parametrize(
    ("body", "at_fault"),
    [
        ({}, None),
        ({"dry_run": True}, None),
        ({"clientt": "shop"}, "body"),
        ({"client": "shop", "untill": "2026-01-01T00:00:00Z"}, "body"),
        ({"client": ""}, "client"),
        ({"decision_id": 7}, "decision_id"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, None),
    ],
)
async def test_what_is_not_understood_takes_nothing_back(
    service: Service, body: dict[str, Any], at_fault: str | None
) -> None:
    await service.reward_legacy()
    read_problem(await service.post("/revocations", body), 422, "invalid-request", *([at_fault] if at_fault else []))
    assert (await service.stats())["reward_count"] == 1


async def test_an_unknown_decision_is_a_404(service: Service) -> None:
    read_problem(await service.post("/revocations", {"decision_id": "nobody's"}), 404, "unknown-decision")


async def test_it_is_for_admins_and_chooses_by_the_name_of_the_key(tmp_path: Path) -> None:
    async with run_service(tmp_path / "state", api_keys=API_KEYS) as keyed:
        for name in ("shop", "ops"):
            body = {"user_id": "ada", "tip_id": "t", "reward": 1.0, "features": {"hour_of_day": 9}}
            read_ok(await keyed.post("/reward", body, x_api_key=KEYS[name][1]))
        for name in ("shop", "eyes"):
            read_problem(
                await keyed.post("/revocations", {"client": "shop"}, x_api_key=KEYS[name][1]), 403, "forbidden"
            )
        told = read_ok(await keyed.post("/revocations", {"client": "shop"}, x_api_key=KEYS["ops"][1]))
        assert (told["rewards"], told["users"]) == (1, 1)


async def test_what_was_taken_back_is_listed_a_page_at_a_time(tmp_path: Path) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS, key=KEYS["ops"][1]) as service:
        assert read_ok(await service.get("/revocations")) == {"revocations": [], "next": None}
        bodies = [{"client": "ops"}, {"since": "0001-01-01T00:00:00+01:00", "until": "2999-01-01T00:00:00.5Z"}]
        for body in bodies:
            await service.reward_legacy()
            read_ok(await service.post("/revocations", body))
        read_ok(await service.post("/revocations", {"client": "nobody"}))
        first = read_ok(await service.get("/revocations", limit=1))
        (newest,) = first["revocations"]
        assert newest["selection"] == {
            "since": "0001-01-01T00:00:00+00:00",
            "until": "2999-01-01T00:00:00.500000+00:00",
        }
        assert (newest["by"], newest["rewards"], newest["users"], newest["policies"]) == ("ops", 1, 1, {"linucb-v2": 1})
        second = read_ok(await service.get("/revocations", before=first["next"]))
        assert [each["selection"] for each in second["revocations"]] == [{"client": "ops"}]
        assert second["next"] is None
        assert newest["ts"] >= second["revocations"][0]["ts"]
        for query in ({"limit": 0}, {"limit": 1001}, {"before": -1}):
            read_problem(await service.get("/revocations", **query), 422, "invalid-request")
    async with run_service(tmp_path, api_keys=API_KEYS) as service:
        read_problem(await service.client.get("/revocations", headers={"x-api-key": KEYS["eyes"][1]}), 403, "forbidden")
