"""Score: the pick is the policy's, drawn once by the decision's own number, logged before it is answered."""

import asyncio
import json
import math
from collections.abc import Awaitable
from pathlib import Path

import numpy as np
import pytest

from bandstand.bandit.distribution import hash_to_uniform
from bandstand.errors import (
    DecisionConflictError,
    InvalidRequestError,
    OverloadedError,
    StorageFullError,
    UnknownPolicyError,
)
from bandstand.service.history import load_receipt
from bandstand.store.embedded import state_directory
from bandstand.store.protocol import MovedError
from bandstand.store.records import Decision
from tests.service.given import FEATURES, Make, Request, Service, on_disk
from tests.store.given import CATALOGUE
from tests.store.test_full_disk import Disk


async def test_the_answer_names_one_of_the_candidates_and_its_chance(service: Service) -> None:
    for count in (1, 2, 7):
        scored = await service.score(count=count)
        assert scored.tip_id in {f"tip-{number}" for number in range(count)}
        assert 0 < scored.propensity <= 1
        assert scored.policy == "linucb-v2"
        assert scored.decision_id is not None
        assert not scored.repeated


async def test_a_single_candidate_is_certain(service: Service) -> None:
    assert (await service.score(count=1)).propensity == pytest.approx(1.0, abs=1e-12)


async def test_the_named_policy_decides_and_the_active_one_where_none_is_named(make: Make, tmp_path: Path) -> None:
    service = Service(make(tmp_path), active_policy="egreedy")
    await service.deployment.store.open()
    named = {None: "egreedy-v1", "linucb": "linucb-v1", "egreedy": "egreedy-v1", "linucb-v2": "linucb-v2"}
    for name, policy in named.items():
        assert (await service.score(policy=name)).policy == policy
    with pytest.raises(UnknownPolicyError):
        await service.score(policy="nobody's")
    await service.deployment.store.close()


async def test_an_unknown_policy_leaves_no_trace(service: Service) -> None:
    with pytest.raises(UnknownPolicyError):
        await service.score(policy="nobody's")
    assert await service.deployment.store.count_users() == 0


async def test_the_draw_is_the_decisions_own(service: Service) -> None:
    for number in range(50):
        scored = await service.score(decision_id=f"mine-{number}", policy="egreedy")
        receipt = await service.deployment.store.find_receipt(f"mine-{number}")
        assert receipt is not None
        assert receipt.seed == hash_to_uniform(service.deployment.store.secret, f"mine-{number}")
        assert scored.exploring == (receipt.seed < receipt.floor)


async def test_draws_follow_the_logged_probabilities(service: Service) -> None:
    """Over many ids, each candidate is picked as often as its propensity says (to four standard errors)."""
    service.deployment.store.secret = bytes(32)  # the draws are the same in every run
    request = service.request()
    scores = [await service.score(request, policy="egreedy", decision_id=f"mine-{n}") for n in range(1500)]
    assert scores[0].numbers is not None
    probabilities = scores[0].numbers[3]
    for number, p in enumerate(probabilities):
        picked = [scored for scored in scores if scored.tip_id == f"tip-{number}"]
        assert len(picked) / 1500 == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 1500))
        assert all(scored.propensity == pytest.approx(p) for scored in picked)


async def test_the_score_is_the_policys_for_what_the_user_taught(service: Service) -> None:
    for _ in range(10):
        await service.reward(service.legacy(reward=service.random.uniform(-1, 1)), policy="linucb")
    request = service.request()
    scored = await service.score(request, policy="linucb")
    policy = CATALOGUE.policies["linucb-v1"]
    x = policy.schema.encode(request["context"], [each["features"] for each in request["candidates"]])
    profile = await service.deployment.store.load_profile("anna")
    ridge = profile.policies["linucb-v1", "tips-5"].ridge
    assert ridge is not None
    a = np.eye(5) + ridge.gram
    theta = np.linalg.solve(a, ridge.b)
    bound = x @ theta + np.sqrt(np.einsum("kd,dk->k", x, np.linalg.solve(a, x.T)))
    assert scored.score == pytest.approx(bound.max(), abs=1e-9)
    assert scored.tip_id == f"tip-{bound.argmax()}"


