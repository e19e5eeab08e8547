"""Turns: in order, one by one, never stuck."""

import asyncio
import time
from itertools import pairwise

import pytest

from bandstand.api.turns import Turns
from bandstand.bandit.errors import OverloadedError


async def test_who_comes_first_waits_for_nobody() -> None:
    task = asyncio.ensure_future(Turns().take())
    await asyncio.sleep(0)
    assert task.done()


async def test_turns_go_round_in_order_and_one_by_one() -> None:
    turns, begun = Turns(), []

    async def begin(number: int) -> None:
        await turns.take()
        begun.append((number, asyncio.get_running_loop().time()))

    async with asyncio.timeout(10):
        await asyncio.gather(*(begin(number) for number in range(30)))
    assert [number for number, _ in begun] == list(range(30))


async def test_others_run_between_two_turns() -> None:
    turns, seen = Turns(), []

    async def begin() -> None:
        await turns.take()
        seen.append("turn")

    async def light() -> None:
        while seen.count("turn") < 20:
            seen.append("light")
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(*(begin() for _ in range(20)), light())
    positions = [index for index, what in enumerate(seen) if what == "turn"]
    assert all(later - earlier > 1 for earlier, later in pairwise(positions))


async def test_who_goes_away_loses_the_turn_and_blocks_nobody() -> None:
    turns = Turns()
    tasks = [asyncio.create_task(turns.take()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks[1:4]:
        task.cancel()
    async with asyncio.timeout(10):
        await tasks[4]
    assert [task.cancelled() for task in tasks] == [False, True, True, True, False]


async def test_too_many_are_refused_at_once() -> None:
    turns = Turns(most=2)
    waiting = [asyncio.create_task(turns.take()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await turns.take()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
        await turns.take()


async def test_a_busy_loop_delays_turns_and_does_not_stop_them() -> None:
    turns, over = Turns(), False

    async def busy() -> None:
        while not over:
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)

    working = asyncio.create_task(busy())
    async with asyncio.timeout(10):
        for _ in range(5):
            await turns.take()
    over = True
    await working
