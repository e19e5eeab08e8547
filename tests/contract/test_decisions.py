"""Decisions on the wire: ids, propensities, retries, and receipts from which a pick can be computed again."""

import asyncio
import json
import math
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.api.given import FEATURES, TWO, Service, read_ok, read_problem, run_service

POLICIES = ["linucb-v1", "egreedy-v1", "linucb-v2"]


def build_candidates(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = Random(seed)
    return [
        {
            "id": f"tip-{number}",
            "content": "",
            "source": "task",
            "features": {"task_age_days": random.uniform(0, 30), "priority": random.randint(1, 4)},
        }
        for number in range(count)
    ]


def picked_again(receipt: dict[str, Any]) -> tuple[str, bool]:
    """The pick and whether it explored, from nothing but the receipt's seed, floor and probabilities."""
    u, floor, candidates = receipt["seed"], receipt["floor"], receipt["candidates"]
    if u < floor:
        return candidates[math.floor(len(candidates) * u / floor)]["tip_id"], True
    share = [(each["probability"] - floor / len(candidates)) / (1 - floor) for each in candidates]
    v = (u - floor) / (1 - floor)
    index = next(i for i, reached in enumerate(accumulate(share)) if v < reached + 1e-12)
    return candidates[index]["tip_id"], False


# ── the answer ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("policy", POLICIES)
async def test_an_answer_names_its_decision_and_how_likely_it_was(shared: Service, policy: str) -> None:
    answer = await shared.score(policy=policy, candidates=build_candidates(5))
    assert answer["policy"] == policy
    assert isinstance(answer["decision_id"], str)
    assert 0 < answer["propensity"] <= 1
    assert isinstance(answer["exploring"], bool)
    assert "ranking" not in answer


@pytest.mark.asyncio(loop_scope="module")
async def test_every_decision_has_an_id_of_its_own(shared: Service) -> None:
    answers = await asyncio.gather(*(shared.score() for _ in range(50)))
    assert len({answer["decision_id"] for answer in answers}) == 50


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("policy", POLICIES)
async def test_the_ranking_is_all_candidates_best_first_and_their_probabilities(shared: Service, policy: str) -> None:
    await shared.reward_legacy(policy=policy)
    answer = await shared.score(policy=policy, candidates=build_candidates(20), ranking=True)
    ranking = answer["ranking"]
    scores = [each["score"] for each in ranking]
    assert sorted(each["tip_id"] for each in ranking) == sorted(each["id"] for each in build_candidates(20))
    assert scores == sorted(scores, reverse=True)
    assert sum(each["propensity"] for each in ranking) == pytest.approx(1, rel=0, abs=1e-12)
    mine = next(each for each in ranking if each["tip_id"] == answer["tip_id"])
    assert (mine["score"], mine["propensity"]) == (answer["score"], answer["propensity"])


# ── the caller's own id ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", [None, *POLICIES])
async def test_the_same_request_under_its_own_id_gets_the_same_answer(service: Service, policy: str | None) -> None:
    request: dict[str, Any] = {"candidates": build_candidates(9), "decision_id": "order/1", "ranking": True}
    first = await service.score(policy=policy, **request)
    assert first["decision_id"] == "order/1"
    await service.reward_legacy(policy=policy, reward=-1.0)  # what is learned in between changes nothing
    for _ in range(3):
        assert await service.score(policy=policy, **request) == first
    assert (await service.stats("ada", policy or "linucb-v2"))["pulls"] == 1
    assert len(await service.history()) == 1


async def test_the_same_request_at_the_same_time_gets_the_same_answer(service: Service) -> None:
    requests = (service.score(policy="egreedy", candidates=build_candidates(50), decision_id="once") for _ in range(40))
    answers = await asyncio.gather(*requests)
    assert all(answer == answers[0] for answer in answers)
    assert (await service.stats("ada", "egreedy"))["pulls"] == 1


async def test_a_retry_repeats_its_answer_after_a_restart_too(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        first = await service.score(candidates=build_candidates(9), decision_id="order-1", ranking=True)
    async with run_service(tmp_path, active_policy="linucb-v1") as service:  # and whatever is active now
        assert await service.score(candidates=build_candidates(9), decision_id="order-1", ranking=True) == first


async def test_the_order_of_keys_and_white_space_do_not_make_another_request(service: Service) -> None:
    request = {"user_id": "ada", "candidates": TWO, "decision_id": "order-1"}
    first = read_ok(await service.post("/score", json.dumps(request)))
    other = json.dumps(dict(reversed(request.items())), indent=3)
    assert read_ok(await service.post("/score", other)) == first


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "bob"},
        {"candidates": TWO[:1]},
        {"candidates": TWO[::-1]},
        {"context": {"hour_of_day": 8}},
    ],
)
async def test_another_request_under_the_same_id_is_a_409(service: Service, change: dict[str, Any]) -> None:
    request = {"user_id": "ada", "candidates": TWO, "context": {"hour_of_day": 9}, "decision_id": "order-1"}
    first = read_ok(await service.post("/score", request))
    read_problem(await service.post("/score", {**request, **change}), 409, "decision-conflict")
    assert read_ok(await service.post("/score", request)) == first