async def test_missing_context_and_features_take_their_defaults(service: Service) -> None:
    bare = {"user_id": "anna", "candidates": [{"id": "tip", "content": "", "source": ""}]}
    spelled = bare | {
        "context": {"hour_of_day": 12, "day_of_week": 0},
        "candidates": [
            {
                "id": "tip",
                "content": "",
                "source": "",
                "features": {"hour_of_day": 12, "is_overdue": False, "task_age_days": 0, "priority": 1},
            }
        ],
    }
    for policy in CATALOGUE.policies:
        assert (await service.score(bare, policy)).score == (await service.score(spelled, policy)).score


async def test_the_contexts_hour_counts_when_scoring(service: Service) -> None:
    await service.reward(service.legacy(reward=1.0), policy="linucb")
    candidate = {"id": "tip", "content": "", "source": "", "features": FEATURES | {"hour_of_day": 3}}
    request = {"user_id": "anna", "candidates": [candidate], "context": {"hour_of_day": 9}}
    other = request | {"candidates": [candidate | {"features": FEATURES | {"hour_of_day": 20}}]}
    assert (await service.score(request, "linucb")).score == (await service.score(other, "linucb")).score
    assert (await service.score(request | {"context": {"hour_of_day": 21}}, "linucb")).score != (
        await service.score(request, "linucb")
    ).score


async def test_the_ranking_is_complete_and_best_first(service: Service) -> None:
    request = service.request(count=8)
    ranking = (await service.score(request)).build_ranking(request["candidates"])
    scores = [entry["score"] for entry in ranking]
    assert scores == sorted(scores, reverse=True)
    assert {entry["tip_id"] for entry in ranking} == {candidate["id"] for candidate in request["candidates"]}
    assert sum(entry["propensity"] for entry in ranking) == pytest.approx(1.0)


async def test_equals_keep_the_callers_order(service: Service) -> None:
    candidates = [{"id": name, "content": "", "source": "", "features": FEATURES} for name in ("c", "a", "b")]
    scored = await service.score({"user_id": "anna", "candidates": candidates})
    assert [entry["tip_id"] for entry in scored.build_ranking(candidates)] == ["c", "a", "b"]
    assert scored.propensity == pytest.approx(1 / 3)


async def test_too_many_numbers_are_refused_and_not_logged(service: Service) -> None:
    with pytest.raises(InvalidRequestError):
        await service.score(count=20_000)
    assert await service.deployment.store.count_users() == 0


# ── the caller's own id ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_request_again_gets_the_same_answer(service: Service) -> None:
    request = service.request(decision_id="mine")
    first = await service.score(request)
    for _ in range(2):
        await service.reward(service.legacy(reward=-1.0))  # what was learned since does not matter
        again = await service.score(dict(reversed(request.items())))
        assert again.repeated
        assert (again.decision_id, again.tip_id, again.score) == ("mine", first.tip_id, first.score)
        assert (again.propensity, again.exploring, again.policy) == (first.propensity, first.exploring, first.policy)
        assert again.build_ranking(request["candidates"]) == first.build_ranking(request["candidates"])
        await service.reopen()
    assert len(await service.deployment.store.list_history("anna", 100)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "berta"},
        {"context": {"hour_of_day": 23}},
        {"context": {}},
        {"candidates": [{"id": "tip-0", "content": "…", "source": "tests"}]},
    ],
)
async def test_another_request_under_the_same_id_is_a_conflict(service: Service, change: dict[str, object]) -> None:
    request = service.request(decision_id="mine", context={"hour_of_day": 1})
    await service.score(request)
    for _ in range(2):
        with pytest.raises(DecisionConflictError):
            await service.score(request | change)
        await service.reopen()
    assert (await service.deployment.store.load_policy_totals())["linucb-v2"].decisions == 1


async def test_an_id_that_the_service_gave_names_that_decision_for_ever(service: Service) -> None:
    first = await service.score()
    for _ in range(2):
        with pytest.raises(DecisionConflictError):
            await service.score(decision_id=first.decision_id)
        await service.reopen()
    assert (await service.deployment.store.load_policy_totals())["linucb-v2"].decisions == 1


async def test_a_repeated_id_fails_none_of_its_neighbours(service: Service) -> None:
    request = service.request(decision_id="mine")
    first = await service.score(request)
    await service.reopen()
    others = [service.score(user_id=f"user-{number}") for number in range(8)]
    again, *scored = await asyncio.gather(service.score(request), *others)
    assert (again.repeated, again.tip_id) == (True, first.tip_id)
    assert not any(each.repeated for each in scored)
    assert (await service.deployment.store.load_policy_totals())["linucb-v2"].decisions == 9


