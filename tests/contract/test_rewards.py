"""Rewards on the wire: once for each decision, once for each key, to whom they belong, and after a reset to nobody."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.given import API_KEYS, FEATURES, KEYS, TWO, Service, read_ok, read_problem, run_service

LEGACY: dict[str, Any] = {"user_id": "ada", "tip_id": "tip-1", "reward": 0.5, "features": FEATURES}


async def score_once(service: Service, user_id: str = "ada", policy: str | None = None) -> str:
    return str((await service.score(user_id, policy=policy))["decision_id"])


# ── by decision ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_decision_s_id_is_enough(service: Service) -> None:
    decision_id = await score_once(service)
    assert await service.reward(decision_id=decision_id, reward=0.5) == {
        "ok": True,
        "policy": "linucb-v2",
        "reward": 0.5,
        "applied": True,
        "reason": None,
        "decision_id": decision_id,
    }
    stats = await service.stats()
    assert (stats["reward_count"], stats["cumulative_reward"]) == (1, 0.5)


@pytest.mark.parametrize("policy", ["linucb", "egreedy", "linucb-v2"])
async def test_a_decision_teaches_what_was_decided_on_whatever_the_request_says(tmp_path: Path, policy: str) -> None:
    """The same as the contract's form with the features of the pick; no prior is learned between the two answers."""
    one = [{**TWO[0], "features": {"is_overdue": True, "task_age_days": 3.5, "priority": 2}}]
    context = {"hour_of_day": 17, "day_of_week": 4}
    async with run_service(tmp_path / "state", prior_refresh_rewards=200) as service:
        answer = await service.score("by decision", policy=policy, candidates=one, context=context)
        await service.reward(
            policy=policy, decision_id=answer["decision_id"], reward=0.7, features={"priority": 4}, day_of_week=1
        )
        told = {**one[0]["features"], "hour_of_day": 17}
        await service.reward_legacy("by features", policy=policy, reward=0.7, features=told, day_of_week=4)
        mine, theirs = await service.stats("by decision", policy), await service.stats("by features", policy)
    assert mine["theta"] == pytest.approx(theirs["theta"], rel=0, abs=1e-12)
    assert any(mine["theta"])


async def test_a_reward_by_decision_teaches_the_policy_that_decided(service: Service) -> None:
    decision_id = await score_once(service, policy="egreedy")
    assert (await service.reward(decision_id=decision_id, reward=1.0))["policy"] == "egreedy-v1"
    assert (await service.stats("ada", "egreedy"))["reward_count"] == 1
    assert (await service.stats("ada"))["reward_count"] == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("extra", [{"user_id": "ada"}, {"tip_id": "tip-1"}, {"user_id": "ada", "tip_id": "tip-1"}])
async def test_the_other_fields_may_be_given_if_they_agree(shared: Service, extra: dict[str, str]) -> None:
    answer = await shared.score(candidates=TWO[:1])
    assert (await shared.reward(decision_id=answer["decision_id"], reward=1, **extra))["applied"] is True


@pytest.mark.asyncio(loop_scope="module")
async def test_another_user_s_decision_is_a_404_as_is_an_unknown_one(shared: Service) -> None:
    decision_id = await score_once(shared)
    mistaken = await shared.post("/reward", {"decision_id": decision_id, "user_id": "bob", "reward": 1})
    unknown = await shared.post("/reward", {"decision_id": "nothing", "reward": 1})
    told = [read_problem(answer, 404, "unknown-decision") for answer in (mistaken, unknown)]
    assert told[0]["detail"] == told[1]["detail"], "one cannot tell a stranger's decision from none"
    assert (await shared.receipt(decision_id))["reward"] is None


async def test_another_tip_than_the_picked_one_is_a_422(service: Service) -> None:
    decision_id = await score_once(service)
    answer = await service.post("/reward", {"decision_id": decision_id, "tip_id": "tip-9", "reward": 1})
    read_problem(answer, 422, "invalid-request", "tip_id")


async def test_a_named_route_takes_only_its_own_policy_s_decisions(service: Service) -> None:
    decision_id = await score_once(service, policy="linucb")
    body = {"decision_id": decision_id, "reward": 1}
    read_problem(await service.post("/reward/egreedy", body), 422, "wrong-policy")
    read_problem(await service.post("/reward/nothing", body), 404, "unknown-policy")
    assert read_ok(await service.post("/reward/linucb-v1", body))["applied"] is True


