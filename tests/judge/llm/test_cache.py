"""The cache: one verdict for one question, no failure kept, one call for all who ask at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from bandstand.judge.llm.cache import SingleFlight, VerdictCache, cache_key
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Judged, Usage
from tests.judge.given import unscored, verdict

TURN = CutTurn("q", "a", "m")
PAID = verdict(usage=Usage(1, 300, 20, 0.01))


def key(number: int = 0) -> bytes:
    return cache_key("model", "judge/v1@1", "hash", CutTurn("", "", str(number)))


@pytest.mark.parametrize(
    "other",
    [
        cache_key("model-2", "judge/v1@1", "hash", TURN),
        cache_key("model", "judge/v1@2", "hash", TURN),
        cache_key("model", "judge/v1@1", "other", TURN),
        cache_key("model", "judge/v1@1", "hash", replace(TURN, query_t="Q")),
        cache_key("model", "judge/v1@1", "hash", replace(TURN, answer_t="A")),
        cache_key("model", "judge/v1@1", "hash", replace(TURN, query_t1="M")),
        cache_key("model", "judge/v1@1", "hash", CutTurn("qa", "", "m")),
        cache_key("modelj", "udge/v1@1", "hash", TURN),
    ],
)
def test_whatever_a_verdict_depends_on_is_in_its_key(other: bytes) -> None:
    assert other != cache_key("model", "judge/v1@1", "hash", TURN)


def test_a_verdict_found_again_costs_nothing() -> None:
    cache = VerdictCache()
    assert cache.get(key()) is None
    cache.put(key(), PAID)
    assert cache.get(key()) == replace(PAID, usage=Usage())


def test_the_longest_unused_leave_first() -> None:
    cache = VerdictCache(2)
    cache.put(key(1), PAID)
    cache.put(key(2), PAID)
    assert cache.get(key(1))
    cache.put(key(3), PAID)
    assert [cache.get(key(number)) is not None for number in (1, 2, 3)] == [True, False, True]
    assert len(cache) == 2


def test_a_cache_of_nothing_keeps_nothing() -> None:
    cache = VerdictCache(0)
    cache.put(key(), PAID)
    assert cache.get(key()) is None


class Work:
    """Takes until it is let, and counts how often it was begun."""

    def __init__(self, judged: Judged | Exception = PAID) -> None:
        self.begun = 0
        self.cancelled = False
        self.let = asyncio.Event()
        self._judged = judged

    def __call__(self) -> Awaitable[Judged]:
        return self._judge()

    async def _judge(self) -> Judged:
        self.begun += 1
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(self._judged, Exception):
            raise self._judged
        return self._judged


def start_judging(
    flights: SingleFlight, work: Callable[[], Awaitable[Judged]], count: int
) -> list[asyncio.Task[Judged]]:
    return [asyncio.create_task(flights.run(key(), work)) for _ in range(count)]


async def test_all_who_ask_at_once_get_one_answer_and_the_first_pays() -> None:
    flights, work = SingleFlight(), Work()
    tasks = start_judging(flights, work, 3)
    await asyncio.sleep(0)
    work.let.set()
    first, *others = await asyncio.gather(*tasks)
    assert work.begun == 1
    assert first == PAID
    assert others == [replace(PAID, usage=Usage())] * 2


async def test_the_next_question_is_asked_anew() -> None:
    flights, work = SingleFlight(), Work(unscored())
    work.let.set()
    assert await flights.run(key(), work) == await flights.run(key(), work) == unscored()
    assert work.begun == 2


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    flights, work = SingleFlight(), Work()
    first, second = start_judging(flights, work, 2)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.let.set()
    assert await second == replace(PAID, usage=Usage())
    assert not work.cancelled


async def test_when_all_have_left_the_work_stops_and_the_next_begins_anew() -> None:
    flights, work = SingleFlight(), Work()
    tasks = start_judging(flights, work, 2)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    (again,) = start_judging(flights, work, 1)
    await asyncio.sleep(0)
    assert work.cancelled
    work.let.set()
    assert await again == PAID
    assert work.begun == 2


async def test_a_fault_reaches_everybody_who_waits() -> None:
    flights, work = SingleFlight(), Work(ZeroDivisionError())
    tasks = start_judging(flights, work, 2)
    await asyncio.sleep(0)
    work.let.set()
    assert [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)] == [ZeroDivisionError] * 2
