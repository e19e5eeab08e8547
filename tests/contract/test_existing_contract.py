"""Contract A1 to A4, field by field: what a product backend that speaks it already may rely on."""

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.api.given import FEATURES, TWO, Service, read_ok, read_problem, run_service
from tests.contract.textbook import Textbook

ROUNDS = 120
WHOLE_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def candidates_of(random: Random) -> list[dict[str, Any]]:
    return [
        {
            "id": f"tip-{number}",
            "content": "Do the next small thing.",
            "source": "task",
            "source_id": random.choice([None, "task-1"]),
            "features": {
                "hour_of_day": random.randrange(24),  # the context's hour counts, whatever this one says
                "is_overdue": random.random() < 0.5,
                "task_age_days": random.uniform(-5.0, 60.0),
                "priority": random.randint(1, 4),
            },
        }
        for number in range(random.randint(1, 8))
    ]


@pytest.mark.parametrize("name", [None, "linucb", "linucb-v1"])
async def test_linucb_v1_answers_as_the_textbook_does_to_1e9(v1: Service, name: str | None) -> None:
    random = Random(11)
    oracles = {user: Textbook(weekday=False, alpha=1.0) for user in ("ada", "bob")}
    for _ in range(ROUNDS):
        user = random.choice(["ada", "bob"])
        hour, day, candidates = random.randrange(24), random.randrange(7), candidates_of(random)
        context = {"hour_of_day": hour, "day_of_week": day}
        answer = await v1.score(user, policy=name, candidates=candidates, context=context, ranking=True)
        oracle = oracles[user]
        scores = {each["id"]: oracle.score(oracle.features(hour, day, each["features"])) for each in candidates}
        assert answer["policy"] == "linucb-v1"
        assert answer["tip_id"] in scores
        assert answer["score"] == pytest.approx(max(scores.values()), rel=0, abs=1e-9)
        assert {each["tip_id"]: each["score"] for each in answer["ranking"]} == pytest.approx(scores, rel=0, abs=1e-9)
        # The product now tells what came of it, in the form it has always used: all features are the request's.
        told = {**random.choice(candidates)["features"], "hour_of_day": random.randrange(24)}
        reward = random.uniform(-1.0, 1.0)
        taught = await v1.reward_legacy(
            user, policy=name, reward=reward, features=told, day_of_week=random.randrange(7)
        )
        assert taught["ok"] is True
        oracle.learn(oracle.features(told["hour_of_day"], 0, told), reward)
    for user, oracle in oracles.items():
        stats = await v1.stats(user, name)
        assert stats["theta"] == pytest.approx(oracle.compute_theta.tolist(), rel=0, abs=1e-9)


async def test_egreedy_v1_answers_as_the_textbook_does_to_1e9(v1: Service) -> None:
    random = Random(12)
    oracle = Textbook(weekday=True, alpha=0.0)
    explored = 0
    for _ in range(ROUNDS):
        hour, day, candidates = random.randrange(24), random.randrange(7), candidates_of(random)
        context = {"hour_of_day": hour, "day_of_week": day}
        answer = await v1.score(policy="egreedy", candidates=candidates, context=context)
        scores = {each["id"]: oracle.score(oracle.features(hour, day, each["features"])) for each in candidates}
        assert answer["policy"] == "egreedy-v1"
        assert answer["score"] == pytest.approx(scores[answer["tip_id"]], rel=0, abs=1e-9)
        if not answer["exploring"]:
            assert answer["score"] == pytest.approx(max(scores.values()), rel=0, abs=1e-9)
        explored += answer["exploring"]
        told, hour, day, reward = candidates[0]["features"], random.randrange(24), random.randrange(7), random.random()
        await v1.reward_legacy(
            policy="egreedy", reward=reward, features={**told, "hour_of_day": hour}, day_of_week=day, tip_id="tip-0"
        )
        oracle.learn(oracle.features(hour, day, told), reward)
    stats = await v1.stats("ada", "egreedy")
    assert stats["theta"] == pytest.approx(oracle.compute_theta.tolist(), rel=0, abs=1e-9)
    assert stats["exploration_rate"] == pytest.approx(explored / ROUNDS)
    # ε = 0.1: 120 draws explore between 1 and 30 times but for one run in ten thousand.
    assert 1 <= explored <= 30


