"""The laws of the client, over the service and the fake, by threads and event loops alike."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bandstand_client import (
    AlreadyRewardedError,
    Candidate,
    Counts,
    DecisionConflictError,
    Event,
    InvalidRequestError,
    PromotionRefusedError,
    TooLargeError,
    UnknownDecisionError,
    UnknownJudgementError,
    UnknownPolicyError,
    UnknownPromptError,
    UnknownSimulationError,
)

TWO = ["tea", "coffee"]
PRAISE = ("What now?", "Drink tea.", "Lovely, thank you!")


def test_the_pick_is_the_caller_s_own_object(client: Any, user: str) -> None:
    objects = [SimpleNamespace(id="tea"), SimpleNamespace(id="coffee")]
    assert client.score(user, objects).pick in objects
    mappings = [{"id": "tea", "size": 1}, {"id": "coffee", "size": 2}]
    picked = client.score(user, mappings).pick
    assert any(picked is each for each in mappings)
    numbers = [7, 8]
    assert client.score(user, numbers, encode=lambda number: {"id": number}).pick in numbers
    assert client.score(user, [Candidate("tea", features={"priority": 4})]).pick.id == "tea"


def test_a_decision_says_how_it_was_drawn(client: Any, user: str) -> None:
    decision = client.score(user, TWO, context={"hour_of_day": 9}, ranking=True)
    assert decision.fallback is None
    assert decision.error is None
    assert 0 < decision.propensity <= 1
    assert decision.policy == "linucb-v2"
    assert {each.tip_id for each in decision.ranking} == set(TWO)
    receipt = decision.get_receipt()
    assert (receipt.user_id, receipt.tip_id, receipt.propensity) == (user, decision.pick, decision.propensity)
    assert receipt.context["hour_of_day"] == 9
    assert receipt.reward is None


def test_the_same_request_under_one_id_gets_the_same_answer(client: Any, user: str) -> None:
    first = client.score(user, TWO, decision_id=f"{user}-1")
    again = client.score(user, TWO, decision_id=f"{user}-1")
    assert (first.id, first.pick, first.propensity) == (again.id, again.pick, again.propensity)
    assert client.stats(user).pulls == 1
    with pytest.raises(DecisionConflictError):
        client.score(user, ["milk"], decision_id=f"{user}-1")


def test_a_decision_is_rewarded_once(client: Any, user: str) -> None:
    decision = client.score(user, TWO)
    first = decision.reward(0.5)
    assert (first.reward, first.applied, first.reason) == (0.5, True, None)
    assert decision.reward(0.5) == first
    assert client.decision(decision.id).reward(0.5) == first
    with pytest.raises(AlreadyRewardedError) as raised:
        decision.reward(0.4)
    assert (raised.value.code, raised.value.status) == ("already-rewarded", 409)
    stats = client.stats(user)
    assert (stats.reward_count, stats.cumulative_reward) == (1, 0.5)
    assert decision.get_receipt().reward.reward == 0.5


@pytest.mark.parametrize(
    ("action", "dwell", "worth"),
    [
        ("dismiss", None, -1.0),
        ("snooze", None, 0.1),
        ("done", 14.9, -0.3),
        ("done", 15, 1.0),
        ("done", 119.9, 1.0),
        ("done", 120, 0.6),
        ("done", 600, 0.3),
    ],
)
def test_reactions_are_worth_what_the_table_says(
    client: Any, user: str, action: Any, dwell: float | None, worth: float
) -> None:
    assert client.score(user, TWO).react(action, dwell=dwell).reward == worth


def test_metrics_are_kept_beside_a_reward(client: Any, user: str) -> None:
    measured = client.score(user, TWO).measure({"click": 1, "seconds": 12.5}, value=0.25)
    assert (measured.reward, measured.aggregate, measured.applied) == (0.25, 0.25, True)


@pytest.mark.parametrize(("metrics", "value"), [({"click": 1}, None), ({"click": 1e10}, 0.5)])
def test_metrics_that_make_no_reward_or_are_too_large_are_refused(
    client: Any, user: str, metrics: dict[str, float], value: float | None
) -> None:
    with pytest.raises(InvalidRequestError):
        client.score(user, TWO).measure(metrics, value=value)


def test_done_needs_a_dwell(client: Any, user: str) -> None:
    with pytest.raises(InvalidRequestError):
        client.score(user, TWO).react("done")


@pytest.mark.parametrize("value", [1.01, -1.01])
def test_a_reward_out_of_range_is_refused(client: Any, user: str, value: float) -> None:
    decision = client.score(user, TWO)
    with pytest.raises(InvalidRequestError):
        decision.reward(value)
    assert decision.get_receipt().reward is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_not_sent(client: Any, user: str, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        client.score(user, TWO).reward(value)


def test_a_turn_is_judged_and_rewards(client: Any, user: str) -> None:
    decision = client.score(user, TWO)
    taken = decision.turn(*PRAISE)
    assert taken.decision_id == decision.id
    judged = decision.turn(*PRAISE, wait=True)
    assert judged.judgement_id == taken.judgement_id
    assert (judged.status, judged.taught, judged.verdict["label"]) == ("scored", True, "pos_praise")
    assert decision.get_receipt().reward.reward == 0.8
    with pytest.raises(AlreadyRewardedError):
        decision.reward(0.5)
    assert client.judgement(taken.judgement_id).history[0].cause == "judge"
    assert client.override_judgement(taken.judgement_id, "neg_correction").reward == -0.8
    assert decision.get_receipt().reward.reward == -0.8


def test_what_is_wrong_with_a_request_is_raised_and_never_a_fallback(client: Any, user: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        client.score(user, TWO, context={"hour_of_day": 24})
    assert raised.value.errors[0].field == "context.hour_of_day"
    with pytest.raises(InvalidRequestError):
        client.score(user, ["tea", "tea"])
    with pytest.raises(InvalidRequestError):
        client.score("", TWO)
    with pytest.raises(UnknownPolicyError):
        client.score(user, TWO, policy="no such")
    with pytest.raises(ValueError, match="at least one"):
        client.score(user, [])
    with pytest.raises(ValueError, match="list"):
        client.score(user, "tea")
    with pytest.raises(TypeError, match="encode"):
        client.score(user, [7])
    assert client.counts.fallbacks == 0


def test_what_is_not_there_is_said_by_its_class(client: Any, user: str) -> None:
    for decision_id in ("no-such", "..", "a/b", "ünïcode"):
        with pytest.raises(UnknownDecisionError):
            client.receipt(decision_id)
    with pytest.raises(UnknownDecisionError):
        client.decision("no-such").reward(1.0)
    with pytest.raises(UnknownJudgementError):
        client.judgement("no-such")
    with pytest.raises(UnknownPromptError):
        client.prompt("generate", "no-such")
    with pytest.raises(UnknownSimulationError):
        client.simulation(987_654)
    with pytest.raises(UnknownPolicyError):
        client.stats(user, policy="no such")


@pytest.mark.parametrize("user_id", ["a/b", "..", ".", "ü ñ", "a?b=c&d", "%2F", "🙂"])
def test_any_user_id_comes_through(client: Any, user: str, user_id: str) -> None:
    name = f"{user}{user_id}" if user_id not in {".", ".."} else user_id
    pulls = client.stats(name).pulls
    client.score(name, TWO)
    assert client.stats(name).pulls == pulls + 1
    assert client.history(name).user_id == name
    assert client.erase(name).erased["decisions"] >= 1
    assert client.stats(name).pulls == 0


def test_a_reset_forgets_and_later_rewards_teach_nothing(client: Any, user: str) -> None:
    decision = client.score(user, TWO)
    assert client.reset(user).ok
    rewarded = decision.reward(1.0)
    assert (rewarded.applied, rewarded.reason) == (False, "reset")
    assert client.stats(user).pulls == 0
    assert client.history(user).history == ()


def test_an_erasure_leaves_nothing_to_reward(client: Any, user: str) -> None:
    decision = client.score(user, TWO)
    assert client.erase(user).erased["decisions"] == 1
    with pytest.raises(UnknownDecisionError):
        decision.reward(1.0)
    assert client.users(prefix=user).users == ()


def test_a_reward_is_taken_back(client: Any, user: str) -> None:
    decision = client.score(user, TWO)
    decision.reward(1.0)
    assert client.revoke(decision_id=decision.id, dry_run=True).rewards == 1
    assert client.revoke(decision_id=decision.id).rewards == 1
    assert client.revoke(decision_id=decision.id).rewards == 0
    assert client.stats(user).reward_count == 0


def test_policies_by_name_and_by_promotion(client: Any, user: str) -> None:
    assert client.score(user, TWO, policy="linucb").policy == "linucb-v1"
    assert client.stats(user, policy="linucb-v1").pulls == 1
    with pytest.raises(PromotionRefusedError):
        client.demote("linucb-v2")
    assert client.demote("uniform-v1").active == "linucb-v2"
    try:
        assert client.promote("first-v1").active == "first-v1"
        assert client.policies().promotions[0].policy == "first-v1"
        assert client.score(user, TWO).pick == "tea"
    finally:
        assert client.demote("first-v1").active == "linucb-v2"


def test_pages_follow_each_other(client: Any, user: str) -> None:
    for number in range(3):
        client.score(f"{user}-{number}", TWO)
    first = client.users(prefix=user, limit=2)
    assert [each.user_id for each in first.users] == [f"{user}-0", f"{user}-1"]
    rest = client.users(prefix=user, after=first.next, limit=2)
    assert [each.user_id for each in rest.users] == [f"{user}-2"]
    assert rest.next is None


def test_tips_go_to_score_as_they_come(client: Any, user: str) -> None:
    tasks = [{"id": "rent", "title": "Pay the rent", "priority": 4}, {"id": "mum", "title": "Ring mum"}]
    tips = client.generate(user, tasks, n=2, context={"hour_of_day": 9})
    assert {tip.source_id for tip in tips.candidates} == {"rent", "mum"}
    decision = client.score(user, tips.candidates)
    assert decision.pick in tips.candidates
    best = client.recommend(user, tasks, n=2)
    assert best.tip_id in {tip.id for tip in best.candidates}
    assert client.decision(best.decision_id).reward(1.0).applied


def test_counts_and_events_say_what_was_done(service: Any, user: str) -> None:
    events: list[Event] = []
    client = service.build(on_event=events.append)
    decision = client.score(user, TWO)
    decision.reward(1.0)
    with pytest.raises(UnknownDecisionError):
        client.receipt("no-such")
    assert client.counts == Counts(calls=3)
    assert [(event.kind, event.route, event.outcome) for event in events] == [
        ("call", "POST /score", "ok"),
        ("call", "POST /reward", "ok"),
        ("call", "GET /decisions/{decision_id}", "unknown-decision"),
    ]


@pytest.mark.parametrize("in_a_file", [False, True])
def test_an_outbox_delivers_each_reward_once(client: Any, user: str, tmp_path: Path, in_a_file: bool) -> None:
    decisions = [client.score(f"{user}-{number}", TWO) for number in range(5)]
    with client.outbox(tmp_path / "outbox" if in_a_file else None, flush_deadline=60.0) as outbox:
        for decision in decisions:
            outbox.reward(decision.id, 0.5)
            outbox.reward(decision.id, 0.5)
        outbox.reward("no-such-decision", 1.0)
        outbox.turn(client.score(user, TWO).id, *PRAISE)
    counts = outbox.counts
    assert (counts.accepted, counts.delivered, counts.refused, counts.waiting) == (12, 11, 1, 0)
    for number in range(5):
        assert client.stats(f"{user}-{number}").cumulative_reward == 0.5


def test_a_body_that_is_too_large_is_refused_by_its_class(service: Any, user: str) -> None:
    if service.kind == "fake":
        pytest.skip("the fake reads any length")
    with pytest.raises(TooLargeError):
        service.build().score(user, [{"id": "tea", "content": "x" * 1_100_000}])
