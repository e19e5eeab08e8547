"""A closed entrance lets nobody in, and waits for everybody who is inside."""

import asyncio

from bandstand.service.loop_gate import LoopGate


async def pass_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_closing_waits_for_each_of_a_group() -> None:
    gate = LoopGate()
    closed = asyncio.Event()

    async def close() -> None:
        async with gate.close():
            closed.set()

    gate.count_entry(3)
    closing = asyncio.create_task(close())
    for _ in range(3):
        await pass_turns(5)
        assert not closed.is_set()
        assert not gate.is_open
        gate.count_exit()
    async with asyncio.timeout(60):
        await closing
    assert closed.is_set()
    assert gate.is_open


async def test_who_waits_is_let_in_when_it_opens() -> None:
    gate = LoopGate()
    async with gate.close():
        waiting = asyncio.create_task(gate.wait_open())
        await pass_turns(5)
        assert not waiting.done()
    async with asyncio.timeout(60):
        await waiting