async def test_the_score_response_is_the_pick_its_score_and_the_policy(v1: Service) -> None:
    for name, policy in ((None, "linucb-v1"), ("egreedy", "egreedy-v1")):
        answer = await v1.score(policy=name)
        assert answer["tip_id"] in {"tip-1", "tip-2"}
        assert isinstance(answer["score"], float)
        assert answer["policy"] == policy


@pytest.mark.asyncio(loop_scope="module")
async def test_health_says_ok(shared_v1: Service) -> None:
    assert read_ok(await shared_v1.get("/health"))["ok"] is True


@pytest.mark.parametrize("policy", ["linucb", "egreedy"])
async def test_what_is_left_out_counts_as_its_default(v1: Service, policy: str) -> None:
    """Twelve o'clock on a Monday, not overdue, new, priority 1, whether said or not."""
    full_features = {"hour_of_day": 12, "is_overdue": False, "task_age_days": 0, "priority": 1}
    await v1.reward_legacy(policy=policy, features={"is_overdue": True, "priority": 3}, reward=0.5)
    bare = {"id": "tip", "content": "", "source": "task"}
    scores = []
    requests: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({**bare, "source_id": None, "features": full_features}, {"context": {"hour_of_day": 12, "day_of_week": 0}}),
        ({**bare, "features": full_features}, {"context": {}}),
        ({**bare, "features": {}}, {"context": {"hour_of_day": 12}}),
        (bare, {"context": {"day_of_week": 0}}),
        (bare, {}),
        *(({**bare, "features": {key: value}}, {}) for key, value in full_features.items()),
    ]
    for candidate, fields in requests:
        answer = await v1.score(policy=policy, candidates=[candidate], **fields)
        scores.append(answer["score"])
    assert len(set(scores)) == 1


@pytest.mark.parametrize("policy", ["linucb", "egreedy"])
async def test_a_reward_s_features_and_day_have_the_same_defaults(v1: Service, policy: str) -> None:
    full: dict[str, Any] = {"hour_of_day": 12, "is_overdue": False, "task_age_days": 0.0, "priority": 1}
    await v1.reward_legacy("said", policy=policy, features=full, day_of_week=0)
    await v1.reward_legacy("left out", policy=policy, features={})
    assert (await v1.stats("said", policy))["theta"] == (await v1.stats("left out", policy))["theta"]


async def test_the_hour_is_the_context_s_and_the_rest_the_candidate_s(v1: Service) -> None:
    noon, night = {"hour_of_day": 12}, {"hour_of_day": 0}
    await v1.reward_legacy(features=noon)
    one = {"id": "tip", "content": "", "source": "task"}
    scores = [
        (await v1.score(candidates=[{**one, "features": features}], context=context))["score"]
        for features, context in ((noon, noon), (night, noon), (noon, night))
    ]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


@pytest.mark.parametrize("where", ["/stats/{}", "/stats/linucb/{}", "/stats/egreedy/{}"])
async def test_a_user_never_met_is_no_error(v1: Service, where: str) -> None:
    stats = read_ok(await v1.get(where.format("nobody")))
    size = 7 if "egreedy" in where else 5
    assert stats["user_id"] == "nobody"
    assert (stats["pulls"], stats["reward_count"]) == (0, 0)
    assert (stats["cumulative_reward"], stats["estimated_mean_reward"]) == (0.0, 0.0)
    assert stats["theta"] == [0.0] * size
    assert stats["last_updated"] is None
    assert stats["exploration_rate"] == 0
    assert await v1.history("nobody") == []
    assert read_ok(await v1.post("/reset/nobody")) == {"ok": True}
    assert read_ok(await v1.get("/users"))["users"] == [], "to ask about somebody is not to meet them"


