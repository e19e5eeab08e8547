"""Reward: what is being rewarded is found, logged once, and teaches who decided."""

import asyncio
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.policy_state import PolicyState
from bandstand.errors import (
    AlreadyRewardedError,
    IdempotencyMismatchError,
    InvalidRequestError,
    UnknownDecisionError,
    UnknownPolicyError,
    WrongPolicyError,
)
from bandstand.service.reward import RewardResult
from bandstand.store.records import Decision
from tests.service.given import FEATURES, Service
from tests.store.given import CATALOGUE, DAY, random_features


async def state(service: Service, policy: str = "linucb-v2", user_id: str = "anna") -> PolicyState:
    profile = await service.deployment.store.load_profile(user_id)
    return profile.policies.get((policy, CATALOGUE.policies[policy].schema.name)) or PolicyState()


# ── by decision ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", sorted(CATALOGUE.policies))
async def test_it_teaches_the_policy_that_decided_what_it_saw(service: Service, policy: str) -> None:
    request = service.request()
    scored = await service.score(request, policy=policy)
    taught = await service.reward({"decision_id": scored.decision_id, "reward": -0.25})
    assert (taught.policy, taught.reward, taught.applied, taught.reason) == (policy, -0.25, True, None)
    assert (taught.decision_id, taught.repeated) == (scored.decision_id, False)
    picked = next(each for each in request["candidates"] if each["id"] == scored.tip_id)
    x = CATALOGUE.policies[policy].schema.encode(request["context"], [picked["features"]])[0]
    for _ in range(2):
        for name in CATALOGUE.policies:
            assert (await state(service, name)).reward_count == (name == policy)
        ridge = (await state(service, policy)).ridge
        assert ridge is not None
        np.testing.assert_allclose(ridge.b, -0.25 * x, rtol=0, atol=1e-12)
        await service.reopen()


async def test_features_of_the_request_are_not_taken_for_those_of_the_decision(service: Service) -> None:
    scored = await service.score(policy="linucb")
    before = await service.deployment.store.find_receipt(str(scored.decision_id))
    assert before is not None
    request = service.legacy(reward=1.0) | {"decision_id": scored.decision_id, "tip_id": scored.tip_id}
    await service.reward(request)
    await service.reopen()
    entry = await service.deployment.store.find_decision(str(scored.decision_id))
    assert entry is not None
    ridge = (await state(service, "linucb-v1")).ridge
    assert ridge is not None
    assert entry.x is not None
    np.testing.assert_allclose(ridge.b, entry.x, rtol=0, atol=1e-12)


async def test_the_same_again_gets_the_first_answer_and_another_is_refused(service: Service) -> None:
    scored = await service.score()
    request = {"decision_id": scored.decision_id, "reward": 0.5}
    first = await service.reward(request)
    for _ in range(2):
        again = await service.reward(dict(reversed(request.items())))
        assert again.repeated
        assert (again.policy, again.reward, again.applied) == (first.policy, first.reward, first.applied)
        for other in (
            request | {"reward": 0.25},
            {"decision_id": scored.decision_id, "reaction": {"action": "dismiss"}},
        ):
            with pytest.raises(AlreadyRewardedError):
                await service.reward(other)
        await service.reopen()
    assert (await state(service)).reward_count == 1


async def test_retries_and_contradictions_at_once_teach_once(service: Service) -> None:
    scored = await service.score()
    requests = [{"decision_id": scored.decision_id, "reward": (0.5, -0.5)[n % 2]} for n in range(20)]
    answers = await asyncio.gather(*(service.reward(request) for request in requests), return_exceptions=True)
    assert sum(isinstance(answer, AlreadyRewardedError) for answer in answers) == 10
    standing = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert {answer.reward for answer in standing} == {0.5}
    assert sum(not answer.repeated for answer in standing) == 1
    assert (await state(service)).reward_count == 1


async def test_an_unknown_decision_teaches_nobody(service: Service) -> None:
    for decision_id in ("mine", "f" * 32, "0" * 32, "../../etc/passwd"):
        with pytest.raises(UnknownDecisionError):
            await service.reward({"decision_id": decision_id, "reward": 1.0})
        with pytest.raises(UnknownDecisionError):
            await service.reward({"decision_id": decision_id, "user_id": "anna", "reward": 1.0})
    assert await service.deployment.store.count_users() == 0