async def test_one_of_two_different_requests_at_the_same_time_wins_and_the_other_is_a_409(service: Service) -> None:
    requests = [{"user_id": user, "candidates": TWO, "decision_id": "order-1"} for user in ("ada", "bob")] * 10
    responses = await asyncio.gather(*(service.post("/score", request) for request in requests))
    assert sorted(response.status_code for response in responses) == [200] * 10 + [409] * 10
    receipt = await service.receipt("order-1")
    for request, response in zip(requests, responses, strict=True):
        assert (response.status_code == 200) == (request["user_id"] == receipt["user_id"])


async def test_another_named_policy_under_the_same_id_is_a_409(service: Service) -> None:
    request = {"user_id": "ada", "candidates": TWO, "decision_id": "order-1"}
    first = read_ok(await service.post("/score/linucb", request))
    read_problem(await service.post("/score/egreedy", request), 409, "decision-conflict")
    assert read_ok(await service.post("/score/linucb-v1", request)) == first, "the same policy by its other name"
    assert read_ok(await service.post("/score", request)) == first, "no policy named is no contradiction"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("own_id", ["0" * 32, "7" + "f" * 31, "f" * 32, "A" * 32])
async def test_an_own_id_that_looks_like_ours_is_the_caller_s(shared: Service, own_id: str) -> None:
    request = {"user_id": "ada", "candidates": TWO, "decision_id": own_id}
    first = read_ok(await shared.post("/score", request))
    assert first["decision_id"] == own_id
    assert read_ok(await shared.post("/score", request)) == first
    assert (await shared.receipt(own_id))["user_id"] == "ada"
    assert (await shared.reward(decision_id=own_id, reward=0.5))["applied"] is True


@pytest.mark.asyncio(loop_scope="module")
async def test_our_id_as_another_s_own_is_a_409(shared: Service) -> None:
    ours = (await shared.score())["decision_id"]
    read_problem(
        await shared.post("/score", {"user_id": "ada", "candidates": TWO, "decision_id": ours}),
        409,
        "decision-conflict",
    )


# ── receipts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_pick_can_be_computed_again_from_the_receipt_alone(service: Service, policy: str) -> None:
    explored = 0
    for round_ in range(150):
        alike = build_candidates(6, seed=1 if round_ % 3 else round_)
        if round_ % 5 == 0:
            alike = [{**candidate, "features": {}} for candidate in alike]  # all tied
        answer = await service.score(policy=policy, candidates=alike)
        if round_ % 10 == 0:
            await service.reward_legacy(policy=policy, reward=0.5)
        receipt = await service.receipt(answer["decision_id"])
        assert picked_again(receipt) == (answer["tip_id"], answer["exploring"])
        assert answer["exploring"] is (receipt["seed"] < receipt["floor"])
        explored += answer["exploring"]
        probabilities = [each["probability"] for each in receipt["candidates"]]
        assert math.fsum(probabilities) == pytest.approx(1, rel=0, abs=1e-12)
        assert min(probabilities) >= receipt["floor"] / len(probabilities) - 1e-12
        mine = next(each for each in receipt["candidates"] if each["tip_id"] == answer["tip_id"])
        assert (mine["score"], mine["probability"]) == (answer["score"], answer["propensity"])
        if answer["policy"] == "egreedy-v1":
            assert receipt["floor"] == 0.1
    # Of 150 draws about none, 15 and 3 explore; the bounds fail less than once in 10,000 runs.
    assert explored <= {"linucb-v1": 0, "egreedy-v1": 40, "linucb-v2": 20}[policy]


async def test_a_receipt_shows_what_the_policy_saw_and_how_it_judged(v1: Service) -> None:
    for _ in range(3):
        await v1.reward_legacy(reward=0.7)
    theta = (await v1.stats())["theta"]
    answer = await v1.score(context={"hour_of_day": 6, "day_of_week": 2})
    receipt = await v1.receipt(answer["decision_id"])
    policies = {each["name"]: each for each in read_ok(await v1.get("/policies"))["policies"]}
    assert receipt["policy"] == "linucb-v1"
    assert receipt["policy_hash"] == policies["linucb-v1"]["hash"]
    assert (receipt["schema"], receipt["schema_hash"]) == ("tips-5", policies["linucb-v1"]["schema_hash"])
    assert receipt["feature_labels"] == ["hour_sin", "hour_cos", "is_overdue", "task_age", "priority"]
    assert (receipt["user_id"], receipt["client"], receipt["tip_id"]) == ("ada", "anonymous", answer["tip_id"])
    assert receipt["context"] == {"hour_of_day": 6, "day_of_week": 2}
    assert [each["tip_id"] for each in receipt["candidates"]] == ["tip-1", "tip-2"]
    assert receipt["candidates"][0]["features"] == pytest.approx([1.0, 0.0, 1.0, 0.4, 1.0], rel=0, abs=1e-12)
    for each in receipt["candidates"]:
        mean = sum(weight * x for weight, x in zip(theta, each["features"], strict=True))
        assert each["mean"] == pytest.approx(mean, rel=0, abs=1e-9)
        assert each["score"] == pytest.approx(each["mean"] + each["width"], rel=0, abs=1e-9)
    assert receipt["reward"] is None
    await v1.reward(decision_id=answer["decision_id"], reward=-0.25)
    rewarded = await v1.receipt(answer["decision_id"])
    reward = rewarded["reward"]
    assert (reward["reward"], reward["applied"], reward["reason"]) == (-0.25, True, None)
    assert (reward["client"], reward["source"]) == ("anonymous", "client")
    assert {**rewarded, "reward": None} == receipt


