"""Places: never more held than there are, none lost, and whoever waits comes before the queue."""

import asyncio

from bandstand.service.places import Places


class Wakes:
    """Counts how often the queue was told to look."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def test_no_more_are_held_than_there_are_and_none_is_lost() -> None:
    places, held, most = Places(3, Wakes()), 0, 0

    async def hold(number: int) -> None:
        nonlocal held, most
        async with places.one(urgent=number % 3 == 0):
            held += 1
            most = max(most, held)
            for _ in range(number % 4):
                await asyncio.sleep(0)
            held -= 1

    tasks = [asyncio.create_task(hold(number)) for number in range(60)]
    await asyncio.sleep(0)
    for task in tasks[5::7]:  # some leave while they wait
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (most, held, places.room) == (3, 0, 3)


async def test_who_is_urgent_comes_first_and_the_queue_last() -> None:
    wakes = Wakes()
    places, order = Places(1, wakes), []
    places.take()

    async def hold(name: str, *, urgent: bool) -> None:
        async with places.one(urgent=urgent):
            order.append(name)
            assert places.room == 0

    waiting = [
        asyncio.create_task(hold(name, urgent=name == "intent")) for name in ("turn 1", "turn 2", "intent", "turn 3")
    ]
    await asyncio.sleep(0)
    places.give_back()
    await asyncio.gather(*waiting)
    assert order == ["intent", "turn 1", "turn 2", "turn 3"]
    assert (wakes.count, places.room) == (1, 1), "the queue hears of the place that nobody waits for"


async def test_a_place_that_comes_too_late_goes_to_the_next() -> None:
    places = Places(1, Wakes())
    places.take()

    async def hold() -> None:
        async with places.one():
            pass

    late, next_ = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0)
    places.give_back()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert late.cancelled()
    await asyncio.wait_for(next_, 5)
    assert places.room == 1