async def test_another_users_decision_is_as_unknown_as_none(service: Service) -> None:
    scored = await service.score()
    request = {"decision_id": scored.decision_id, "reward": 1.0}
    messages = []
    for foreign in (request | {"user_id": "berta"}, request | {"decision_id": "mine", "user_id": "berta"}):
        with pytest.raises(UnknownDecisionError) as caught:
            await service.reward(foreign)
        messages.append(caught.value.detail)
    assert messages[0] == messages[1], "it is not told apart"
    assert (await service.reward(request | {"user_id": "anna"})).applied


async def test_a_named_policy_must_have_decided(service: Service) -> None:
    scored = await service.score(policy="linucb")
    request = {"decision_id": scored.decision_id, "reward": 1.0}
    with pytest.raises(WrongPolicyError):
        await service.reward(request, policy="egreedy")
    with pytest.raises(UnknownPolicyError):
        await service.reward(request, policy="nobody's")
    assert (await service.reward(request, policy="linucb-v1")).applied


async def test_a_tip_that_was_not_picked_is_a_mistake(service: Service) -> None:
    scored = await service.score()
    request = {"decision_id": scored.decision_id, "reward": 1.0}
    with pytest.raises(InvalidRequestError) as caught:
        await service.reward(request | {"tip_id": "zebra"})
    assert [fault.field for fault in caught.value.errors] == ["tip_id"]
    assert "zebra" not in str(caught.value.errors), "a message never echoes the input"
    assert (await service.reward(request | {"tip_id": scored.tip_id})).applied


async def test_after_a_reset_it_is_logged_and_teaches_nothing(service: Service) -> None:
    scored = await service.score()
    await service.deployment.store.reset("anna", "tests")
    request = {"decision_id": scored.decision_id, "reward": 1.0}
    for repeated in (False, True):
        taught = await service.reward(request)
        assert (taught.applied, taught.reason, taught.repeated) == (False, "reset", repeated)
        await service.reopen()
    assert (await state(service)).reward_count == 0


async def test_after_an_erasure_it_is_unknown(service: Service) -> None:
    scored = await service.score()
    await service.deployment.store.erase("anna", "tests")
    with pytest.raises(UnknownDecisionError):
        await service.reward({"decision_id": scored.decision_id, "reward": 1.0})


async def test_late_rewards_count(service: Service) -> None:
    scored = await service.score()
    service.clock.now += 60 * DAY
    assert (await service.reward({"decision_id": scored.decision_id, "reward": 1.0})).applied


# ── in the legacy form ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("named", "policy"), [(None, "linucb-v2"), ("linucb", "linucb-v1"), ("egreedy", "egreedy-v1")])
async def test_it_teaches_the_named_policy_alone(service: Service, named: str | None, policy: str) -> None:
    taught = await service.reward(service.legacy(reward=-0.5), policy=named)
    assert (taught.policy, taught.reward, taught.applied, taught.decision_id) == (policy, -0.5, True, None)
    for name in CATALOGUE.policies:
        assert (await state(service, name)).reward_count == (name == policy)


async def test_all_features_come_from_the_request(service: Service) -> None:
    """Contract A1 and A2, spelled out: x5 and x7 of hour 9, day 2, overdue, 15 days, priority 4."""
    hour = [np.sin(2 * np.pi * 9 / 24), np.cos(2 * np.pi * 9 / 24)]
    day = [np.sin(2 * np.pi * 2 / 7), np.cos(2 * np.pi * 2 / 7)]
    x5 = [*hour, 1.0, 0.5, 1.0]
    for name, policy, x in (("linucb", "linucb-v1", x5), ("egreedy", "egreedy-v1", [*x5, *day])):
        await service.reward(service.legacy(reward=0.5), policy=name)
        for _ in range(2):
            ridge = (await state(service, policy)).ridge
            assert ridge is not None
            np.testing.assert_allclose(ridge.gram, np.outer(x, x), rtol=0, atol=1e-12)
            np.testing.assert_allclose(ridge.b, 0.5 * np.array(x), rtol=0, atol=1e-12)
            await service.reopen()