async def test_another_policy_under_the_same_id_is_a_conflict(service: Service) -> None:
    request = service.request(decision_id="mine")
    await service.score(request, policy="linucb")
    assert (await service.score(request, policy="linucb-v1")).repeated
    assert (await service.score(request)).repeated, "a route that names no policy contradicts none"
    with pytest.raises(DecisionConflictError):
        await service.score(request, policy="egreedy")


async def test_retries_at_once_decide_once(service: Service) -> None:
    request = service.request(decision_id="mine")
    answers = await asyncio.gather(*(service.score(request) for _ in range(20)))
    assert len({(answer.tip_id, answer.score) for answer in answers}) == 1
    assert sum(not answer.repeated for answer in answers) == 1
    assert (await service.deployment.store.load_policy_totals())["linucb-v2"].decisions == 1


async def test_contradictions_at_once_decide_once(service: Service) -> None:
    requests = [service.request(decision_id="mine") for _ in range(10)]
    answers = await asyncio.gather(*(service.score(request) for request in requests), return_exceptions=True)
    assert sum(isinstance(answer, DecisionConflictError) for answer in answers) == 9
    assert (await service.deployment.store.load_policy_totals())["linucb-v2"].decisions == 1


async def test_an_erasure_in_between_frees_the_id(service: Service) -> None:
    request = service.request(decision_id="mine")
    for _ in range(10):
        answers = await asyncio.gather(
            service.score(request),
            service.deployment.store.erase("anna", "tests"),
            service.score(request),
            service.score(request),
        )
        assert {answers[0].decision_id, answers[2].decision_id, answers[3].decision_id} == {"mine"}
        await service.deployment.store.erase("anna", "tests")


# ── a state that has moved ────────────────────────────────────────────────────────────────────────────────────────────


async def test_whoever_is_behind_is_looked_at_first_and_decided_for_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = service.deployment.store, list[object]()
    await service.score()  # now the user is in memory
    decide = store.decide

    async def refresh(user_id: str) -> int | None:
        asked.append(user_id)
        return 7 if len(asked) == 1 else None

    def note(decision: Decision) -> Awaitable[Decision]:
        asked.append((decision.known, decision.tries))
        return decide(decision)

    monkeypatch.setattr(store, "is_behind", lambda _: len(asked) < 3)
    monkeypatch.setattr(store, "refresh_profile", refresh)
    monkeypatch.setattr(store, "decide", note)
    scored = await service.score()
    assert asked == ["anna", (7, 0)]
    assert await store.find_receipt(scored.decision_id or "") is not None
    await service.score()  # it leaves memory as it is looked at
    assert asked[2:] == ["anna", (None, 0)]


async def test_a_decision_of_a_state_that_moved_is_made_anew_by_the_policy_that_decides_then(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, tries = service.deployment.store, list[tuple[str, int]]()
    decide = store.decide

    async def refuse() -> Decision:
        raise MovedError("the user has been rewarded meanwhile; decide again")

    def decide_third(decision: Decision) -> Awaitable[Decision]:
        tries.append((decision.policy.name, decision.tries))
        if len(tries) == 1:
            return refuse()
        if len(tries) == 2:
            service.deployment.active_policy = "egreedy-v1"
            raise MovedError("the deployment has changed meanwhile; decide again")
        return decide(decision)

    monkeypatch.setattr(store, "decide", decide_third)
    scored = await service.score(decision_id="mine")
    assert tries == [("linucb-v2", 0), ("linucb-v2", 1), ("egreedy-v1", 2)]
    assert (scored.policy, scored.repeated) == ("egreedy-v1", False)
    receipt = await store.find_receipt("mine")
    assert receipt is not None
    assert (receipt.tip_id, receipt.policy.name) == (scored.tip_id, "egreedy-v1")


async def test_a_state_that_never_rests_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Decision) -> Awaitable[Decision]:
        raise MovedError("the user has been rewarded meanwhile; decide again")

    monkeypatch.setattr(service.deployment.store, "decide", refuse)
    with pytest.raises(OverloadedError, match="moves faster"):
        await service.score()


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_log_keeps_the_request_as_it_came(service: Service) -> None:
    request = service.request(unknown="field", user_id="../\U0001f98a")
    scored = await service.score(request)
    assert scored.decision_id is not None
    receipt = await service.deployment.store.find_receipt(scored.decision_id)
    assert receipt is not None
    assert json.loads(receipt.body) == request
    assert (receipt.client, receipt.ts, receipt.user_id) == ("tests", service.clock.now, "../\U0001f98a")