async def test_a_receipt_shows_what_the_user_saw(service: Service) -> None:
    answer = await service.score()
    receipt = await service.receipt(answer["decision_id"])
    for sent, kept in zip(TWO, receipt["candidates"], strict=True):
        assert {name: kept[name] for name in ("content", "source", "source_id")} == {
            name: sent[name] for name in ("content", "source", "source_id")
        }
        assert kept["raw_features"] == sent["features"]
    assert (receipt["judgement"], receipt["generation"]) == (None, None)


async def test_a_receipt_names_the_turn_that_rewards_it(service: Service) -> None:
    answer = await service.score()
    turn = {"query_t": "What now?", "answer_t": "Send the tax return.", "query_t1": "no, that is wrong"}
    taken = (await service.post("/reward", {"decision_id": answer["decision_id"], "turn": turn})).json()
    judged = read_ok(await service.get(f"/judgements/{taken['judgement_id']}"))
    while judged["status"] == "waiting":
        await asyncio.sleep(0.05)
        judged = read_ok(await service.get(f"/judgements/{taken['judgement_id']}"))
    receipt = await service.receipt(answer["decision_id"])
    assert receipt["judgement"] == {
        "judgement_id": taken["judgement_id"],
        "status": "scored",
        "label": judged["verdict"]["label"],
        "confidence": judged["verdict"]["confidence"],
    }
    assert "no, that is wrong" not in json.dumps(receipt), "words are for those who may read judgements"


async def test_a_receipt_names_the_generation_of_its_pick(service: Service) -> None:
    tasks = [{"id": "rent", "title": "Pay the rent", "priority": 4}]
    best = read_ok(await service.post("/recommend", {"user_id": "ada", "context": {"tasks": tasks}, "n": 1}))
    receipt = await service.receipt(best["decision_id"])
    assert receipt["generation"] == {
        "generation_id": best["generation_id"],
        "prompt_version": "template",
        "model": "template",
    }
    assert receipt["candidates"][0]["content"] == best["candidates"][0]["content"]


async def test_a_receipt_stays_the_same_whatever_is_learned_and_after_a_restart(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        decision_id = (await service.score(candidates=build_candidates(4)))["decision_id"]
        before = await service.receipt(decision_id)
        await service.reward_legacy()
        assert await service.receipt(decision_id) == before
    async with run_service(tmp_path) as service:
        assert await service.receipt(decision_id) == before


async def test_duplicate_json_keys_are_read_alike_by_the_policy_and_by_the_receipt(service: Service) -> None:
    """The last one counts, as in every common parser; what is scored is what is logged."""
    body = (
        '{"user_id": "first", "user_id": "last", "decision_id": "twice", "context": {"hour_of_day": 1, '
        '"hour_of_day": 6}, "candidates": [{"id": "a", "id": "b", "content": "", "source": "", '
        '"features": {"priority": 1, "priority": 4}}]}'
    )
    answer = read_ok(await service.post("/score/linucb", body))
    receipt = await service.receipt("twice")
    assert (answer["tip_id"], receipt["tip_id"], receipt["user_id"]) == ("b", "b", "last")
    assert receipt["candidates"][0]["features"] == pytest.approx([1, 0, 0, 0, 1], rel=0, abs=1e-12)
    assert receipt["candidates"][0]["score"] == answer["score"] == pytest.approx(math.sqrt(2), rel=0, abs=1e-9)


async def test_an_unknown_decision_has_no_receipt(service: Service) -> None:
    for name in ("nothing", "0" * 32, "%2e%2e", "x" * 256):
        read_problem(await service.get(f"/decisions/{name}"), 404, "unknown-decision")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("decision_id", ["a/b", "..", "?", "#", "a+b", "a%25b", "🦊" * 256, " "])
async def test_a_receipt_is_found_under_any_id(shared: Service, decision_id: str) -> None:
    answer = await shared.score(decision_id=decision_id)
    receipt = await shared.receipt(decision_id)
    assert (receipt["decision_id"], receipt["tip_id"]) == (decision_id, answer["tip_id"])


async def test_a_history_entry_tells_the_decision_and_its_propensity(service: Service) -> None:
    answer = await service.score(context={"day_of_week": 5})
    (entry,) = await service.history()
    for key in ("decision_id", "tip_id", "score", "policy", "exploring", "propensity"):
        assert entry[key] == answer[key]
    given = FEATURES if answer["tip_id"] == "tip-1" else {}
    defaults = {"is_overdue": False, "task_age_days": 0, "priority": 1, **given}
    assert entry["features"] == {**defaults, "hour_of_day": 12, "day_of_week": 5}
