"""The circuit breaker, by a clock of the test's own."""

import threading

import pytest
from bandstand_client import Breaker


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def build(clock: Clock, **options: float) -> Breaker:
    settings = {"failures": 3, "open_s": 1.0, "longest_s": 4.0, **options}
    return Breaker(**settings, clock=clock, draw=lambda: 0.0)  # type: ignore[arg-type]


def find_state(breaker: Breaker) -> str:
    return breaker.state


def open_it(breaker: Breaker) -> None:
    while not breaker.record_failure():
        assert breaker.admit()


def test_it_opens_after_so_many_failures_in_a_row(clock: Clock) -> None:
    breaker = build(clock)
    assert [breaker.record_failure(), breaker.record_failure()] == [False, False]
    assert find_state(breaker) == "closed"
    assert breaker.record_failure()
    assert find_state(breaker) == "open"
    assert not breaker.admit()


def test_a_success_in_between_begins_the_count_anew(clock: Clock) -> None:
    breaker = build(clock)
    for _ in range(10):
        assert not breaker.record_failure()
        assert not breaker.record_failure()
        assert not breaker.record_success()
    assert find_state(breaker) == "closed"


def test_one_call_tries_after_the_pause_and_a_success_closes_it(clock: Clock) -> None:
    breaker = build(clock)
    open_it(breaker)
    clock.now += 0.99
    assert not breaker.admit()
    clock.now += 0.01
    assert breaker.admit()
    assert find_state(breaker) == "half-open"
    assert not breaker.admit()
    assert breaker.record_success()
    assert find_state(breaker) == "closed"
    assert breaker.admit()


def test_each_failed_trial_doubles_the_pause_up_to_the_longest(clock: Clock) -> None:
    breaker = build(clock)
    open_it(breaker)
    for pause in (1.0, 2.0, 4.0, 4.0):
        clock.now += pause - 0.01
        assert not breaker.admit()
        clock.now += 0.01
        assert breaker.admit()
        assert breaker.record_failure()
    assert breaker.record_success()
    open_it(breaker)
    clock.now += 1.0
    assert breaker.admit()


def test_calls_that_began_before_it_opened_do_not_lengthen_the_pause(clock: Clock) -> None:
    breaker = build(clock)
    open_it(breaker)
    for _ in range(50):
        assert not breaker.record_failure()
    clock.now += 1.0
    assert breaker.admit()


def test_it_stays_open_for_as_long_as_the_service_asked(clock: Clock) -> None:
    breaker = build(clock, failures=1)
    breaker.record_failure(at_least_s=3.0)
    clock.now += 2.9
    assert not breaker.admit()
    clock.now += 0.1
    assert breaker.admit()


def test_a_trial_that_never_reports_makes_way_for_another(clock: Clock) -> None:
    breaker = build(clock)
    open_it(breaker)
    clock.now += 1.0
    assert breaker.admit()
    clock.now += 4.9
    assert not breaker.admit()
    clock.now += 0.1
    assert breaker.admit()


def test_half_of_the_pause_is_drawn(clock: Clock) -> None:
    breaker = Breaker(failures=1, open_s=1.0, clock=clock, draw=lambda: 0.999)
    breaker.record_failure()
    clock.now += 0.49
    assert not breaker.admit()
    clock.now += 0.02
    assert breaker.admit()


def test_of_many_threads_one_tries(clock: Clock) -> None:
    breaker = build(clock)
    open_it(breaker)
    clock.now += 1.0
    barrier = threading.Barrier(16)
    admitted: list[bool] = []

    def ask() -> None:
        barrier.wait()
        admitted.append(breaker.admit())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(admitted) == [False] * 15 + [True]
