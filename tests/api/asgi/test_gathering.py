"""Requests of neighbouring turns begin together, in the order in which they came, and none waits for long."""

import asyncio
from collections.abc import Sequence

import pytest

from bandstand.api.asgi import gathering
from bandstand.api.asgi.gathering import Gathering


class Arrivals:
    """Requests by number, and the groups in which they began.

    Attributes:
        busy: how many are being answered.
    """

    def __init__(self, *, busy: int = 0) -> None:
        self.groups: list[list[int]] = []
        self.busy = busy
        self._gathering = Gathering(self._begin, lambda: self.busy)

    def arrive(self, *numbers: int) -> None:
        for number in numbers:
            self._gathering.submit(number)

    def _begin(self, numbers: Sequence[int]) -> None:
        self.groups.append(list(numbers))
        self.busy += len(numbers)

    def answer(self, count: int) -> None:
        self.busy -= count


class Clock:
    """What the gathering takes for the time."""

    now = 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still until a test moves it: turns of a busy machine may take long."""
    clock = Clock()
    monkeypatch.setattr(gathering, "perf_counter", lambda: clock.now)
    return clock


async def pass_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_alone_begins_at_the_end_of_its_turn() -> None:
    arrivals = Arrivals()
    arrivals.arrive(1)
    await pass_turns(2)
    assert arrivals.groups == [[1]]


async def test_one_alone_waits_a_turn_for_those_who_are_being_answered() -> None:
    arrivals = Arrivals(busy=1)
    arrivals.arrive(1)
    await pass_turns(1)
    arrivals.arrive(2)
    await pass_turns(3)
    assert arrivals.groups == [[1, 2]]


async def test_those_of_one_turn_begin_together_a_turn_later() -> None:
    arrivals = Arrivals()
    arrivals.arrive(1, 2, 3)
    await pass_turns(1)
    assert arrivals.groups == []
    await pass_turns(3)
    assert arrivals.groups == [[1, 2, 3]]


async def test_while_turns_bring_more_they_are_waited_for() -> None:
    arrivals = Arrivals()
    for numbers in ((1, 2), (3,), (4, 5)):
        arrivals.arrive(*numbers)
        await pass_turns(1)
    await pass_turns(3)
    assert arrivals.groups == [[1, 2, 3, 4, 5]]


async def test_a_full_group_waits_for_nobody() -> None:
    arrivals = Arrivals()
    arrivals.arrive(*range(64))
    await pass_turns(2)
    assert arrivals.groups == [list(range(64))]


async def test_the_next_group_begins_anew() -> None:
    arrivals = Arrivals()
    arrivals.arrive(1, 2)
    await pass_turns(4)
    arrivals.answer(2)
    arrivals.arrive(3, 4)
    await pass_turns(2)
    assert arrivals.groups == [[1, 2], [3, 4]]


async def test_who_was_answered_is_waited_for_and_for_nobody_beyond_them() -> None:
    arrivals = Arrivals()
    arrivals.arrive(1, 2, 3)
    await pass_turns(3)
    arrivals.arrive(4)  # while these are being answered
    await pass_turns(1)
    arrivals.answer(3)
    await pass_turns(3)
    arrivals.arrive(5, 6)
    await pass_turns(3)
    assert arrivals.groups == [[1, 2, 3]]
    arrivals.arrive(7)
    await pass_turns(1)
    assert arrivals.groups == [[1, 2, 3], [4, 5, 6, 7]]


async def test_who_does_not_come_back_is_not_waited_for_long_and_only_once(clock: Clock) -> None:
    arrivals = Arrivals()
    arrivals.arrive(1, 2, 3)
    await pass_turns(3)
    arrivals.answer(3)
    arrivals.arrive(4)
    await pass_turns(9)
    assert arrivals.groups == [[1, 2, 3]]
    clock.now = 0.0004
    await pass_turns(1)
    assert arrivals.groups == [[1, 2, 3], [4]]
    arrivals.answer(1)
    arrivals.arrive(5)
    await pass_turns(1)
    assert arrivals.groups == [[1, 2, 3], [4], [5]]


async def test_others_who_come_one_by_one_keep_nobody_waiting_for_long(clock: Clock) -> None:
    arrivals = Arrivals()
    arrivals.arrive(*range(60))
    await pass_turns(3)
    arrivals.answer(60)  # of whom none comes back
    for number in range(100, 130):
        arrivals.arrive(number)
        await pass_turns(1)
        clock.now += 0.00015
    group = arrivals.groups[1]
    assert group[0] == 100
    assert 1 < len(group) < 10, "the first of them waited for about a millisecond"
