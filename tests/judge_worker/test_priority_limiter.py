"""Places: never more held than there are, none lost, and whoever waits comes before the queue, which has its share."""

import asyncio

import pytest

from bandstand.judge_worker.priority_limiter import PriorityLimiter


class Wakes:
    """Counts how often the queue was told to look."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def wait_for_nobody() -> int:
    """No turns wait."""
    return 0


async def test_no_more_are_held_than_there_are_and_none_is_lost() -> None:
    places, held, most = PriorityLimiter(3, Wakes(), wait_for_nobody), 0, 0

    async def hold_place(number: int) -> None:
        nonlocal held, most
        async with places.acquire(urgent=number % 3 == 0):
            held += 1
            most = max(most, held)
            for _ in range(number % 4):
                await asyncio.sleep(0)
            held -= 1

    tasks = [asyncio.create_task(hold_place(number)) for number in range(60)]
    await asyncio.sleep(0)
    for task in tasks[5::7]:  # some leave while they wait
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (most, held, places.available) == (3, 0, 3)


async def test_who_is_urgent_comes_first_and_the_queue_last() -> None:
    wakes = Wakes()
    places, order = PriorityLimiter(1, wakes, wait_for_nobody), []
    places.take()

    async def hold_place(name: str, *, urgent: bool) -> None:
        async with places.acquire(urgent=urgent):
            order.append(name)
            assert places.available == 0

    waiting = [
        asyncio.create_task(hold_place(name, urgent=name == "intent"))
        for name in ("turn 1", "turn 2", "intent", "turn 3")
    ]
    await asyncio.sleep(0)
    places.release()
    await asyncio.gather(*waiting)
    assert order == ["intent", "turn 1", "turn 2", "turn 3"]
    assert (wakes.count, places.available) == (1, 1), "the queue hears of the place that nobody waits for"


async def test_a_place_that_comes_too_late_goes_to_the_next() -> None:
    places = PriorityLimiter(1, Wakes(), wait_for_nobody)
    places.take()

    async def hold_place() -> None:
        async with places.acquire():
            pass

    late, next_ = asyncio.create_task(hold_place()), asyncio.create_task(hold_place())
    await asyncio.sleep(0)
    places.release()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert late.cancelled()
    await asyncio.wait_for(next_, 60)
    assert places.available == 1


class Queue:
    """Turns that wait, of which each takes a place when it is told that there is room, as the judging's worker does."""

    def __init__(self, most: int, turns: int) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.looking: set[asyncio.Task[None]] = set()
        self.places = PriorityLimiter(most, self.find_next, lambda: self.turns)

    def find_next(self) -> None:
        task = asyncio.create_task(self.worker())
        self.looking.add(task)
        task.add_done_callback(self.looking.discard)

    async def worker(self) -> None:
        for _ in range(3):  # it takes its time
            await asyncio.sleep(0)
        while self.turns and self.places.available:
            self.turns -= 1
            self.places.take()
            self.order.append("turn")
            asyncio.get_running_loop().call_soon(self.places.release)

    async def take_opinions(self, count: int) -> None:
        for _ in range(count):
            async with self.places.acquire():
                self.order.append("opinion")
                await asyncio.sleep(0)

    async def wait_until_settled(self) -> None:
        while pending := [task for task in self.looking if not task.done()]:
            await asyncio.gather(*pending)


@pytest.mark.parametrize("askers", [1, 2, 6])
async def test_opinions_that_never_stop_coming_leave_every_fourth_place_to_turns(askers: int) -> None:
    queue = Queue(most=1, turns=10)
    await asyncio.gather(*(queue.take_opinions(60 // askers) for _ in range(askers)))
    assert queue.order[:40] == ["opinion", "opinion", "opinion", "turn"] * 10
    assert queue.order[40:] == ["opinion"] * 30, "without turns nobody waits for them"
    await queue.wait_until_settled()
    assert queue.places.available == 1


async def test_of_many_places_as_many_are_the_queue_s() -> None:
    queue = Queue(most=8, turns=100)
    await asyncio.gather(*(queue.take_opinions(20) for _ in range(12)))
    share = queue.order[:200].count("turn") / 200
    assert 0.2 < share < 0.3
    await queue.wait_until_settled()
    assert queue.places.available == 8


async def test_a_queue_that_takes_no_more_keeps_no_place() -> None:
    waiting = 1
    places = PriorityLimiter(1, Wakes(), lambda: waiting)
    for _ in range(3):
        async with places.acquire():
            pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), places.acquire():
            raise AssertionError("the fourth place is the queue's")
    waiting = 0
    async with places.acquire():
        assert places.available == 0
    assert places.available == 1
