"""A background task ends when it is cancelled, and what it had failed with is not lost."""

import asyncio

import pytest

from bandstand.asyncio_tasks import cancel_task


async def test_a_running_task_is_over_when_the_call_returns() -> None:
    cleaned = []

    async def run_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = asyncio.create_task(run_for_ever())
    await asyncio.sleep(0)
    await cancel_task(task)
    assert task.cancelled()
    assert cleaned == [True]


async def test_an_earlier_failure_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("first")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="first"):
        await cancel_task(task)
