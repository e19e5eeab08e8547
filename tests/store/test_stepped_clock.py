"""A clock that was ahead and is right again changes nothing that it should not."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from bandstand.judge_worker.update_rate_limit import UpdateRateLimit
from bandstand.store.embedded.retention import ClockWatch
from bandstand.store.logged_events import LoggedDecision
from bandstand.store.maintenance.decision_log import read_events
from bandstand.store.maintenance.offline import open_read_only
from bandstand.store.maintenance.rebuild_verify import verify
from bandstand.store.records import Reward
from bandstand.store.tables.loop_health import Arrivals, Draws
from bandstand.store.tables.undo import Selection
from tests.store.given import CATALOGUE, DAY, NOON, QUICK, Clock, Subject, assert_same, make_embedded
from tests.store.test_forgetting import catalogue, rewards, state_of, store

YEAR = 365 * DAY


def shift(events: list[Reward], places: range, seconds: float) -> list[Reward]:
    """The same events, some of them dated by a clock that is ahead or behind."""
    return [structs.replace(each, ts=each.ts + seconds * (place in places)) for place, each in enumerate(events)]


async def live_through(state_dir: Path, events: list[Reward], half_life: float, *, restarts: bool) -> None:
    clock = Clock()
    live = store(state_dir, clock, half_life)
    await live.open()
    for reward in events:
        if restarts:
            await live.close()
            live = store(state_dir, clock, half_life)
            await live.open()
        clock.now = reward.ts
        await live.reward(structs.replace(reward))
    await live.close()
    verified = verify(state_dir, catalogue(half_life))
    assert not verified.faults
    assert not verified.damage


@pytest.mark.parametrize(
    ("places", "seconds", "restarts"),
    [
        (range(1), YEAR, False),
        (range(1), 3600.0, True),
        (range(4, 5), 10 * YEAR, True),
        (range(4, 5), YEAR, False),
        (range(3, 7), 10 * YEAR, False),
        (range(3, 7), 3600.0, True),
        (range(0, 11, 3), YEAR, True),
        (range(0, 11, 3), 3600.0, False),
    ],
    ids=str,
)
async def test_what_was_rewarded_under_a_clock_ahead_counts_as_of_when_it_was_right_again(
    tmp_path: Path, places: range, seconds: float, *, restarts: bool
) -> None:
    events = rewards(Clock(), 7.0)
    wrong = shift(events, places, seconds)
    bent = list(wrong)
    for place in reversed(range(len(events) - 1)):  # what is dated after a later event happened no later than that
        if wrong[place].ts > (later := min(each.ts for each in wrong[place + 1 :])) + 60:
            bent[place] = structs.replace(events[place], ts=later)
    await live_through(tmp_path / "wrong", wrong, 7.0, restarts=restarts)
    await live_through(tmp_path / "right", bent, 7.0, restarts=restarts)
    clock = Clock(events[-1].ts)
    found, expected = store(tmp_path / "wrong", clock, 7.0), store(tmp_path / "right", clock, 7.0)
    await found.open()
    await expected.open()
    state = state_of(await found.load_profile("anna"))
    assert state.ridge is not None
    assert state.ridge.weight > 1.0, "no reward is weightless"
    assert state.as_of <= clock.now + 60
    assert_same(await expected.load_profile("anna"), await found.load_profile("anna"))
    await found.close()
    await expected.close()


async def test_a_clock_that_was_behind_changes_nothing_but_what_it_dated(tmp_path: Path) -> None:
    events = rewards(Clock(), 7.0)
    await live_through(tmp_path, shift(events, range(3), -YEAR), 7.0, restarts=False)
    found = store(tmp_path, Clock(events[-1].ts), 7.0)
    await found.open()
    state = state_of(await found.load_profile("anna"))
    assert state.ridge is not None
    assert state.ridge.weight == pytest.approx(sum(0.5 ** (1.5 * age / 7) for age in range(9)), rel=1e-6)
    await found.close()


# ── what else is counted by time ──────────────────────────────────────────────────────────────────────────────────────


async def test_days_are_of_the_events_own_times(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        today = int(NOON // DAY)
        for now in (NOON, NOON + 10 * YEAR, NOON + 60):
            subject.clock.now = now
            await subject.reward(await subject.decide("anna"))
        turn = await subject.take_turn()
        await subject.build_conclusion(turn)
        sums = await subject.store.load_loop_sums(31)
        decisions = {day: sum(each.decisions for each in sums.draws if each.day == day) for day in days_in(sums.draws)}
        rewards_of = {
            day: sum(each.rewards for each in sums.arrivals if each.day == day) for day in days_in(sums.arrivals)
        }
        ahead = int((NOON + 10 * YEAR) // DAY)
        assert decisions == rewards_of == {today: 3, ahead: 1}
        assert all(each.bucket == 0 for each in sums.arrivals), "each reward came at once"
        revoked = await subject.store.revoke(await list_reward_seqs(subject), cause="tests", client="tests")
        assert len(revoked) == 4
        assert not sum(each.rewards for each in (await subject.store.load_loop_sums(31)).arrivals), "each in its day"


async def list_reward_seqs(subject: Subject) -> list[int]:
    return list((await subject.store.select_rewards(Selection(since=0.0))).revocable)


def days_in(sums: Sequence[Draws | Arrivals]) -> set[int]:
    return {each.day for each in sums if each.day is not None}


@pytest.mark.parametrize("seconds", [YEAR, -YEAR])
async def test_a_range_of_time_is_of_the_events_own_times(tmp_path: Path, seconds: float) -> None:
    dated = [NOON, NOON + 60, NOON + seconds, NOON + 120, NOON + 180]
    async with Subject(make_embedded(tmp_path)) as subject:
        for now in dated:
            subject.clock.now = now
            await subject.reward(await subject.decide("anna"))
    bounds = [NOON - 2 * YEAR, NOON, NOON + 90, NOON + 150, NOON + YEAR / 2, NOON + 2 * YEAR]
    with open_read_only(tmp_path, CATALOGUE) as state:
        for since in bounds:
            for until in bounds:
                pages = list(read_events(state, since=since, until=until))
                read = [each.ts for page in pages for each in page if isinstance(each, LoggedDecision)]
                assert read == [ts for ts in dated if since <= ts <= until], (since, until)


async def test_a_cap_counts_what_was_taught_in_the_last_hour(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        limit = UpdateRateLimit(subject.store, 2, subject.clock)

        async def teach() -> bool:
            turn = await subject.take_turn()
            await limit.load_user("anna")
            if allowed := limit.allow_update("anna"):
                await subject.build_conclusion(turn)
            return allowed

        assert [await teach() for _ in range(3)] == [True, True, False]
        subject.clock.now = NOON + YEAR
        assert [await teach() for _ in range(3)] == [True, True, False]
        subject.clock.now = NOON + 60
        assert not await teach(), "the hour has not passed"
        subject.clock.now = NOON + 3700
        assert [await teach() for _ in range(3)] == [True, True, False]
        limit = UpdateRateLimit(subject.store, 2, subject.clock)
        assert not await teach(), "nor for another process"


async def test_a_turn_in_the_legacy_form_is_linked_within_a_day_of_the_decision_s_own_time(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        subject.clock.now = NOON + YEAR
        await subject.decide("anna")
        expected: list[int | None] = []
        for hours in (1.0, 23.0, 25.0, 72.0):
            subject.clock.now = NOON  # set right: numbers go on from where they were
            decision = await subject.decide("anna", tip_id=f"tip-{hours}")
            subject.clock.now = NOON + 3600 * hours
            features = subject.legacy("anna").features
            turn = replace(subject.turn(decision, body=f"{hours}"), decision_id=None, features=features)
            await subject.build_conclusion((await subject.store.accept(turn)).judgement)
            expected.append(decision.seq if hours < 24 else None)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        assert [linked for (linked,) in ledger.execute("SELECT linked_seq FROM rewards ORDER BY seq")] == expected


async def test_a_key_of_a_clock_that_was_ahead_is_kept_for_seven_days_and_no_longer(tmp_path: Path) -> None:
    key = ("tests", "k")
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.store.apply_retention()  # type: ignore[attr-defined]  # and so the hourly one reads NOON too
        subject.clock.now = NOON + YEAR
        await subject.store.reward(subject.legacy("anna", key=key))
        for day, is_kept in ((0, True), (6, True), (8, False)):
            subject.clock.now = NOON + day * DAY
            await subject.store.apply_retention()  # type: ignore[attr-defined]
            assert (await subject.store.find_reward_by_key(key) is not None) is is_kept, day


async def test_retention_takes_what_is_old_by_its_own_time(tmp_path: Path) -> None:
    options = replace(QUICK, retention_days=90)
    async with Subject(make_embedded(tmp_path, options)) as subject:
        made = {}
        for day in (0, YEAR / DAY, 1, 50):
            subject.clock.now = NOON + day * DAY
            made[day] = await subject.decide("anna")
        subject.clock.now = NOON + 100 * DAY
        await subject.store.apply_retention()  # type: ignore[attr-defined]
        kept = [day for day, each in made.items() if await subject.store.find_receipt(each.decision_id)]
        assert kept == [50], "what was dated ahead came before what is old by now"


def test_a_clock_that_jumps_ahead_deletes_nothing_for_a_day() -> None:
    counted = 0.0
    watch = ClockWatch(lambda: counted)
    assert watch.is_steady(NOON, NOON - 3600)
    counted = 3600.0
    assert watch.is_steady(NOON + 3600, NOON)
    counted = 7200.0
    assert not watch.is_steady(NOON + YEAR, NOON)
    counted = 10_800.0
    assert not watch.is_steady(NOON + YEAR + 3600, NOON)
    counted = 14_400.0
    assert not watch.is_steady(NOON + 14_400, NOON + YEAR), "it may be wrong now"
    counted = 7200.0 + DAY
    assert watch.is_steady(NOON + 7200 + DAY, NOON + YEAR), "it has been right for a day"
    assert not ClockWatch(lambda: 0.0).is_steady(NOON + YEAR, NOON)
    assert ClockWatch(lambda: 0.0).is_steady(NOON, None)
