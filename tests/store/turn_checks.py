"""The contract suite of stores, turns: small named laws, each run over every store, as those of ``checks.py``."""

import asyncio

import pytest

from bandstand.errors import AlreadyRewardedError, IdempotencyMismatchError, UnknownDecisionError, WrongPolicyError
from bandstand.store.tables.judgements import (
    Conclusion,
    JudgementState,
    RewardPendingError,
    Settlement,
    UnknownJudgementError,
)
from bandstand.store.tables.undo import Selection
from tests.store.given import DAY, NOON, VERDICT, Subject

WITHHELD: tuple[JudgementState, ...] = ("withheld",)


async def a_turn_holds_its_decision_also_after_a_restart(subject: Subject) -> None:
    decision = await subject.decide("anna")
    accepted = await subject.store.accept(subject.turn(decision))
    async for _ in subject.iter_restarts():
        with pytest.raises(RewardPendingError):
            await subject.reward(decision)
        with pytest.raises(RewardPendingError):
            await subject.store.accept(subject.turn(decision, body="another"))
        assert (await subject.store.accept(subject.turn(decision))).judgement.seq == accepted.judgement.seq
    await subject.build_conclusion(accepted.judgement, teach=None)
    await subject.reopen()
    assert (await subject.reward(decision)).match == "new"
    with pytest.raises(AlreadyRewardedError):
        await subject.store.accept(subject.turn(decision, body="another"))