async def test_stats_count_pulls_and_rewards_and_their_mean(v1: Service) -> None:
    for _ in range(3):
        await v1.score()
    for reward in (1.0, -0.5):
        await v1.reward_legacy(reward=reward)
    stats = await v1.stats()
    assert (stats["pulls"], stats["reward_count"]) == (3, 2)
    assert stats["cumulative_reward"] == 0.5
    assert stats["estimated_mean_reward"] == 0.25


async def test_stats_of_egreedy_also_name_the_policy_and_the_features(v1: Service) -> None:
    stats = await v1.stats("ada", "egreedy")
    assert stats["policy"] == "egreedy-v1"
    assert stats["feature_labels"] == [
        "hour_sin",
        "hour_cos",
        "is_overdue",
        "task_age",
        "priority",
        "dow_sin",
        "dow_cos",
    ]


async def test_last_updated_moves_on_score_and_on_reward(v1: Service) -> None:
    seen = []
    await v1.score()
    seen.append((await v1.stats())["last_updated"])
    await v1.reward_legacy()
    seen.append((await v1.stats())["last_updated"])
    await v1.score()
    seen.append((await v1.stats())["last_updated"])
    assert seen == sorted(seen)
    assert all(WHOLE_SECONDS.fullmatch(each) for each in seen)


async def test_reward_and_reward_egreedy_teach_their_own_policy_alone(v1: Service) -> None:
    await v1.reward_legacy("ada", reward=1.0)
    await v1.reward_legacy("ada", policy="egreedy", reward=-1.0)
    assert (await v1.stats("ada"))["cumulative_reward"] == 1.0
    assert (await v1.stats("ada", "linucb"))["cumulative_reward"] == 1.0
    assert (await v1.stats("ada", "egreedy"))["cumulative_reward"] == -1.0
    assert (await v1.stats("ada", "linucb-v2"))["reward_count"] == 0


async def test_features_are_the_newest_100_scorings_oldest_first_all_policies_mixed(v1: Service) -> None:
    for number in range(103):
        candidate = {"id": f"tip-{number}", "content": "", "source": "task", "features": {"task_age_days": number}}
        policy = [None, "egreedy", "linucb-v2"][number % 3]
        await v1.score(policy=policy, candidates=[candidate], context={"hour_of_day": number % 24, "day_of_week": 3})
    history = await v1.history()
    assert [entry["tip_id"] for entry in history] == [f"tip-{number}" for number in range(3, 103)]
    assert [entry["ts"] for entry in history] == sorted(entry["ts"] for entry in history)
    assert all(WHOLE_SECONDS.fullmatch(entry["ts"]) for entry in history)
    assert {entry["policy"] for entry in history} == {"linucb-v1", "egreedy-v1", "linucb-v2"}
    for number, entry in enumerate(history, start=3):
        raw = {"hour_of_day": number % 24, "is_overdue": False, "task_age_days": number, "priority": 1}
        assert {**entry["features"], **raw} == entry["features"], "raw: as sent, and the defaults"
        assert isinstance(entry["score"], float)
        if entry["policy"] == "egreedy-v1":
            assert isinstance(entry["exploring"], bool)
        assert entry["features"].get("exploring") == (entry["exploring"] if entry["policy"] == "egreedy-v1" else None)
        looks_at_the_day = entry["policy"] != "linucb-v1"
        assert entry["day_of_week"] == (3 if looks_at_the_day else None)
        assert ("day_of_week" in entry["features"]) == looks_at_the_day


async def test_both_forms_of_features_are_one(v1: Service) -> None:
    await v1.score()
    assert (await v1.get("/features/ada")).json() == (await v1.get("/features?user_id=ada")).json()


