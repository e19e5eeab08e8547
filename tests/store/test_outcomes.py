"""Events in flight: everybody who waits hears what became of one, whoever goes meanwhile and however late they come."""

import asyncio

import pytest

from bandstand.store.embedded.in_flight import EventInFlight


async def wait(event: EventInFlight) -> str:
    await event
    return "committed"


@pytest.mark.parametrize("error", [None, ValueError("refused")])
async def test_everybody_hears_of_it_but_who_has_gone(error: Exception | None) -> None:
    event = EventInFlight()
    waiting = [asyncio.create_task(wait(event)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    event.settle(error)
    gone, *heard = await asyncio.gather(*waiting, wait(event), return_exceptions=True)
    assert isinstance(gone, asyncio.CancelledError)
    assert heard == ["committed" if error is None else error] * 3


async def test_nobody_hears_of_it_before_it_is_settled() -> None:
    event = EventInFlight()
    waiting = asyncio.create_task(wait(event))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    event.settle(None)
    assert await waiting == "committed"
