"""Door: in order, one by one, after the light ones, never stuck."""

import asyncio
from itertools import pairwise

import pytest

from bandstand.api.asgi.admission import Door
from bandstand.errors import OverloadedError


async def in_time(*waiting: asyncio.Task[None]) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)


def entering(door: Door, count: int, begun: list[int] | None = None) -> list[asyncio.Task[None]]:
    async def enter(number: int) -> None:
        await door.enter()
        if begun is not None:
            begun.append(number)

    return [asyncio.create_task(enter(number)) for number in range(count)]


async def passes(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_finds_nobody_there_waits_for_nobody() -> None:
    (task,) = entering(Door(), 1)
    await passes(1)
    assert task.done()


async def test_turns_go_round_in_order_and_one_by_one() -> None:
    begun: list[int] = []
    tasks = entering(Door(), 30, begun)
    seen = []
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        seen.append(len(begun))
    assert begun == list(range(30))
    assert max(later - earlier for earlier, later in pairwise([0, *seen])) == 1


async def test_the_loop_goes_round_between_two_turns() -> None:
    door, seen = Door(), []

    async def begin() -> None:
        await door.enter()
        seen.append("turn")

    async def others() -> None:
        while seen.count("turn") < 20:
            seen.append("other")
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(*(begin() for _ in range(20)), others())
    positions = [index for index, what in enumerate(seen) if what == "turn"]
    assert all(later - earlier > 1 for earlier, later in pairwise(positions))


async def test_nobody_begins_while_a_light_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.api.asgi.admission._PATIENCE", 3600)
    door = Door()
    door.light_begins()
    door.light_begins()
    tasks = entering(door, 2)
    await passes(50)
    door.light_ends()
    await passes(50)
    assert not any(task.done() for task in tasks)
    door.light_ends()
    await passes(2)
    assert tasks[0].done()
    await in_time(*tasks)


async def test_nor_between_two_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.api.asgi.admission._PATIENCE", 3600)
    door, begun = Door(), list[int]()
    tasks = entering(door, 5, begun)
    while len(begun) < 2:  # noqa: ASYNC110 (turns of the loop are what is counted)
        await asyncio.sleep(0)
    door.light_begins()
    await passes(50)
    assert len(begun) <= 3
    door.light_ends()
    await in_time(*tasks)


async def test_under_unending_light_requests_the_heavy_ones_begin_all_the_same() -> None:
    door, begun = Door(), list[int]()
    door.light_begins()
    await in_time(*entering(door, 5, begun))
    assert begun == list(range(5))


@pytest.mark.parametrize("light", [False, True])
async def test_who_goes_away_loses_the_turn_and_blocks_nobody(light: bool) -> None:
    door = Door()
    if light:
        door.light_begins()
    tasks = entering(door, 6)
    await passes(1)
    for task in tasks[1:4]:
        task.cancel()
    await in_time(tasks[0], *tasks[4:])
    assert [task.cancelled() for task in tasks] == [False, True, True, True, False, False]
    await passes(5)
    if light:
        door.light_ends()
    (late,) = entering(door, 1)
    await in_time(late)


async def test_who_goes_away_with_the_turn_in_hand_blocks_nobody() -> None:
    door = Door()
    door.light_begins()
    first, second = entering(door, 2)
    await passes(1)
    door.light_ends()
    first.cancel()
    await in_time(second)
    assert first.cancelled()


async def test_too_many_are_refused_at_once() -> None:
    door = Door(most=2)
    tasks = entering(door, 3)
    await passes(1)
    with pytest.raises(OverloadedError):
        await door.enter()
    await in_time(*tasks)
    await in_time(*entering(door, 1))
