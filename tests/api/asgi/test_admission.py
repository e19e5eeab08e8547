"""Door: in order, one by one, after the light ones, never stuck."""

import asyncio
from itertools import pairwise

import pytest

from bandstand.api.asgi.admission import AdmissionQueue
from bandstand.errors import OverloadedError


async def in_time(*waiting: asyncio.Task[None]) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)


def start_waiting(door: AdmissionQueue, count: int, begun: list[int] | None = None) -> list[asyncio.Task[None]]:
    async def enter(number: int) -> None:
        await door.wait_turn()
        if begun is not None:
            begun.append(number)

    return [asyncio.create_task(enter(number)) for number in range(count)]


async def pass_turn(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_finds_nobody_there_waits_for_nobody() -> None:
    (task,) = start_waiting(AdmissionQueue(), 1)
    await pass_turn(1)
    assert task.done()


async def test_turns_go_round_in_order_and_one_by_one() -> None:
    begun: list[int] = []
    tasks = start_waiting(AdmissionQueue(), 30, begun)
    seen = []
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        seen.append(len(begun))
    assert begun == list(range(30))
    assert max(later - earlier for earlier, later in pairwise([0, *seen])) == 1


async def test_the_loop_goes_round_between_two_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.api.asgi.admission._MAX_WAIT_S", 3600)  # else a slow turn of the loop brings two
    door, seen = AdmissionQueue(), []

    async def begin_history() -> None:
        await door.wait_turn()
        seen.append("turn")

    async def count_others() -> None:
        while seen.count("turn") < 20:
            seen.append("other")
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(*(begin_history() for _ in range(20)), count_others())
    positions = [index for index, what in enumerate(seen) if what == "turn"]
    assert all(later - earlier > 1 for earlier, later in pairwise(positions))


async def test_nobody_begins_while_a_light_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.api.asgi.admission._MAX_WAIT_S", 3600)
    door = AdmissionQueue()
    door.start_light_request(2)
    tasks = start_waiting(door, 2)
    await pass_turn(50)
    door.end_light_request()
    await pass_turn(50)
    assert not any(task.done() for task in tasks)
    door.end_light_request()
    await pass_turn(2)
    assert tasks[0].done()
    await in_time(*tasks)


async def test_nor_between_two_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.api.asgi.admission._MAX_WAIT_S", 3600)
    door, begun = AdmissionQueue(), list[int]()
    tasks = start_waiting(door, 5, begun)
    while len(begun) < 2:  # noqa: ASYNC110 (turns of the loop are what is counted)
        await asyncio.sleep(0)
    door.start_light_request()
    await pass_turn(50)
    assert len(begun) <= 3
    door.end_light_request()
    await in_time(*tasks)


async def test_under_unending_light_requests_the_heavy_ones_begin_all_the_same() -> None:
    door, begun = AdmissionQueue(), list[int]()
    door.start_light_request()
    await in_time(*start_waiting(door, 5, begun))
    assert begun == list(range(5))


@pytest.mark.parametrize("light", [False, True])
async def test_who_goes_away_loses_the_turn_and_blocks_nobody(light: bool) -> None:
    door = AdmissionQueue()
    if light:
        door.start_light_request()
    tasks = start_waiting(door, 6)
    await pass_turn(1)
    for task in tasks[1:4]:
        task.cancel()
    await in_time(tasks[0], *tasks[4:])
    assert [task.cancelled() for task in tasks] == [False, True, True, True, False, False]
    await pass_turn(5)
    if light:
        door.end_light_request()
    (late,) = start_waiting(door, 1)
    await in_time(late)


async def test_who_goes_away_with_the_turn_in_hand_blocks_nobody() -> None:
    door = AdmissionQueue()
    door.start_light_request()
    first, second = start_waiting(door, 2)
    await pass_turn(1)
    door.end_light_request()
    first.cancel()
    await in_time(second)
    assert first.cancelled()


async def test_too_many_are_refused_at_once() -> None:
    door = AdmissionQueue(max_waiting=2)
    tasks = start_waiting(door, 3)
    await pass_turn(1)
    with pytest.raises(OverloadedError):
        await door.wait_turn()
    await in_time(*tasks)
    await in_time(*start_waiting(door, 1))
