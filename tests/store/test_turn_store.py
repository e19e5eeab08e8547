"""Turns in the ledger: kept once, holding their decision through restarts, and gone with their user."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bandstand.errors import (
    AlreadyRewardedError,
    IdempotencyMismatchError,
    UnknownDecisionError,
    WrongPolicyError,
)
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.records import Decision
from bandstand.store.tables.judgements import (
    Conclusion,
    JudgedTurn,
    JudgementExpiredError,
    RewardPendingError,
    TurnOutcome,
)
from tests.store.given import CATALOGUE, DAY, QUICK, Subject, assert_same, digest, killed, ledger_of, rebuilt

VERDICT = {"version": 1, "scored": True, "label": "pos_praise", "rationale": "quotes it", "raw": "{}"}


class Turns(Subject):
    """A store of turns under test."""

    store: EmbeddedStore

    def turn(self, decision: Decision, *, body: str = "turn", key: tuple[str, str] | None = None) -> JudgedTurn:
        """A turn for a decision; its request is ``body``."""
        return JudgedTurn(
            judgement_id="0" * 16 + "1" * 16,
            seq=0,
            user_id=decision.user_id,
            policy=decision.policy,
            tip_id=decision.tip_id,
            taxonomy="followup-v1",
            body_hash=digest(body),
            client="tests",
            ts=self.clock(),
            decision_id=decision.decision_id,
            texts=("q", "a", "m"),
            idempotency=key,
        )

    async def conclude(self, judgement: JudgedTurn, teach: float | None = 0.8, cause: str = "judge") -> TurnOutcome:
        """What comes of a judgement as it stands."""
        standing = await self.store.get_judgement(judgement.judgement_id)
        conclusion = Conclusion(
            cause="override" if cause == "override" else "judge",
            client="tests",
            verdict=VERDICT,
            applied={"reward": teach},
            teach=teach,
            reason=None if teach is not None else "below_tau",
        )
        made = await self.store.apply_conclusion(standing, conclusion)
        assert made is not None
        return made


def stored(state_dir: Path) -> Turns:
    return Turns(lambda clock: EmbeddedStore(state_dir, CATALOGUE, options=QUICK, clock=clock))


@pytest.fixture
async def turns(tmp_path: Path) -> AsyncIterator[Turns]:
    async with stored(tmp_path / "state") as subject:
        yield subject


async def test_a_turn_holds_its_decision_also_after_a_restart(turns: Turns) -> None:
    decision = await turns.decide("anna")
    accepted = await turns.store.accept(turns.turn(decision))
    for _ in range(2):
        with pytest.raises(RewardPendingError):
            await turns.reward(decision)
        with pytest.raises(RewardPendingError):
            await turns.store.accept(turns.turn(decision, body="another"))
        assert (await turns.store.accept(turns.turn(decision))).judgement.seq == accepted.judgement.seq
        await turns.reopen()
    await turns.conclude(accepted.judgement, teach=None)
    await turns.reopen()
    assert (await turns.reward(decision)).match == "new"
    with pytest.raises(AlreadyRewardedError):
        await turns.store.accept(turns.turn(decision, body="another"))


async def test_of_many_at_once_one_is_kept(turns: Turns) -> None:
    decision = await turns.decide("anna")
    same = await asyncio.gather(*(turns.store.accept(turns.turn(decision)) for _ in range(8)))
    assert len({accepted.judgement.judgement_id for accepted in same}) == 1
    assert [accepted.match for accepted in same].count("new") == 1
    other = await turns.decide("anna")
    bodies = [turns.store.accept(turns.turn(other, body=str(number))) for number in range(8)]
    results = await asyncio.gather(*bodies, turns.reward(other), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1


async def test_a_key_is_for_one_thing(turns: Turns) -> None:
    first, second = await turns.decide("anna"), await turns.decide("anna")
    kept = await asyncio.gather(*(turns.store.accept(turns.turn(first, key=("route", "k"))) for _ in range(3)))
    assert len({accepted.judgement.seq for accepted in kept}) == 1
    with pytest.raises(IdempotencyMismatchError):
        await turns.reward(second, key=("route", "k"))
    await turns.reward(second, key=("route", "r"))
    third = await turns.decide("anna")
    with pytest.raises(IdempotencyMismatchError):
        await turns.store.accept(turns.turn(third, key=("route", "r")))
    assert (await turns.reward(third)).match == "new", "nothing holds it"


async def test_what_came_with_a_key_is_looked_up_as_what_it_is(turns: Turns) -> None:
    first, second = await turns.decide("anna"), await turns.decide("anna")
    taken = (await turns.store.accept(turns.turn(first, key=("route", "turn")))).judgement
    given = (await turns.reward(second, key=("route", "reward"))).reward
    for _ in range(2):
        turn, reward = (
            await turns.store.find_turn_by_key(("route", "turn")),
            await turns.store.find_reward_by_key(("route", "reward")),
        )
        assert turn is not None
        assert reward is not None
        assert (turn.seq, turn.body_hash, reward.seq) == (taken.seq, taken.body_hash, given.seq)
        with pytest.raises(IdempotencyMismatchError):
            await turns.store.find_turn_by_key(("route", "reward"))
        with pytest.raises(IdempotencyMismatchError):
            await turns.store.find_reward_by_key(("route", "turn"))
        assert await turns.store.find_turn_by_key(("another", "turn")) is None
        assert await turns.store.find_reward_by_key(("another", "reward")) is None
        await turns.reopen()


async def test_a_turn_of_a_policy_that_did_not_decide_is_refused(turns: Turns) -> None:
    decision, other = await turns.decide("anna", "egreedy-v1"), await turns.decide("anna", "linucb-v2")
    turn = turns.turn(decision)
    turn.policy = other.policy
    with pytest.raises(WrongPolicyError):
        await turns.store.accept(turn)
    assert (await turns.store.accept(turns.turn(decision))).match == "new", "nothing holds it"


async def test_a_crash_after_the_answer_loses_nothing(turns: Turns, tmp_path: Path) -> None:
    decision = await turns.decide("anna")
    taken = (await turns.store.accept(turns.turn(decision))).judgement
    before = killed(tmp_path / "state", tmp_path / "before")
    await turns.conclude(taken)
    after = killed(tmp_path / "state", tmp_path / "after")
    async with stored(before) as crashed:
        assert [seq for seq, _, _ in await crashed.store.list_waiting()] == [taken.seq]
        (found,) = await crashed.store.load_waiting([taken.seq])
        assert found.texts == ("q", "a", "m")
    async with stored(after) as crashed:
        assert await crashed.store.list_waiting() == []
        assert (await crashed.state("anna")).cumulative_reward == 0.8


async def test_a_judgement_is_concluded_once_a_round(turns: Turns) -> None:
    taken = (await turns.store.accept(turns.turn(await turns.decide("anna")))).judgement
    stale = await turns.store.get_judgement(taken.judgement_id)
    await turns.conclude(taken)
    with pytest.raises(Exception, match="already has another reward"):
        await turns.store.apply_conclusion(stale, Conclusion(cause="judge", client="tests", verdict=VERDICT, teach=0.8))
    assert (await turns.state("anna")).reward_count == 1


async def test_nobody_s_turn_is_concluded_for_somebody_else(turns: Turns) -> None:
    taken = (await turns.store.accept(turns.turn(await turns.decide("anna")))).judgement
    stale = await turns.store.get_judgement(taken.judgement_id)
    await turns.store.erase("anna", "tests")
    await turns.decide("anna")  # another one of that name
    assert await turns.store.apply_conclusion(stale, Conclusion(cause="judge", client="tests", teach=0.8)) is None
    assert (await turns.state("anna")).reward_count == 0


async def test_a_decision_of_somebody_else_takes_no_turn(turns: Turns) -> None:
    decision = await turns.decide("anna")
    await turns.decide("berta")
    turn = turns.turn(decision)
    turn.user_id = "berta"
    with pytest.raises(UnknownDecisionError):
        await turns.store.accept(turn)


async def test_many_overrides_leave_one_reward_wherever_it_is_read_from(turns: Turns, tmp_path: Path) -> None:
    decision = await turns.decide("anna")
    taken = (await turns.store.accept(turns.turn(decision))).judgement
    for value in (0.8, -0.6, None, 0.1, -1.0):
        await turns.conclude(taken, value, "override")
    state = await turns.state("anna")
    assert state.reward_count == 1
    assert state.cumulative_reward == pytest.approx(-1.0)
    live = (await turns.store.load_profile("anna")).copy()
    crashed = killed(tmp_path / "state", tmp_path / "copy")
    await turns.reopen()
    assert_same(live, await turns.store.load_profile("anna"))
    assert_same(live, await rebuilt(crashed, "anna"))
    found = await turns.store.find_decision(decision.decision_id)
    assert found is not None
    assert found.reward is not None
    assert found.reward.value == -1.0


async def test_what_a_baseline_holds_cannot_be_overridden(tmp_path: Path) -> None:
    options = QUICK.__class__(sync=False, checkpoint_seconds=3600.0, retention_days=5)
    made = Turns(lambda clock: EmbeddedStore(tmp_path, CATALOGUE, options=options, clock=clock))
    async with made as turns:
        taken = (await turns.store.accept(turns.turn(await turns.decide("anna")))).judgement
        await turns.conclude(taken)
        turns.clock.now += 6 * DAY
        await turns.store.apply_retention()
        with pytest.raises(JudgementExpiredError):
            await turns.conclude(taken, -0.8, "override")
        assert (await turns.state("anna")).cumulative_reward == 0.8


async def test_a_verdict_for_a_decision_past_its_days_teaches_nothing(tmp_path: Path) -> None:
    options = QUICK.__class__(sync=False, checkpoint_seconds=3600.0, retention_days=5)
    made = Turns(lambda clock: EmbeddedStore(tmp_path, CATALOGUE, options=options, clock=clock))
    async with made as turns:
        taken = (await turns.store.accept(turns.turn(await turns.decide("anna")))).judgement
        turns.clock.now += 6 * DAY
        await turns.store.apply_retention()
        concluded = await turns.conclude(taken)
        assert (concluded.judgement.state, concluded.judgement.reason) == ("withheld", "expired")
        live = (await turns.store.load_profile("anna")).copy()
        assert_same(live, await rebuilt(killed(tmp_path, tmp_path.with_name("copy")), "anna"))


async def test_totals_stand_where_judgements_do(turns: Turns, tmp_path: Path) -> None:
    taken = [(await turns.store.accept(turns.turn(await turns.decide("anna")))).judgement for _ in range(3)]
    await turns.conclude(taken[0])
    await turns.conclude(taken[1], None)
    assert {(each.state, each.reason, each.turns) for each in await turns.store.load_turn_totals()} == {
        ("taught", "", 1),
        ("withheld", "below_tau", 1),
        ("waiting", "", 1),
    }
    by_hand = "SELECT state, coalesce(reason, ''), count(*) FROM judgements GROUP BY 1, 2 ORDER BY 1"
    with ledger_of(tmp_path / "state") as ledger:
        counted = ledger.execute(by_hand).fetchall()
    assert counted == sorted((each.state, each.reason, each.turns) for each in await turns.store.load_turn_totals())


async def test_influence_counts_from_when_a_turn_taught(turns: Turns) -> None:
    decision = await turns.decide("anna")
    taken = (await turns.store.accept(turns.turn(decision))).judgement
    turns.clock.now += 2 * 3600
    await turns.conclude(taken)
    assert await turns.store.list_update_times("anna", turns.clock.now - 3600) == [turns.clock.now]
    assert await turns.store.list_update_times("anna", turns.clock.now + 1) == []
