"""Requests of neighbouring turns begin together, in the order in which they came, and none waits for long."""

import asyncio
from collections.abc import Sequence

from bandstand.api.asgi.gathering import Gathering


class Arrivals:
    """Requests by number, and the groups in which they began."""

    def __init__(self, *, is_busy: bool = False) -> None:
        self.groups: list[list[int]] = []
        self._gathering = Gathering(self._begin, lambda: is_busy)

    def arrive(self, *numbers: int) -> None:
        for number in numbers:
            self._gathering.submit(number)

    def _begin(self, numbers: Sequence[int]) -> None:
        self.groups.append(list(numbers))


async def pass_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_alone_begins_at_the_end_of_its_turn() -> None:
    arrivals = Arrivals()
    arrivals.arrive(1)
    await pass_turns(2)
    assert arrivals.groups == [[1]]


async def test_one_alone_waits_a_turn_for_those_who_are_being_answered() -> None:
    arrivals = Arrivals(is_busy=True)
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
    arrivals.arrive(3)
    await pass_turns(2)
    assert arrivals.groups == [[1, 2], [3]]
