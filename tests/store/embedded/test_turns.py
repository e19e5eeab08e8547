"""Turns in the ledger: what a crash leaves of them, what retention does to them, and how they are counted."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.tables.judgements import JudgementExpiredError
from tests.store.given import (
    DAY,
    QUICK,
    Subject,
    assert_same,
    copy_as_killed,
    ledger_of,
    make_embedded,
    rebuild_profile,
)


@pytest.fixture
async def turns(tmp_path: Path) -> AsyncIterator[Subject]:
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        yield subject


async def test_a_crash_after_the_answer_loses_nothing(turns: Subject, tmp_path: Path) -> None:
    decision = await turns.decide("anna")
    taken = (await turns.store.accept(turns.turn(decision))).judgement
    before = copy_as_killed(tmp_path / "state", tmp_path / "before")
    await turns.build_conclusion(taken)
    after = copy_as_killed(tmp_path / "state", tmp_path / "after")
    async with Subject(make_embedded(before)) as crashed:
        assert [seq for seq, _, _ in await crashed.store.list_waiting()] == [taken.seq]
        (found,) = await crashed.store.load_waiting([taken.seq])
        assert found.texts == ("q", "a", "m", "hints first")
    async with Subject(make_embedded(after)) as crashed:
        assert await crashed.store.list_waiting() == []
        assert (await crashed.state("anna")).cumulative_reward == 0.8


async def test_many_overrides_leave_one_reward_wherever_it_is_read_from(turns: Subject, tmp_path: Path) -> None:
    decision = await turns.decide("anna")
    taken = (await turns.store.accept(turns.turn(decision))).judgement
    for value in (0.8, -0.6, None, 0.1, -1.0):
        await turns.build_conclusion(taken, value, "override")
    state = await turns.state("anna")
    assert state.reward_count == 1
    assert state.cumulative_reward == pytest.approx(-1.0)
    live = (await turns.store.load_profile("anna")).copy()
    crashed = copy_as_killed(tmp_path / "state", tmp_path / "copy")
    await turns.reopen()
    assert_same(live, await turns.store.load_profile("anna"))
    assert_same(live, await rebuild_profile(crashed, "anna"))
    found = await turns.store.find_decision(decision.decision_id)
    assert found is not None
    assert found.reward is not None
    assert found.reward.value == -1.0


async def test_what_a_baseline_holds_cannot_be_overridden(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, replace(QUICK, retention_days=5))) as turns:
        assert isinstance(turns.store, EmbeddedStore)
        taken = (await turns.store.accept(turns.turn(await turns.decide("anna")))).judgement
        await turns.build_conclusion(taken)
        turns.clock.now += 6 * DAY
        await turns.store.apply_retention()
        with pytest.raises(JudgementExpiredError):
            await turns.build_conclusion(taken, -0.8, "override")
        assert (await turns.state("anna")).cumulative_reward == 0.8


async def test_a_verdict_for_a_decision_past_its_days_teaches_nothing(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, replace(QUICK, retention_days=5))) as turns:
        assert isinstance(turns.store, EmbeddedStore)
        taken = (await turns.store.accept(turns.turn(await turns.decide("anna")))).judgement
        turns.clock.now += 6 * DAY
        await turns.store.apply_retention()
        concluded = await turns.build_conclusion(taken)
        assert (concluded.judgement.state, concluded.judgement.reason) == ("withheld", "expired")
        live = (await turns.store.load_profile("anna")).copy()
        assert_same(live, await rebuild_profile(copy_as_killed(tmp_path, tmp_path.with_name("copy")), "anna"))


async def test_totals_stand_where_judgements_do(turns: Subject, tmp_path: Path) -> None:
    taken = [await turns.take_turn() for _ in range(3)]
    await turns.build_conclusion(taken[0])
    await turns.build_conclusion(taken[1], None)
    by_hand = "SELECT state, coalesce(reason, ''), count(*) FROM judgements GROUP BY 1, 2 ORDER BY 1"
    with ledger_of(tmp_path / "state") as ledger:
        counted = ledger.execute(by_hand).fetchall()
    assert counted == sorted((each.state, each.reason, each.turns) for each in await turns.store.load_turn_totals())