async def test_late_rewards_count(tmp_path: Path) -> None:
    async with run_service(tmp_path, max_warm_users=1) as service:
        decision_ids = {user: await score_once(service, user) for user in ("ada", "bob", "cyd")}
        for _ in range(20):
            await service.score("dan")
    async with run_service(tmp_path, max_warm_users=1) as service:
        for user, decision_id in decision_ids.items():
            assert (await service.reward(decision_id=decision_id, reward=1.0))["applied"] is True
            assert (await service.stats(user))["reward_count"] == 1


# ── what it is worth ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("both", [True, False])
async def test_exactly_one_of_reward_and_reaction_is_given(service: Service, both: bool) -> None:
    values = {"reward": 1.0, "reaction": {"action": "snooze"}} if both else {}
    for base in ({"decision_id": await score_once(service)}, {**LEGACY, **values}):
        body = {key: value for key, value in base.items() if key != "reward"} | values
        read_problem(await service.post("/reward", body), 422, "invalid-request", "reward", "reaction")
    assert (await service.stats())["reward_count"] == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("reward", [-1, -1.0, 0, 1, 1.0, 1e-300])
async def test_rewards_reach_from_minus_one_to_one(shared: Service, reward: float) -> None:
    assert (await shared.reward(decision_id=await score_once(shared), reward=reward))["reward"] == reward


# ── once ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_reward_again_gets_the_first_answer_and_another_is_a_409(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        decision_id = await score_once(service)
        first = await service.reward(decision_id=decision_id, reward=0.5)
        assert await service.reward(reward=0.5, decision_id=decision_id) == first
        other = {"decision_id": decision_id, "reward": 0.6}
        read_problem(await service.post("/reward", other), 409, "already-rewarded")
        read_problem(
            await service.post("/reward", {"decision_id": decision_id, "reaction": {"action": "dismiss"}}),
            409,
            "already-rewarded",
        )
    async with run_service(tmp_path) as service:
        assert await service.reward(decision_id=decision_id, reward=0.5) == first
        read_problem(await service.post("/reward", other), 409, "already-rewarded")
        assert (await service.stats())["reward_count"] == 1


async def test_the_same_reward_at_the_same_time_counts_once(service: Service) -> None:
    decision_id = await score_once(service)
    answers = await asyncio.gather(*(service.reward(decision_id=decision_id, reward=0.5) for _ in range(40)))
    assert all(answer == answers[0] for answer in answers)
    assert (await service.stats())["reward_count"] == 1


async def test_of_different_rewards_at_the_same_time_one_counts(service: Service) -> None:
    decision_id = await score_once(service)
    bodies = [{"decision_id": decision_id, "reward": number / 20} for number in range(20)]
    responses = await asyncio.gather(*(service.post("/reward", body) for body in bodies))
    assert sorted(response.status_code for response in responses) == [200] + [409] * 19
    (winner,) = [response.json() for response in responses if response.status_code == 200]
    stats = await service.stats()
    assert (stats["reward_count"], stats["cumulative_reward"]) == (1, winner["reward"])


async def test_a_legacy_reward_has_no_identity_so_each_counts(service: Service) -> None:
    for _ in range(3):
        assert (await service.reward(**LEGACY))["decision_id"] is None
    assert (await service.stats())["reward_count"] == 3


# ── Idempotency-Key ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_makes_a_legacy_reward_count_once_and_repeats_its_first_answer(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        first = read_ok(await service.post("/reward", LEGACY, idempotency_key="k-1"))
        assert read_ok(await service.post("/reward", LEGACY, idempotency_key="k-1")) == first
        await service.post("/reset/ada")
        assert read_ok(await service.post("/reward", LEGACY, idempotency_key="k-1")) == first, "after a reset too"
        assert (await service.stats())["reward_count"] == 0
    async with run_service(tmp_path) as service:
        assert read_ok(await service.post("/reward", LEGACY, idempotency_key="k-1")) == first
        read_ok(await service.post("/reward", LEGACY, idempotency_key="k-2"))
        assert (await service.stats())["reward_count"] == 1


async def test_a_key_with_another_body_is_a_422(service: Service) -> None:
    read_ok(await service.post("/reward", LEGACY, idempotency_key="k-1"))
    decision_id = await score_once(service)
    for other in ({**LEGACY, "reward": 0.6}, {**LEGACY, "user_id": "bob"}, {"decision_id": decision_id, "reward": 1}):
        read_problem(await service.post("/reward", other, idempotency_key="k-1"), 422, "idempotency-mismatch")
    assert (await service.receipt(decision_id))["reward"] is None


