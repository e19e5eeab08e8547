"""Outcomes: everybody who waits hears what became of one, whoever goes meanwhile and however late they come."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from bandstand.store.outcomes import Outcome, watch


async def wait(outcome: Outcome[str]) -> str:
    return await outcome


@pytest.mark.parametrize("error", [None, ValueError("refused")])
async def test_everybody_hears_of_it_but_who_has_gone(error: Exception | None) -> None:
    outcome: Outcome[str] = Outcome()
    waiting = [asyncio.create_task(wait(outcome)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    outcome.settle("committed" if error is None else None, error)
    gone, *heard = await asyncio.gather(*waiting, wait(outcome), return_exceptions=True)
    assert isinstance(gone, asyncio.CancelledError)
    assert heard == ["committed" if error is None else error] * 3


async def test_nobody_hears_of_it_before_it_is_settled() -> None:
    outcome: Outcome[str] = Outcome()
    waiting = asyncio.create_task(wait(outcome))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    outcome.settle("committed", None)
    assert await waiting == "committed"


async def test_who_is_called_back_hears_in_order_and_one_that_fails_stops_no_other() -> None:
    outcome: Outcome[str] = Outcome()
    told: list[Any] = []
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail(_value: str | None, _error: BaseException | None) -> None:
        raise ValueError("cannot be told")

    watch(outcome, lambda value, _: told.append((1, value)))
    watch(outcome, fail)
    watch(outcome, lambda value, _: told.append((2, value)))
    outcome.settle("committed", None)
    watch(outcome, lambda value, _: told.append((3, value)))
    assert told == [(1, "committed"), (2, "committed"), (3, "committed")]
    assert [str(context["exception"]) for context in reported] == ["cannot be told"]


@pytest.mark.parametrize("error", [None, ValueError("refused")])
async def test_whatever_can_be_awaited_is_watched(error: Exception | None) -> None:
    heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def come() -> str:
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return "committed"

    awaited: Awaitable[str] = come()
    watch(awaited, lambda *outcome: heard.set_result(outcome))
    assert await heard == (("committed", None) if error is None else (None, error))
