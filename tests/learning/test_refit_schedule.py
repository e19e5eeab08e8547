"""When a prior is learned again: by growth, and within a share of a core."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.learning.refit_schedule import CORE_SHARE, GROWTH, RefitSchedule


@given(learned=st.integers(0, 10**9), least=st.integers(1, 10_000))
def test_a_refit_waits_for_growth_and_never_for_less_than_the_setting(learned: int, least: int) -> None:
    needed = RefitSchedule(least).count_needed(learned)
    assert needed >= least
    assert needed >= GROWTH * learned
    assert needed <= max(least, GROWTH * learned + 1)


def test_a_million_rewards_are_learned_from_in_some_hundred_refits() -> None:
    schedule, learned, refits = RefitSchedule(200), 0, 0
    while learned < 1_000_000:
        learned += schedule.count_needed(learned)
        refits += 1
    assert refits < 200


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1e-6, 10)), min_size=1, max_size=20))
def test_refits_that_rest_as_told_take_no_more_than_their_share(refits: list[tuple[float, float]]) -> None:
    schedule, now, used = RefitSchedule(200), 1000.0, 0.0
    for idle, seconds in refits:
        now += idle + schedule.compute_rest(now + idle)
        schedule.record_refit(now, seconds)
        now += seconds
        used += seconds
    now += schedule.compute_rest(now)
    assert used <= CORE_SHARE * (now - 1000.0) * (1 + 1e-9)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1e-6, 0.5)), min_size=1, max_size=20))
def test_the_share_holds_at_the_end_of_each_refit_that_takes_no_longer_than_the_last(
    refits: list[tuple[float, float]],
) -> None:
    """From the start on: a refit is rested from before it begins."""
    schedule, now, used = RefitSchedule(), 1000.0, 0.0
    for number, (idle, seconds) in enumerate(sorted(refits, key=lambda refit: -refit[1])):
        now += idle + schedule.compute_rest(now + idle)
        schedule.record_refit(now, seconds)
        now += seconds
        used += seconds
        assert number == 0 or used <= CORE_SHARE * (now - 1000.0) * (1 + 1e-9)


def test_a_refit_that_took_very_long_is_not_rested_from_twice() -> None:
    schedule = RefitSchedule()
    schedule.record_refit(0.0, 10.0)
    assert schedule.compute_rest(0.0) == pytest.approx((10.0 + 0.5) / CORE_SHARE)


def test_nobody_rests_before_the_first_refit() -> None:
    assert RefitSchedule(200).compute_rest(-1e9) == 0.0


def test_a_refit_that_fails_is_rested_from_too() -> None:
    schedule = RefitSchedule(200)

    def fail() -> None:
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
        raise ValueError("no")

    started = time.monotonic()
    with pytest.raises(ValueError, match="no"):
        schedule.measure_refit(fail)
    rest = schedule.compute_rest(started)
    assert rest >= 0.001 / CORE_SHARE
    with pytest.raises(ValueError, match="no"):
        schedule.measure_write(fail)
    assert schedule.compute_rest(started) >= rest + 0.001 / CORE_SHARE
