"""Promotion on the wire: who may, what is answered, and a split set by EXPERIMENT."""

from pathlib import Path

from tests.api.given import API_KEYS, KEYS, Service, read_ok, read_problem, run_service


async def test_an_admin_promotes_and_the_ledger_keeps_who(tmp_path: Path) -> None:
    for _ in range(2):
        async with run_service(tmp_path, api_keys=API_KEYS, key=KEYS["ops"][1]) as service:
            told = read_ok(await service.post("/policies/thompson-v1/promote"))
            assert (told["active"], told["by"], told["pinned_by"]) == ("thompson-v1", "ops", None)
            assert (await service.score())["policy"] == "thompson-v1"
            assert read_ok(await service.get("/health"))["active_policy"] == "thompson-v1"
            listed = read_ok(await service.get("/policies"))
            assert (listed["active"], listed["since"]) == ("thompson-v1", told["since"])
            assert len(listed["promotions"]) == 1
    async with run_service(tmp_path, api_keys=API_KEYS) as service:
        read_problem(await service.post("/policies/first-v1/promote", x_api_key=KEYS["eyes"][1]), 403, "forbidden")
        read_problem(await service.post("/policies/first-v1/demote"), 401, "unauthorized")


async def test_demoting_goes_back(service: Service) -> None:
    read_ok(await service.post("/policies/linucb/promote"))
    assert read_ok(await service.post("/policies/linucb-v1/demote"))["active"] == "linucb-v2"
    read_problem(await service.post("/policies/linucb-v2/demote"), 409, "promotion-refused")
    read_problem(await service.post("/policies/nobody's/promote"), 404, "unknown-policy")


async def test_a_pinned_policy_stays(v1: Service) -> None:
    told = read_problem(await v1.post("/policies/thompson-v1/promote"), 409, "promotion-refused")
    assert "ACTIVE_POLICY" in told["detail"]
    assert read_ok(await v1.get("/policies"))["pinned_by"] == "ACTIVE_POLICY"
    assert (await v1.score())["policy"] == "linucb-v1"


async def test_an_experiment_splits_the_users_and_is_told(tmp_path: Path) -> None:
    async with run_service(tmp_path, experiment="linucb-v2:1,first-v1:1") as service:
        users = [f"user-{number}" for number in range(30)]
        arms = {user_id: (await service.score(user_id))["policy"] for user_id in users}
        assert set(arms.values()) == {"linucb-v2", "first-v1"}
        assert {user_id: (await service.stats(user_id))["policy"] for user_id in users} == arms
        assert {user_id: (await service.reward_legacy(user_id))["policy"] for user_id in users} == arms
        told = read_ok(await service.get("/stats"))["experiment"]
        assert told["users"] == 30
        first = list(arms.values()).count("first-v1")
        assert told["arms"]["first-v1"] == {"share": 0.5, "users": first, "expected": 15.0}
        assert (told["mismatch"], 0 < told["p_value"] <= 1) == (False, True)
        text = (await service.get("/metrics")).text
        assert f'bandstand_experiment_users{{policy="first-v1"}} {first}.0' in text
        assert f"bandstand_experiment_p_value {told['p_value']}" in text
        read_problem(await service.post("/policies/thompson-v1/promote"), 409, "promotion-refused")