async def test_left_out_features_take_their_defaults(service: Service) -> None:
    bare: dict[str, Any] = {"user_id": "anna", "tip_id": "tip", "reward": 1.0, "features": {}}
    await service.reward(bare, policy="egreedy")
    ridge = (await state(service, "egreedy-v1")).ridge
    assert ridge is not None
    np.testing.assert_allclose(ridge.b, [0, -1, 0, 0, 0, 0, 1], rtol=0, atol=1e-12)


async def test_each_counts_though_they_are_alike(service: Service) -> None:
    answers = await asyncio.gather(*(service.reward(service.legacy()) for _ in range(10)))
    assert not any(answer.repeated for answer in answers)
    assert (await state(service)).reward_count == 10


@pytest.mark.parametrize("missing", ["user_id", "tip_id", "features"])
async def test_without_a_decision_its_fields_are_required(service: Service, missing: str) -> None:
    request = service.legacy()
    del request[missing]
    with pytest.raises(InvalidRequestError) as caught:
        await service.reward(request)
    assert [fault.field for fault in caught.value.errors] == [missing]
    assert await service.deployment.store.count_users() == 0


async def test_rewards_of_both_forms_make_the_next_pick_better(service: Service) -> None:
    good = {"id": "good", "content": "", "source": "", "features": FEATURES}
    bad = {"id": "bad", "content": "", "source": "", "features": FEATURES | {"is_overdue": False, "priority": 1}}
    for _ in range(40):
        scored = await service.score({"user_id": "anna", "candidates": [good, bad]})
        value = 1.0 if scored.tip_id == "good" else -1.0
        await service.reward({"decision_id": scored.decision_id, "reward": value})
    later = await service.score({"user_id": "anna", "candidates": [bad, good]})
    assert later.build_ranking([bad, good])[0]["tip_id"] == "good"


# ── the value ─────────────────────────────────────────────────────────────────────────────────────────────────────────

REACTIONS = [
    ({"action": "dismiss"}, -1.0),
    ({"action": "dismiss", "dwell_ms": 99_000}, -1.0),
    ({"action": "snooze"}, 0.1),
    ({"action": "snooze", "dwell_ms": None}, 0.1),
    ({"action": "done", "dwell_ms": 0}, -0.3),
    ({"action": "done", "dwell_ms": 14_999.9}, -0.3),
    ({"action": "done", "dwell_ms": 15_000}, 1.0),
    ({"action": "done", "dwell_ms": 119_999}, 1.0),
    ({"action": "done", "dwell_ms": 120_000}, 0.6),
    ({"action": "done", "dwell_ms": 599_999}, 0.6),
    ({"action": "done", "dwell_ms": 600_000}, 0.3),
    ({"action": "done", "dwell_ms": 1e12}, 0.3),
]


@pytest.mark.parametrize(("reaction", "value"), REACTIONS)
async def test_a_reaction_is_worth_what_the_contract_says(
    service: Service, reaction: dict[str, Any], value: float
) -> None:
    scored = await service.score()
    assert (await service.reward({"decision_id": scored.decision_id, "reaction": reaction})).reward == value
    request = service.legacy()
    del request["reward"]
    assert (await service.reward(request | {"reaction": reaction})).reward == value
    assert (await state(service)).cumulative_reward == pytest.approx(2 * value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"reward": 0.5, "reaction": {"action": "snooze"}},
        {"reaction": {"action": "done"}},
        {"reaction": {"action": "done", "dwell_ms": None}},
        {"reaction": {"action": "done", "dwell_ms": -1}},
        {"reaction": {"action": "done", "dwell_ms": float("nan")}},
        {"reaction": {"action": "applaud"}},
        {"reward": 1.0000001},
        {"reward": -2},
        {"reward": float("nan")},
        {"reward": float("inf")},
        {"reward": True},
    ],
    ids=str,
)
async def test_what_is_no_value_is_refused_and_leaves_no_trace(service: Service, value: dict[str, Any]) -> None:
    scored = await service.score()
    legacy = service.legacy("berta")
    del legacy["reward"]
    for request in ({"decision_id": scored.decision_id}, legacy):
        with pytest.raises(InvalidRequestError):
            await service.reward(request | value)
    assert await service.deployment.store.count_users() == 1
    assert (await service.reward({"decision_id": scored.decision_id, "reward": 1})).applied