async def of_many_at_once_one_is_kept(subject: Subject) -> None:
    decision = await subject.decide("anna")
    same = await asyncio.gather(*(subject.store.accept(subject.turn(decision)) for _ in range(8)))
    assert len({accepted.judgement.judgement_id for accepted in same}) == 1
    assert [accepted.match for accepted in same].count("new") == 1
    other = await subject.decide("anna")
    bodies = [subject.store.accept(subject.turn(other, body=str(number))) for number in range(8)]
    results = await asyncio.gather(*bodies, subject.reward(other), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1


async def a_key_is_for_one_thing(subject: Subject) -> None:
    first, second = await subject.decide("anna"), await subject.decide("anna")
    kept = await asyncio.gather(*(subject.store.accept(subject.turn(first, key=("route", "k"))) for _ in range(3)))
    assert len({accepted.judgement.seq for accepted in kept}) == 1
    with pytest.raises(IdempotencyMismatchError):
        await subject.reward(second, key=("route", "k"))
    await subject.reward(second, key=("route", "r"))
    third = await subject.decide("anna")
    with pytest.raises(IdempotencyMismatchError):
        await subject.store.accept(subject.turn(third, key=("route", "r")))
    assert (await subject.reward(third)).match == "new", "nothing holds it"


async def what_came_with_a_key_is_looked_up_as_what_it_is(subject: Subject) -> None:
    first, second = await subject.decide("anna"), await subject.decide("anna")
    taken = (await subject.store.accept(subject.turn(first, key=("route", "turn")))).judgement
    given = (await subject.reward(second, key=("route", "reward"))).reward
    async for _ in subject.iter_restarts():
        turn, reward = (
            await subject.store.find_turn_by_key(("route", "turn")),
            await subject.store.find_reward_by_key(("route", "reward")),
        )
        assert turn is not None
        assert reward is not None
        assert (turn.seq, turn.body_hash, reward.seq) == (taken.seq, taken.body_hash, given.seq)
        with pytest.raises(IdempotencyMismatchError):
            await subject.store.find_turn_by_key(("route", "reward"))
        with pytest.raises(IdempotencyMismatchError):
            await subject.store.find_reward_by_key(("route", "turn"))
        assert await subject.store.find_turn_by_key(("another", "turn")) is None
        assert await subject.store.find_reward_by_key(("another", "reward")) is None


async def a_turn_of_a_policy_that_did_not_decide_is_refused(subject: Subject) -> None:
    decision, other = await subject.decide("anna", "egreedy-v1"), await subject.decide("anna", "linucb-v2")
    turn = subject.turn(decision)
    turn.policy = other.policy
    with pytest.raises(WrongPolicyError):
        await subject.store.accept(turn)
    assert (await subject.store.accept(subject.turn(decision))).match == "new", "nothing holds it"


async def a_decision_knows_the_newest_turn_that_was_to_reward_it(subject: Subject) -> None:
    decision, other = await subject.decide("anna"), await subject.decide("anna")
    assert await subject.store.find_decision_turn(decision) is None
    first = (await subject.store.accept(subject.turn(decision))).judgement
    await subject.build_conclusion(first, teach=None)
    second = (await subject.store.accept(subject.turn(decision, body="another"))).judgement
    async for _ in subject.iter_restarts():
        found = await subject.store.find_decision_turn(decision)
        assert found is not None
        assert (found.judgement_id, found.state) == (second.judgement_id, "waiting")
        assert await subject.store.find_decision_turn(other) is None
    await subject.store.erase("anna", "tests")
    assert await subject.store.find_decision_turn(decision) is None


async def a_judgement_is_concluded_once_a_round(subject: Subject) -> None:
    taken = (await subject.store.accept(subject.turn(await subject.decide("anna")))).judgement
    stale = await subject.store.get_judgement(taken.judgement_id)
    await subject.build_conclusion(taken)
    with pytest.raises(Exception, match="already has another reward"):
        await subject.store.apply_conclusion(
            stale, Conclusion(cause="judge", client="tests", verdict=VERDICT, teach=0.8)
        )
    assert (await subject.state("anna")).reward_count == 1


async def nobody_s_turn_is_concluded_for_somebody_else(subject: Subject) -> None:
    taken = (await subject.store.accept(subject.turn(await subject.decide("anna")))).judgement
    stale = await subject.store.get_judgement(taken.judgement_id)
    await subject.store.erase("anna", "tests")
    await subject.decide("anna")  # another one of that name
    assert await subject.store.apply_conclusion(stale, Conclusion(cause="judge", client="tests", teach=0.8)) is None
    assert (await subject.state("anna")).reward_count == 0


async def a_decision_of_somebody_else_takes_no_turn(subject: Subject) -> None:
    decision = await subject.decide("anna")
    await subject.decide("berta")
    turn = subject.turn(decision)
    turn.user_id = "berta"
    with pytest.raises(UnknownDecisionError):
        await subject.store.accept(turn)


async def influence_counts_from_when_a_turn_taught(subject: Subject) -> None:
    decision = await subject.decide("anna")
    taken = (await subject.store.accept(subject.turn(decision))).judgement
    subject.clock.now += 2 * 3600
    await subject.build_conclusion(taken)
    assert await subject.store.list_update_times("anna", subject.clock.now - 3600) == [subject.clock.now]
    assert await subject.store.list_update_times("anna", subject.clock.now + 1) == []


async def many_overrides_leave_one_reward(subject: Subject) -> None:
    decision = await subject.decide("anna")
    taken = (await subject.store.accept(subject.turn(decision))).judgement
    for value in (0.8, -0.6, None, 0.1, -1.0):
        await subject.build_conclusion(taken, value, "override")
    async for _ in subject.iter_restarts():
        state = await subject.state("anna")
        assert state.reward_count == 1
        assert state.cumulative_reward == pytest.approx(-1.0)
        assert (await subject.store.load_policy_totals())["linucb-v2"].rewards == 1
    found = await subject.store.find_decision(decision.decision_id)
    assert found is not None
    assert found.reward is not None
    assert found.reward.value == -1.0


async def what_is_kept_of_a_judgement_is_every_verdict_and_what_was_made_of_it(subject: Subject) -> None:
    taken = await subject.take_turn()
    await subject.build_conclusion(taken, 0.5)
    subject.clock.now += 60
    await subject.build_conclusion(taken, None, "override")
    async for _ in subject.iter_restarts():
        found = await subject.store.get_judgement(taken.judgement_id)
        assert (found.state, found.reason, found.rounds, found.texts) == ("withheld", "below_tau", 2, None)
        detail = await subject.store.load_detail(found)
        assert [(client, ts, document) for client, ts, document in detail["verdicts"].values()] == [
            ("tests", NOON, VERDICT),
            ("tests", NOON + 60, VERDICT),
        ]
        assert [(each["cause"], each["reward"], each["state"]) for each in detail["conclusions"]] == [
            ("judge", 0.5, "taught"),
            ("override", None, "withheld"),
        ]
        assert [each["verdict"] for each in detail["conclusions"]] == list(detail["verdicts"])
        assert await subject.store.find_verdict(found) == VERDICT
        assert await subject.store.find_last_applied(found) == {"reward": None}
        with pytest.raises(UnknownJudgementError):
            await subject.store.get_judgement(taken.judgement_id[:-1] + "x")


async def totals_stand_where_judgements_do(subject: Subject) -> None:
    taken = [await subject.take_turn() for _ in range(3)]
    await subject.build_conclusion(taken[0])
    await subject.build_conclusion(taken[1], None)
    async for _ in subject.iter_restarts():
        assert {(each.state, each.reason, each.turns) for each in await subject.store.load_turn_totals()} == {
            ("taught", "", 1),
            ("withheld", "below_tau", 1),
            ("waiting", "", 1),
        }


async def judgements_are_paged_the_newest_first_and_listed_the_oldest_first(subject: Subject) -> None:
    taken = []
    for number in range(6):
        taken.append(await subject.take_turn(("anna", "berta")[number % 2]))
        subject.clock.now += 0.001  # of two processes, what they take in one millisecond has no order
    for each in taken[::2]:
        await subject.build_conclusion(each, None)
    ids = [each.judgement_id for each in taken]
    async for _ in subject.iter_restarts():
        found: list[str] = []
        before = 2**63 - 1
        while True:
            page = await subject.store.list_judgements(("waiting", "withheld"), before, 2)
            found += [each.judgement_id for each in page.judgements]
            if page.next is None:
                break
            before = page.next
        assert found == ids[::-1]
        assert await subject.store.list_judgement_ids(WITHHELD, 0.0) == ids[::2]
        assert await subject.store.list_judgement_ids(WITHHELD, 0.0, "below_tau") == ids[::2]
        assert await subject.store.list_judgement_ids(WITHHELD, 0.0, "expired") == []
        assert await subject.store.list_judgement_ids(("waiting", "withheld"), NOON + 1) == []
        assert [seq for seq, _, _ in await subject.store.list_waiting()] == [each.seq for each in taken[1::2]]


async def an_unscored_turn_may_wait_again_and_holds_its_decision_then(subject: Subject) -> None:
    decision = await subject.decide("anna")
    taken = (await subject.store.accept(subject.turn(decision))).judgement
    await subject.store.record_attempt(taken, None, 0)
    conclusion = Conclusion(cause="judge", client="judge", state="unscored", reason="timeout")
    await subject.store.apply_conclusion(taken, conclusion)
    assert not await subject.store.retry_judgement(taken), "it stood as waiting"
    assert await subject.store.retry_judgement(await subject.store.get_judgement(taken.judgement_id))
    waiting = taken
    async for _ in subject.iter_restarts():
        assert await subject.store.list_waiting() == [(taken.seq, "anna", 0)]
        (waiting,) = await subject.store.load_waiting([taken.seq, 1])
        assert (waiting.texts, waiting.state, waiting.reason) == (("q", "a", "m", "hints first"), "waiting", None)
        with pytest.raises(RewardPendingError):
            await subject.reward(decision)
    await subject.store.record_attempt(waiting, None, 0)
    assert await subject.store.list_waiting() == [(taken.seq, "anna", 1)]


async def what_was_reserved_counts_until_it_is_settled(subject: Subject) -> None:
    store, taken = subject.store, await subject.take_turn()
    today = int(NOON // DAY)  # what is older than a month is dropped
    reservations = [Settlement(store.next_seq(subject.clock()), tokens, tokens / 1000) for tokens in (100, 200, 400)]
    await store.record_attempt(taken, reservations[0], today)
    await store.reserve(reservations[1], today)
    await store.reserve(reservations[2], today + 1)
    await store.settle(Settlement(reservations[0].seq, 7, 0.5))
    await store.settle(Settlement(store.next_seq(subject.clock()), 10_000, 10.0))  # of nothing
    settled = Settlement(reservations[2].seq, 11, 0.25)
    await store.apply_conclusion(taken, Conclusion(cause="judge", client="judge", settlement=settled))
    async for _ in subject.iter_restarts():
        assert await subject.store.load_spending(today) == pytest.approx((207, 0.7))
        assert await subject.store.load_spending(today + 1) == pytest.approx((11, 0.25))
        assert await subject.store.load_spending(today + 2) == (0, 0.0)


async def an_erasure_takes_turns_and_verdicts_and_frees_their_keys(subject: Subject) -> None:
    first = await subject.take_turn(key=("route", "k"))
    await subject.take_turn()
    kept = await subject.take_turn("berta")
    await subject.build_conclusion(first)
    erasure = await subject.store.erase("anna", "tests")
    assert (erasure.turns, erasure.verdicts, erasure.rewards) == (2, 1, 1)
    async for _ in subject.iter_restarts():
        with pytest.raises(UnknownJudgementError):
            await subject.store.get_judgement(first.judgement_id)
        assert [seq for seq, _, _ in await subject.store.list_waiting()] == [kept.seq]
        totals = {(each.state, each.turns) for each in await subject.store.load_turn_totals()}
        assert totals == {("taught", 1), ("waiting", 1)}, "what was taught names nobody"
    assert (await subject.store.accept(subject.turn(await subject.decide("anna"), key=("route", "k")))).match == "new"


async def a_turn_from_before_the_reset_is_judged_and_teaches_nothing(subject: Subject) -> None:
    taken = await subject.take_turn()
    await subject.store.reset("anna", "tests")
    outcome = await subject.build_conclusion(taken)
    assert (outcome.judgement.state, outcome.judgement.reason) == ("withheld", "reset")
    async for _ in subject.iter_restarts():
        assert (await subject.state("anna")).reward_count == 0


async def what_may_not_teach_now_is_withheld(subject: Subject) -> None:
    decision = await subject.decide("anna")
    taken = (await subject.store.accept(subject.turn(decision))).judgement
    outcome = await subject.store.apply_conclusion(
        taken, Conclusion(cause="judge", client="judge", verdict=VERDICT, teach=0.5), allow_update=lambda _: False
    )
    assert outcome is not None
    assert (outcome.judgement.state, outcome.judgement.reason, outcome.reward) == ("withheld", "influence_cap", None)
    assert (await subject.reward(decision)).match == "new", "nothing holds it"


async def what_a_verdict_taught_is_chosen_by_its_model_and_taken_back(subject: Subject) -> None:
    taught = (await subject.build_conclusion(await subject.take_turn())).reward
    await subject.reward(await subject.decide("anna"))
    assert taught is not None
    for version, expected in (("m-1", [taught.seq]), ("m-2", [])):
        selected = await subject.store.select_rewards(Selection(judge_version=version))
        assert list(selected.revocable) == expected
    assert len(await subject.store.revoke([taught.seq], cause="undo", client="tests")) == 1
    async for _ in subject.iter_restarts():
        assert (await subject.state("anna")).reward_count == 1