# ── a full disk ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("score_when_full", [False, True])
async def test_a_full_disk_refuses_or_scores_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, score_when_full: bool
) -> None:
    disk = Disk()
    monkeypatch.setattr(state_directory, "connect", disk.connect)
    service = Service(on_disk(tmp_path), score_when_full=score_when_full)
    await service.deployment.store.open()
    await service.reward(service.legacy(reward=1.0), key="key")
    request = service.request()
    logged = await service.score(request | {"decision_id": "mine"})
    disk.fill()
    for user_id in ("anna", "stranger"):
        if score_when_full:
            scored = await service.score(request, user_id=user_id)
            assert scored.decision_id is None, "it takes no reward"
            assert scored.tip_id in {candidate["id"] for candidate in request["candidates"]}
            assert 0 < scored.propensity <= 1
            assert len(scored.build_ranking(request["candidates"])) == 4
        else:
            with pytest.raises(StorageFullError):
                await service.score(request, user_id=user_id)
    assert (await service.score(request, decision_id="mine")).repeated, "what is logged is still answered"
    with pytest.raises(StorageFullError):
        await service.reward({"decision_id": logged.decision_id, "reward": 1.0})
    assert (await service.reward(service.legacy(reward=1.0), key="key")).repeated
    disk.fill(room=math.inf)
    assert (await service.score(request)).decision_id is not None
    assert (await service.deployment.store.load_policy_totals())["linucb-v2"].decisions == 2
    await service.deployment.store.close()


async def test_excluded_candidates_keep_their_places_and_have_no_chance(service: Service) -> None:
    for number in range(20):
        scored = await service.score(count=5, exclude=["tip-0", "tip-3"], ranking=True, decision_id=f"mine-{number}")
        assert scored.tip_id in {"tip-1", "tip-2", "tip-4"}
        ranking = scored.build_ranking([{"id": f"tip-{place}"} for place in range(5)])
        assert [ranking[place]["tip_id"] for place in (0, 3)] == ["tip-0", "tip-3"]
        assert [ranking[place]["propensity"] for place in (0, 3)] == [0.0, 0.0]
        assert sum(each["propensity"] for each in ranking) == pytest.approx(1.0, abs=1e-12)
        scores = [ranking[place]["score"] for place in (1, 2, 4)]
        assert scores == sorted(scores, reverse=True)
        receipt = await load_receipt(service.deployment, f"mine-{number}")
        assert [each.excluded for each in receipt.candidates] == [True, False, False, True, False]


async def test_the_first_that_may_be_picked_is_the_baseline(service: Service) -> None:
    assert (await service.score(policy="first-v1", exclude=["tip-0", "tip-1"])).tip_id == "tip-2"
    [draws] = [each for each in (await service.deployment.store.load_loop_sums(0)).draws if each.day is None]
    assert (draws.weight, draws.support) == (0.5, 0.5)  # of two candidates, not of four


async def test_a_retry_excludes_the_same(service: Service) -> None:
    request = service.request(decision_id="mine", exclude=["tip-0", "tip-1"])
    first = await service.score(request)
    again = await service.score(request, exclude=["tip-1", "tip-0"])
    assert (again.tip_id, again.repeated) == (first.tip_id, True)
    others: list[Request] = [{"exclude": ["tip-0"]}, {"exclude": []}, {"defer": True}]
    for changed in others:
        with pytest.raises(DecisionConflictError):
            await service.score(request, **changed)


async def test_what_excludes_nobody_known_or_everybody_is_refused(service: Service) -> None:
    for exclude in (["nobody"], [f"tip-{number}" for number in range(4)]):
        with pytest.raises(InvalidRequestError) as refused:
            await service.score(exclude=exclude)
        assert [fault.field for fault in refused.value.errors] == ["exclude"]
    assert await service.deployment.store.count_users() == 0