async def test_a_key_at_the_same_time_counts_once(service: Service) -> None:
    posts = (service.post("/reward", LEGACY, idempotency_key="k-1") for _ in range(40))
    answers = [read_ok(response) for response in await asyncio.gather(*posts)]
    assert all(answer == answers[0] for answer in answers)
    assert (await service.stats())["reward_count"] == 1


async def test_a_key_is_scoped_to_the_route(service: Service) -> None:
    for path in ("/reward", "/reward/linucb-v2", "/reward/egreedy"):
        read_ok(await service.post(path, LEGACY, idempotency_key="k-1"))
    assert (await service.stats())["reward_count"] == 2
    assert (await service.stats("ada", "egreedy"))["reward_count"] == 1


async def test_a_key_is_scoped_to_the_caller(tmp_path: Path) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS) as service:
        for name in ("shop", "ops"):
            secret = KEYS[name][1]
            read_ok(await service.post("/reward", LEGACY, idempotency_key="k-1", x_api_key=secret))
        assert (
            read_ok(await service.client.get("/stats/ada", headers={"x-api-key": KEYS["ops"][1]}))["reward_count"] == 2
        )


async def test_a_decision_s_reward_may_have_a_key_too(service: Service) -> None:
    decision_id = await score_once(service)
    body = {"decision_id": decision_id, "reward": 0.5}
    first = read_ok(await service.post("/reward", body, idempotency_key="k-1"))
    assert read_ok(await service.post("/reward", body, idempotency_key="k-1")) == first
    assert read_ok(await service.post("/reward", body)) == first
    assert (await service.stats())["reward_count"] == 1


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("key", ["", "x" * 257, "tab\there"])
async def test_a_key_is_held_to_the_rules_of_ids(shared: Service, key: str) -> None:
    answer = await shared.post("/reward", LEGACY, idempotency_key=key)
    read_problem(answer, 422, "invalid-request", "Idempotency-Key")


# ── reset and erasure ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reward_for_a_decision_before_a_reset_is_logged_and_teaches_nothing(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        decision_id = await score_once(service)
        read_ok(await service.post("/reset/ada"))
        answer = await service.reward(decision_id=decision_id, reward=1.0)
        assert (answer["ok"], answer["applied"], answer["reason"]) == (True, False, "reset")
        assert await service.reward(decision_id=decision_id, reward=1.0) == answer
        reward = (await service.receipt(decision_id))["reward"]
        assert (reward["reward"], reward["applied"], reward["reason"]) == (1.0, False, "reset")
        before = await service.stats()
        assert (before["pulls"], before["reward_count"]) == (0, 0)
        assert (await service.reward(decision_id=await score_once(service), reward=1.0))["applied"] is True
    async with run_service(tmp_path) as service:
        assert (await service.stats())["reward_count"] == 1
        assert await service.reward(decision_id=decision_id, reward=1.0) == answer


async def test_after_an_erasure_nothing_is_left_to_reward_or_to_see(service: Service) -> None:
    decision_id = await score_once(service)
    await service.reward(decision_id=decision_id, reward=1.0)
    await service.score(decision_id="order-1")
    receipt = read_ok(await service.client.delete("/users/ada"))
    assert receipt["ok"] is True
    assert (receipt["erased"]["decisions"], receipt["erased"]["rewards"]) == (2, 1)
    assert receipt["unreachable"], "it names what it cannot reach"
    for name in (decision_id, "order-1"):
        read_problem(await service.get(f"/decisions/{name}"), 404, "unknown-decision")
        read_problem(await service.post("/reward", {"decision_id": name, "reward": 1.0}), 404, "unknown-decision")
    assert await service.history() == []
    assert read_ok(await service.get("/users"))["users"] == []
    again = read_ok(await service.client.delete("/users", params={"user_id": "ada"}))
    assert set(again["erased"].values()) == {0}, "idempotent"


async def test_the_whole_deployment_is_counted_by_policy(service: Service) -> None:
    empty = read_ok(await service.get("/stats"))
    assert (empty["users"], empty["decisions"], empty["rewards"], empty["policies"]) == (0, 0, 0, {})
    for user in ("ada", "bob"):
        await service.reward(decision_id=await score_once(service, user), reward=0.5)
    await service.reward_legacy("cyd", policy="egreedy", reward=-1.0)
    stats = read_ok(await service.get("/stats"))
    assert (stats["users"], stats["decisions"], stats["rewards"]) == (3, 2, 3)
    assert stats["policies"]["linucb-v2"]["mean_reward"] == 0.5
    assert stats["policies"]["egreedy-v1"] == {
        "decisions": 0,
        "exploration_rate": 0.0,
        "rewards": 1,
        "mean_reward": -1.0,
    }