async def test_reset_forgets_all_policies_and_the_history_of_that_user_and_is_idempotent(v1: Service) -> None:
    untouched = Textbook(weekday=False, alpha=1.0)
    fresh = untouched.score(untouched.features(9, 0, FEATURES))
    for user in ("ada", "bob"):
        for policy in (None, "egreedy", "linucb-v2"):
            await v1.score(user, policy=policy)
            await v1.reward_legacy(user, policy=policy)
    for _ in range(2):
        assert read_ok(await v1.post("/reset/ada")) == {"ok": True}
        for policy in ("linucb", "egreedy", "linucb-v2"):
            stats = await v1.stats("ada", policy)
            assert (stats["pulls"], stats["reward_count"], stats["last_updated"]) == (0, 0, None)
            assert set(stats["theta"]) == {0.0}
        assert await v1.history("ada") == []
    assert (await v1.stats("bob"))["reward_count"] == 1
    assert len(await v1.history("bob")) == 3
    answer = await v1.score("ada", candidates=TWO[:1], context={"hour_of_day": 9})
    assert answer["score"] == pytest.approx(fresh, rel=0, abs=1e-9)


@pytest.mark.asyncio(loop_scope="module")
async def test_no_candidates_are_a_422(shared_v1: Service) -> None:
    read_problem(
        await shared_v1.post("/score", {"user_id": "ada", "candidates": []}), 422, "invalid-request", "candidates"
    )
    read_problem(await shared_v1.post("/score/egreedy", {"user_id": "ada"}), 422, "invalid-request", "candidates")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("left_out", ["user_id", "tip_id", "features"])
async def test_a_reward_without_a_decision_needs_its_fields(shared_v1: Service, left_out: str) -> None:
    whole = {"user_id": "ada", "tip_id": "tip-1", "reward": 1.0, "features": FEATURES}
    del whole[left_out]
    for path in ("/reward", "/reward/egreedy"):
        read_problem(await shared_v1.post(path, whole), 422, "invalid-request", left_out)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("action", "dwell_ms", "reward"),
    [
        ("dismiss", None, -1.0),
        ("dismiss", 3_000, -1.0),
        ("snooze", None, 0.1),
        ("snooze", 900_000, 0.1),
        ("done", 0, -0.3),
        ("done", 14_999.9, -0.3),
        ("done", 15_000, 1.0),
        ("done", 119_999, 1.0),
        ("done", 120_000, 0.6),
        ("done", 599_999, 0.6),
        ("done", 600_000, 0.3),
        ("done", 86_400_000, 0.3),
    ],
)
async def test_a_reaction_becomes_the_contract_s_reward(
    shared_v1: Service, action: str, dwell_ms: float | None, reward: float
) -> None:
    reaction = {"action": action} if dwell_ms is None else {"action": action, "dwell_ms": dwell_ms}
    by_decision = await shared_v1.reward(decision_id=(await shared_v1.score())["decision_id"], reaction=reaction)
    user = f"{action} {dwell_ms}"
    legacy = await shared_v1.reward(user_id=user, tip_id="tip-1", features=FEATURES, reaction=reaction)
    assert by_decision["reward"] == legacy["reward"] == reward
    assert (await shared_v1.stats(user))["cumulative_reward"] == reward


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "reaction", [{"action": "done"}, {"action": "done", "dwell_ms": None}, {"action": "done", "dwell_ms": -1}]
)
async def test_done_without_a_dwell_or_with_a_negative_one_is_a_422(
    shared_v1: Service, reaction: dict[str, object]
) -> None:
    decision = await shared_v1.score()
    answer = await shared_v1.post("/reward", {"decision_id": decision["decision_id"], "reaction": reaction})
    read_problem(answer, 422, "invalid-request", "reaction.dwell_ms")


async def test_the_deployment_s_choice_of_policy_does_not_move_the_contract_s_names(tmp_path: Path) -> None:
    async with run_service(tmp_path / "a", active_policy="egreedy-v1") as service:
        assert (await service.score())["policy"] == "egreedy-v1"
        assert (await service.score(policy="linucb"))["policy"] == "linucb-v1"
        assert (await service.reward_legacy())["policy"] == "egreedy-v1"
    async with run_service(tmp_path / "b") as service:
        assert (await service.score())["policy"] == "linucb-v2", "the default is ours"
        assert (await service.score(policy="egreedy"))["policy"] == "egreedy-v1"