# ── Idempotency-Key ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_gives_the_first_answer_again(service: Service) -> None:
    first = await service.reward(service.legacy(), key="key")
    for _ in range(2):
        again = await service.reward(service.legacy(), key="key")
        assert again.repeated
        assert (again.policy, again.reward, again.applied) == (first.policy, first.reward, first.applied)
        with pytest.raises(IdempotencyMismatchError):
            await service.reward(service.legacy(reward=0.25), key="key")
        await service.reopen()
    assert (await state(service)).reward_count == 1


async def test_a_key_belongs_to_its_caller_and_route(service: Service) -> None:
    assert not (await service.reward(service.legacy(), key="key", route="one")).repeated
    assert not (await service.reward(service.legacy(reward=0.25), key="key", route="other")).repeated
    assert (await state(service)).reward_count == 2


async def test_a_key_with_a_decision(service: Service) -> None:
    one, other = await service.score(), await service.score()
    request = {"decision_id": one.decision_id, "reward": 0.5}
    await service.reward(request, key="key")
    assert (await service.reward(request, key="key")).repeated
    assert (await service.reward(request)).repeated, "with or without the key"
    assert (await service.reward(request, key="another key")).repeated
    with pytest.raises(IdempotencyMismatchError):
        await service.reward({"decision_id": other.decision_id, "reward": 0.5}, key="key")
    with pytest.raises(AlreadyRewardedError):
        await service.reward(request | {"reward": 0.25}, key="yet another")
    assert (await service.reward({"decision_id": other.decision_id, "reward": 0.5})).applied
    assert (await state(service)).reward_count == 2


async def test_what_came_with_a_key_goes_before_whether_there_is_such_a_decision(service: Service) -> None:
    one, other = await service.score(), await service.score(user_id="bob")
    await service.reward({"decision_id": one.decision_id, "reward": 0.5}, key="key")
    unknown: list[dict[str, object]] = [
        {"decision_id": "mine", "reward": 0.5},
        {"decision_id": "mine", "user_id": "ada", "reward": 0.5},
        {"decision_id": other.decision_id, "user_id": "ada", "reward": 0.5},
    ]
    for request in unknown:
        with pytest.raises(IdempotencyMismatchError):
            await service.reward(request, key="key")
        for key in (None, "another key"):
            with pytest.raises(UnknownDecisionError):
                await service.reward(request, key=key)
    assert await service.deployment.store.count_users() == 2
    assert (await state(service)).reward_count == 1
    assert (await service.reward({"decision_id": other.decision_id, "reward": 0.5}, key="another key")).applied


OVERTAKEN: list[tuple[dict[str, Any], str | None, type[Exception] | None]] = [
    ({}, None, None),
    ({"user_id": "anna"}, None, None),
    ({"user_id": "anna", "tip_id": "zebra"}, None, InvalidRequestError),
    ({"user_id": "anna"}, "linucb", WrongPolicyError),
]


@pytest.mark.parametrize(("fields", "named", "refusal"), OVERTAKEN)
async def test_a_decision_made_just_after_it_was_not_found_is_not_rewarded_for_another(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    named: str | None,
    refusal: type[Exception] | None,
) -> None:
    """A reward may overtake its own score: what it then means cannot be known, and nobody may be taught for it."""
    find = service.deployment.store.find_decision
    made: list[str] = []

    async def find_before_it_is_made(decision_id: str) -> Decision | None:
        found = await find(decision_id)
        if found is None and not made:
            made.append(decision_id)
            await service.score(policy="egreedy", decision_id=decision_id)
        return found

    request = {"decision_id": "mine", "reward": 0.5} | fields
    with monkeypatch.context() as patch:
        patch.setattr(service.deployment.store, "find_decision", find_before_it_is_made)
        with pytest.raises(UnknownDecisionError):
            await service.reward(request, policy=named, key="key")
    assert made
    for policy in CATALOGUE.policies:
        assert (await state(service, policy)).reward_count == 0
    if refusal is None:
        assert (await service.reward(request, policy=named, key="key")).policy == "egreedy-v1"
    else:
        with pytest.raises(refusal):
            await service.reward(request, policy=named, key="key")
    assert (await service.score()).policy == "linucb-v2"


