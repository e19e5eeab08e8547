"""Decisions that are held back, and candidates that are excluded, on the wire."""

from pathlib import Path

from tests.api.given import API_KEYS, KEYS, TWO, Service, read_ok, read_problem, run_service


async def test_a_decision_that_is_held_back_teaches_from_its_activation_on(service: Service) -> None:
    made = (await service.score(defer=True))["decision_id"]
    assert read_ok(await service.get(f"/decisions/{made}"))["held"] is True
    kept = await service.reward(decision_id=made, reward=0.5)
    assert (kept["reward"], kept["applied"], kept["reason"]) == (0.5, False, "held")
    assert (await service.stats())["reward_count"] == 0
    answer = read_ok(await service.post(f"/decisions/{made}/activate"))
    told = {"ok": True, "decision_id": made, "activated": True, "reason": None}
    assert answer == {**told, "applied": True, "reward": 0.5}
    again = read_ok(await service.post(f"/decisions/{made}/activate"))
    assert again == {**told, "applied": False, "reward": None}
    receipt = read_ok(await service.get(f"/decisions/{made}"))
    assert (receipt["held"], receipt["window_ends"], receipt["reward"]["applied"]) == (False, None, True)
    assert (await service.stats())["reward_count"] == 1
    assert await service.reward(decision_id=made, reward=0.5) == {**kept, "applied": True, "reason": None}
    read_problem(await service.post("/reward", {"decision_id": made, "reward": 1}), 409, "already-rewarded")
    read_problem(await service.post("/decisions/nobody/activate"), 404, "unknown-decision")


async def test_whoever_may_score_may_activate(tmp_path: Path) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS, key=KEYS["shop"][1]) as service:
        made = (await service.score(defer=True))["decision_id"]
        read_ok(await service.post(f"/decisions/{made}/activate"))
        read_problem(await service.get(f"/decisions/{made}"), 403, "forbidden")


async def test_an_excluded_candidate_is_never_picked(service: Service) -> None:
    scored = await service.score(exclude=["tip-1"], ranking=True)
    assert (scored["tip_id"], scored["propensity"]) == ("tip-2", 1.0)
    assert [(each["tip_id"], each["propensity"]) for each in scored["ranking"]] == [("tip-1", 0.0), ("tip-2", 1.0)]
    receipt = read_ok(await service.get(f"/decisions/{scored['decision_id']}"))
    assert [each["excluded"] for each in receipt["candidates"]] == [True, False]
    for exclude in (["tip-1", "tip-2"], ["tip-3"]):
        body = {"user_id": "ada", "candidates": TWO, "exclude": exclude}
        told = read_problem(await service.post("/score", body), 422, "invalid-request")
        assert [fault["field"] for fault in told["errors"]] == ["exclude"]
