"""Tasks of the event loop: how one that runs in the background is ended."""

import asyncio
from contextlib import suppress


async def cancel_task(task: asyncio.Task[None]) -> None:
    """Cancel a background task and wait for its end.

    Raises:
        Exception: what the task had failed with before it was cancelled.
    """
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