async def test_rewards_sent_together_with_their_scores_teach_who_decided_or_nobody(service: Service) -> None:
    taught = 0
    for number in range(10):
        request = {"decision_id": f"mine-{number}", "user_id": "anna", "reward": 0.5}
        scored, answer = await asyncio.gather(
            service.score(policy="egreedy", decision_id=request["decision_id"]),
            service.reward(request, key=f"key-{number}"),
            return_exceptions=True,
        )
        assert not isinstance(scored, BaseException)
        assert isinstance(answer, UnknownDecisionError) or getattr(answer, "policy", None) == "egreedy-v1"
        taught += not isinstance(answer, UnknownDecisionError)
    for _ in range(2):
        assert (await state(service, "egreedy-v1")).reward_count == taught
        assert (await state(service, "linucb-v2")).reward_count == 0
        await service.reopen()


async def test_a_refused_request_spends_no_key(service: Service) -> None:
    with pytest.raises(InvalidRequestError):
        await service.reward({"decision_id": "mine"}, key="key")
    with pytest.raises(UnknownDecisionError):
        await service.reward({"decision_id": "mine", "reward": 1.0}, key="key")
    assert not (await service.reward(service.legacy(), key="key")).repeated


async def test_retries_under_one_key_at_once_teach_once(service: Service) -> None:
    answers = await asyncio.gather(*(service.reward(service.legacy(), key="key") for _ in range(20)))
    assert sum(not answer.repeated for answer in answers) == 1
    assert (await state(service)).reward_count == 1


# ── one turn of the loop ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_rewards_taken_together_teach_what_they_teach_one_by_one(service: Service) -> None:
    policies = sorted(CATALOGUE.policies)
    for policy in policies:
        given = [
            service.legacy(reward=number / 10, features=random_features(service.random), day_of_week=number)
            for number in range(7)
        ]
        await asyncio.gather(*(service.reward(request, policy=policy) for request in given))
        for request in given:
            await service.reward(request | {"user_id": "berta"}, policy=policy)
    for _ in range(2):
        for policy in policies:
            together, apart = await state(service, policy), await state(service, policy, "berta")
            assert together.ridge is not None
            assert apart.ridge is not None
            np.testing.assert_array_equal(together.ridge.gram, apart.ridge.gram)
            np.testing.assert_array_equal(together.ridge.b, apart.ridge.b)
        await service.reopen()


async def test_a_refused_reward_fails_none_of_its_neighbours(service: Service) -> None:
    scored = [await service.score(user_id=f"user-{number}") for number in range(3)]
    first = await service.reward(service.legacy(), key="key")
    await service.reopen()
    refused = [
        service.reward({"decision_id": "nobody's", "reward": 1.0}),
        service.reward({"decision_id": scored[0].decision_id, "tip_id": "zebra", "reward": 1.0}),
        service.reward({"decision_id": scored[1].decision_id, "reward": 1.0}, policy="egreedy"),
        service.reward({"user_id": "anna", "reward": 1.0}),
        service.reward(service.legacy(reward=-1.0), key="key"),
    ]
    taken = [
        service.reward(service.legacy(), key="key"),
        *(service.reward({"decision_id": each.decision_id, "reward": 0.5}) for each in scored),
        *(service.reward(service.legacy(user_id=f"user-{number}")) for number in range(3)),
    ]
    answers = await asyncio.gather(*refused, *taken, return_exceptions=True)
    errors = (UnknownDecisionError, InvalidRequestError, WrongPolicyError, InvalidRequestError)
    for answer, error in zip(answers, (*errors, IdempotencyMismatchError), strict=False):
        assert isinstance(answer, error)
    again, *others = answers[len(refused) :]
    assert isinstance(again, RewardResult)
    assert (again.repeated, again.reward) == (True, first.reward)
    assert all(isinstance(answer, RewardResult) and not answer.repeated for answer in others)
    for number in range(3):
        assert (await state(service, user_id=f"user-{number}")).reward_count == 2
