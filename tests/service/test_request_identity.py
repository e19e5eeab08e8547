"""A retry is the same request if what is read of it is the same."""

from typing import Any

import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import AlreadyRewardedError, DecisionConflictError, IdempotencyMismatchError
from bandstand.service.request_identity import hash_body, hash_reward_request, is_about, is_same_score_request
from tests.service.given import Service
from tests.store.given import CATALOGUE

CANDIDATES: list[dict[str, Any]] = [
    {"id": "a", "content": "One.", "source": "s", "features": {"priority": 4}},
    {"id": "b", "content": "Two.", "source": "s"},
]
SCORE: dict[str, Any] = {"user_id": "ada", "candidates": CANDIDATES, "context": {"hour_of_day": 9}, "decision_id": "d"}
SPELT_OUT = {"is_overdue": False, "task_age_days": 0.0, "priority": 4}


@pytest.mark.parametrize(
    "change",
    [
        {"ranking": True},
        {"sent_at": "01Z"},
        {"context": {"hour_of_day": 9, "day_of_week": 0}},
        {"context": {"hour_of_day": 9, "device": "phone"}},
        {"candidates": [{**CANDIDATES[0], "features": SPELT_OUT}, {**CANDIDATES[1], "features": {}}]},
        {
            "candidates": [
                {**CANDIDATES[0], "content": "Reworded."},
                {**CANDIDATES[1], "source": "t", "source_id": None},
            ]
        },
        {"candidates": [CANDIDATES[0], {**CANDIDATES[1], "colour": "red"}]},
    ],
    ids=str,
)
async def test_what_nobody_reads_makes_no_other_decision(service: Service, change: dict[str, Any]) -> None:
    first = await service.score(SCORE)
    for _ in range(2):
        again = await service.score(SCORE | change)
        assert (again.repeated, again.tip_id, again.score) == (True, first.tip_id, first.score)
        await service.reopen()


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "bob"},
        {"context": {}},
        {"context": {"hour_of_day": 9, "day_of_week": 1}},
        {"candidates": CANDIDATES[::-1]},
        {"candidates": CANDIDATES[:1]},
        {"candidates": [{**CANDIDATES[0], "features": {}}, CANDIDATES[1]]},
        {"candidates": [{**CANDIDATES[0], "id": "c"}, CANDIDATES[1]]},
    ],
    ids=str,
)
async def test_what_is_read_does(service: Service, change: dict[str, Any]) -> None:
    await service.score(SCORE)
    with pytest.raises(DecisionConflictError):
        await service.score(SCORE | change)


async def test_content_that_a_schema_reads_counts() -> None:
    assert is_same_score_request(
        CATALOGUE, SCORE, SCORE | {"candidates": [{**CANDIDATES[0], "content": ""}, CANDIDATES[1]]}
    )
    read = CATALOGUE.candidate_fields["priority"]

    class Reading:
        is_open = False
        context_fields = CATALOGUE.context_fields
        candidate_fields = {"content": type(read)("content", "candidate", "string", "")}  # noqa: RUF012 (a stand-in)

    changed = SCORE | {"candidates": [{**CANDIDATES[0], "content": ""}, CANDIDATES[1]]}
    assert not is_same_score_request(Reading, SCORE, changed)  # type: ignore[arg-type]  # it reads content


async def test_a_reward_of_a_decision_is_its_value(service: Service) -> None:
    scored = await service.score(SCORE)
    request = {"decision_id": "d", "reward": 0.5}
    await service.reward(request)
    for change in ({}, {"user_id": "ada"}, {"tip_id": scored.tip_id}, {"wait": True}, {"features": {"priority": 2}}):
        assert (await service.reward(request | change)).repeated, change
    with pytest.raises(AlreadyRewardedError):
        await service.reward(request | {"reward": 0.25})
    with pytest.raises(AlreadyRewardedError):
        await service.reward({"decision_id": "d", "reaction": {"action": "dismiss"}})


async def test_a_legacy_reward_under_a_key_is_what_is_read_of_it(service: Service) -> None:
    request = service.legacy(features={"priority": 4, "hour_of_day": 9}, day_of_week=0)
    await service.reward(request, key="k")
    without_day = {name: value for name, value in request.items() if name != "day_of_week"}
    for same in (
        request,
        without_day,
        without_day | {"features": {**SPELT_OUT, "hour_of_day": 9, "day_of_week": 0}},
    ):
        assert (await service.reward(same, key="k")).repeated
    for other in (request | {"day_of_week": 1}, request | {"features": {"priority": 4}}, request | {"user_id": "bob"}):
        with pytest.raises(IdempotencyMismatchError):
            await service.reward(other, key="k")


def test_the_plainest_requests_hash_as_they_always_did() -> None:
    for request in (
        {"decision_id": "d", "reward": 0.5},
        {"decision_id": "d", "reaction": {"action": "done", "dwell_ms": 5.0}},
        {"decision_id": "d", "turn": {"query_t": "", "answer_t": "a", "query_t1": "b"}},
        {"user_id": "ada", "tip_id": "t", "reward": -1.0, "features": {"priority": 4}},
        {"decision_id": 'é "\\ \ud800 😀', "reward": -0.0},
        {"decision_id": "d", "reward": 1},
        {"decision_id": "d", "reward": 1e-07, "metrics": {"clicks": 2.0}},
        {"user_id": 'é "\\', "tip_id": "\x7f😀", "reward": 1 / 3, "features": {}},
        {"tip_id": "t", "reward": 0.1, "features": {"task_age_days": 1e22, "is_overdue": True, "hour_of_day": 3}},
    ):
        assert hash_reward_request(CATALOGUE, request) == hash_body(request)
        assert hash_reward_request(CATALOGUE, {"reaction": None, "metrics": None, **request}) == hash_body(request)


async def test_a_reward_that_was_logged_by_its_whole_body_is_known_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.score(SCORE)
    request = {"decision_id": "d", "reward": 0.5, "user_id": "ada"}
    with monkeypatch.context() as earlier:
        earlier.setattr("bandstand.service.reward.hash_reward_request", lambda _, request: hash_body(request))
        await service.reward(request)
    assert (await service.reward(request)).repeated


def test_another_user_s_name_or_tip_is_another_request() -> None:
    assert is_about({}, "ada", "t")
    assert is_about({"user_id": "ada", "tip_id": "anything"}, "ada", ""), "retention has taken the tip"
    assert not is_about({"user_id": "bob"}, "ada", "t")
    assert not is_about({"tip_id": "u"}, "ada", "t")


def test_of_an_open_schema_everything_is_read() -> None:
    tables = {"schemas": {"any": {"version": 1, "features": [{"name": "all", "encoding": "open"}]}}}
    catalogue = Catalogue.parse({**tables, "policies": {"p": {"kind": "linucb", "schema": "any"}}})
    plain = {"user_id": "ada", "decision_id": "d", "candidates": [{"id": "a", "features": {"colour": "red"}}]}
    assert is_same_score_request(catalogue, plain, {**plain, "sent_at": "02Z"})
    assert not is_same_score_request(catalogue, plain, {**plain, "context": {"device": "phone"}})
    other = {**plain, "candidates": [{"id": "a", "features": {"colour": "blue"}}]}
    assert not is_same_score_request(catalogue, plain, other)
    assert not is_same_score_request(CATALOGUE, SCORE, {**SCORE, "user_id": "bob"})
