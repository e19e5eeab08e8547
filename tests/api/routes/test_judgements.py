"""Turns over HTTP: kept before they are acknowledged, judged beside the serving, looked at and corrected."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.given import FEATURES, Service, read_ok, read_problem, run_service

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one service and its judge's process, and a user for each test

COMPLAINT = {
    "query_t": "What is the capital of Australia?",
    "answer_t": "The capital of Australia is Sydney.",
    "query_t1": "No, that's wrong. It's Canberra.",
}
PRAISE = {
    "query_t": "How do I boil an egg?",
    "answer_t": "Put it in boiling water for eight minutes.",
    "query_t1": "Perfect, thank you so much, that was great!",
}


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """A user of the test's own."""
    return str(request.node.name)


async def take_turn(service: Service, **fields: Any) -> dict[str, Any]:
    """The answer to a turn that was kept."""
    response = await service.post("/reward", fields)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    assert answer["ok"] is True
    return answer


async def wait_for_judged(service: Service, turn: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The judgement of a turn that somebody waited for."""
    return read_ok(await service.post("/reward", {"turn": turn, "wait": True, **fields}))


async def wait_for_judgement(service: Service, judgement_id: str) -> dict[str, Any]:
    """A judgement once it is made."""
    async with asyncio.timeout(60):
        while True:
            found = read_ok(await service.get(f"/judgements/{judgement_id}"))
            if found["status"] != "waiting":
                return found
            await asyncio.sleep(0.02)


async def test_a_turn_is_kept_judged_and_taught(shared: Service, user: str) -> None:
    decision = await shared.score(user)
    answer = await take_turn(shared, decision_id=decision["decision_id"], turn=COMPLAINT)
    assert answer["decision_id"] == decision["decision_id"]
    found = await wait_for_judgement(shared, answer["judgement_id"])
    assert (found["status"], found["taught"], found["reason"]) == ("scored", True, None)
    assert found["verdict"]["label"] == "neg_correction"
    assert found["reward"] == found["applied"]["reward"] == -0.8
    stats = await shared.stats(user)
    assert (stats["reward_count"], stats["cumulative_reward"]) == (1, -0.8)
    reward = (await shared.receipt(decision["decision_id"]))["reward"]
    assert (reward["reward"], reward["source"]) == (-0.8, "judge")


async def test_whoever_waits_gets_the_verdict(shared: Service, user: str) -> None:
    decision = await shared.score(user)
    found = await wait_for_judged(shared, PRAISE, decision_id=decision["decision_id"])
    assert (found["verdict"]["label"], found["reward"]) == ("pos_praise", 0.8)
    again = await shared.post("/reward?wait=true", {"turn": PRAISE, "decision_id": decision["decision_id"]})
    assert read_ok(again)["judgement_id"] == found["judgement_id"]


async def test_the_legacy_form_takes_a_turn_too(shared: Service, user: str) -> None:
    found = await wait_for_judged(shared, COMPLAINT, user_id=user, tip_id="tip-1", features=FEATURES, day_of_week=2)
    assert (found["taught"], found["decision_id"], found["tip_id"]) == (True, None, "tip-1")
    assert (await shared.stats(user))["cumulative_reward"] == -0.8


async def test_the_same_request_gets_the_first_answer_and_another_a_conflict(shared: Service, user: str) -> None:
    decision_id = (await shared.score(user))["decision_id"]
    first, second = await asyncio.gather(
        take_turn(shared, decision_id=decision_id, turn=COMPLAINT),
        take_turn(shared, decision_id=decision_id, turn=COMPLAINT),
    )
    assert first["judgement_id"] == second["judgement_id"]
    other = await shared.post("/reward", {"decision_id": decision_id, "turn": PRAISE})
    assert other.status_code == 409
    assert other.json()["type"].rpartition(":")[2] in {"reward-pending", "already-rewarded"}
    await wait_for_judgement(shared, first["judgement_id"])
    assert read_problem(
        await shared.post("/reward", {"decision_id": decision_id, "reward": 1.0}), 409, "already-rewarded"
    )
    assert (await take_turn(shared, decision_id=decision_id, turn=COMPLAINT))["judgement_id"] == first["judgement_id"]


async def test_an_idempotency_key_belongs_to_one_body(shared: Service, user: str) -> None:
    legacy = {"user_id": user, "tip_id": "tip-1", "features": FEATURES}
    first = (await shared.post("/reward", {**legacy, "turn": COMPLAINT}, Idempotency_Key="k")).json()
    again = (await shared.post("/reward", {**legacy, "turn": COMPLAINT}, Idempotency_Key="k")).json()
    assert first["judgement_id"] == again["judgement_id"]
    for body in ({**legacy, "turn": PRAISE}, {**legacy, "reward": 1.0}):
        read_problem(await shared.post("/reward", body, Idempotency_Key="k"), 422, "idempotency-mismatch")
    await shared.post("/reward", {**legacy, "reward": 1.0}, Idempotency_Key="r")
    refused = await shared.post("/reward", {**legacy, "turn": PRAISE}, Idempotency_Key="r")
    read_problem(refused, 422, "idempotency-mismatch")
    for said in ({"turn": PRAISE}, {"reward": 1.0}):  # nor is it asked first whether there is such a decision
        for key in ("k", "r"):
            refused = await shared.post("/reward", {"decision_id": "none", **said}, Idempotency_Key=key)
            read_problem(refused, 422, "idempotency-mismatch")
        fresh = await shared.post("/reward", {"decision_id": "none", **said}, Idempotency_Key="fresh")
        read_problem(fresh, 404, "unknown-decision")


async def test_a_turn_that_teaches_nothing_releases_its_decision(tmp_path: Path) -> None:
    async with run_service(tmp_path / "state", judge_tau=1.0) as service:
        decision_id = (await service.score())["decision_id"]
        found = await wait_for_judged(service, COMPLAINT, decision_id=decision_id)
        assert (found["status"], found["taught"], found["reason"]) == ("scored", False, "below_tau")
        assert (await service.reward(decision_id=decision_id, reward=0.5))["applied"] is True
        refused = await service.post(f"/judgements/{found['judgement_id']}/override", {"label": "pos_praise"})
        read_problem(refused, 409, "already-rewarded")


async def test_a_person_overrides_the_judge(shared: Service, user: str) -> None:
    decision_id = (await shared.score(user))["decision_id"]
    found = await wait_for_judged(shared, COMPLAINT, decision_id=decision_id)
    path = f"/judgements/{found['judgement_id']}"
    changed = read_ok(await shared.post(f"{path}/override", {"label": "pos_praise"}))
    assert (changed["reward"], changed["verdict"]["tier"], changed["verdict"]["model"]) == (0.8, "person", "anonymous")
    assert [each["cause"] for each in changed["history"]] == ["judge", "override"]
    assert changed["history"][0]["verdict"]["label"] == "neg_correction", "the original stays"
    stats = await shared.stats(user)
    assert (stats["reward_count"], stats["cumulative_reward"]) == (1, 0.8)
    assert (await shared.receipt(decision_id))["reward"]["source"] == "person"
    nothing = read_ok(await shared.post(f"{path}/override", {"label": "topic_shift"}))
    assert (nothing["taught"], nothing["reason"]) == (False, "never_updates")
    assert (await shared.stats(user))["reward_count"] == 0
    read_problem(await shared.post(f"{path}/override", {"label": "praise"}), 422, "invalid-request", "label")


async def test_a_turn_taken_before_a_reset_teaches_nothing(shared: Service, user: str) -> None:
    found = await wait_for_judged(shared, COMPLAINT, user_id=user, tip_id="tip-1", features=FEATURES)
    await shared.post(f"/reset/{user}", {})
    changed = read_ok(await shared.post(f"/judgements/{found['judgement_id']}/override", {"label": "pos_praise"}))
    assert (changed["taught"], changed["reason"]) == (False, "reset")
    assert (await shared.stats(user))["reward_count"] == 0


async def test_what_cannot_be_judged_is_refused(shared: Service, user: str) -> None:
    decision_id = (await shared.score(user))["decision_id"]
    for fields, *faulty in (
        ({"turn": COMPLAINT, "reward": 1.0}, "turn"),
        ({"turn": {**COMPLAINT, "taxonomy": "mine"}}, "turn.taxonomy"),
        ({"turn": {"query_t": "a"}}, "turn.answer_t", "turn.query_t1"),
    ):
        refused = await shared.post("/reward", {"decision_id": decision_id, **fields})
        read_problem(refused, 422, "invalid-request", *faulty)
    read_problem(
        await shared.post("/reward", {"turn": COMPLAINT}), 422, "invalid-request", "user_id", "tip_id", "features"
    )
    unknown = await shared.post("/reward", {"decision_id": "0" * 32, "turn": COMPLAINT})
    read_problem(unknown, 404, "unknown-decision")
    read_problem(await shared.get("/judgements/nothing"), 404, "unknown-judgement")


async def test_nothing_is_taken_where_nothing_is_judged(tmp_path: Path) -> None:
    async with run_service(tmp_path / "state", judge="off") as service:
        refused = await service.post("/reward", {"user_id": "a", "tip_id": "t", "features": {}, "turn": COMPLAINT})
        read_problem(refused, 409, "judge-off")


async def test_judgements_are_listed_newest_first_and_counted(tmp_path: Path) -> None:
    legacy = {"tip_id": "tip-1", "features": FEATURES, "turn": COMPLAINT}
    async with run_service(tmp_path / "state") as service:
        ids = [(await take_turn(service, user_id=f"user-{n}", **legacy))["judgement_id"] for n in range(5)]
        for judgement_id in ids:
            await wait_for_judgement(service, judgement_id)
        first = read_ok(await service.get("/judgements", status="scored", limit=3))
        second = read_ok(await service.get("/judgements", status="scored", limit=3, before=first["next"]))
        listed = [entry["judgement_id"] for entry in first["judgements"] + second["judgements"]]
        assert (listed, second["next"]) == (ids[::-1], None)
        assert read_ok(await service.get("/judgements", status="unscored"))["judgements"] == []
        coverage = read_ok(await service.get("/stats"))["judge"]
        assert coverage["policies"]["linucb-v2"] == {
            "turns": 5,
            "waiting": 0,
            "scored": 5,
            "taught": 5,
            "withheld": {},
            "unscored": {},
        }
        text = (await service.get("/metrics")).text
    assert 'bandstand_judgements_total{policy="linucb-v2",reason="",state="taught"} 5.0' in text
    assert "bandstand_turns_waiting 0.0" in text


async def test_influence_is_capped(tmp_path: Path) -> None:
    async with run_service(tmp_path / "state", judge_max_updates_per_user_hour=2) as service:
        legacy = {"user_id": "ada", "tip_id": "tip-1", "features": FEATURES}
        found = [await wait_for_judged(service, PRAISE, **legacy) for _ in range(3)]
        assert [each["reason"] for each in found] == [None, None, "influence_cap"]
        other = await wait_for_judged(service, PRAISE, **{**legacy, "user_id": "bob"})
        assert other["taught"]
        assert (await service.stats())["reward_count"] == 2
    async with run_service(tmp_path / "state", judge_max_updates_per_user_hour=2) as service:
        assert (await wait_for_judged(service, PRAISE, **legacy))["reason"] == "influence_cap", "also after a restart"


async def test_erasure_takes_turns_and_judgements(shared: Service, user: str) -> None:
    found = await wait_for_judged(shared, COMPLAINT, user_id=user, tip_id="tip-1", features=FEATURES)
    erased = (await shared.client.delete(f"/users/{user}")).json()["erased"]
    assert (erased["turns"], erased["verdicts"]) == (1, 1)
    gone: httpx.Response = await shared.get(f"/judgements/{found['judgement_id']}")
    read_problem(gone, 404, "unknown-judgement")


async def test_a_verdict_off_the_target_is_kept_and_frees_its_decision(shared: Service, user: str) -> None:
    decision = await shared.score(user)
    fact = {"query_t": "When was that?", "answer_t": "In 1917.", "query_t1": "That's wrong, it was 1916."}
    found = await wait_for_judged(
        shared, {**fact, "about": "terse: one short sentence"}, decision_id=decision["decision_id"]
    )
    assert (found["taught"], found["reason"]) == (False, "off_target")
    assert (found["verdict"]["target"], found["verdict"]["about"]) == ("content", True)
    assert read_ok(await shared.post("/reward", {"decision_id": decision["decision_id"], "reward": 1}))["applied"]
