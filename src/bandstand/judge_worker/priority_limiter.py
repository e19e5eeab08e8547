"""A limiter of concurrent calls of the judge, with two priorities.

Callers who wait for an answer mostly come before the queue's turns.

While turns wait, every fourth slot is the queue's, so that a constant stream of opinions slows turns down but does not
stop them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_QUEUE_SHARE = 4
"""One place in so many is the queue's while turns wait."""


class PriorityLimiter:
    """Hands out places, of one event loop.

    Args:
        limit: how many there are.
        wake: called when the queue may look for room again.
        count_waiting: how many the queue would take now, had it the room.
    """

    def __init__(self, limit: int, wake: Callable[[], None], count_waiting: Callable[[], int]) -> None:
        self._free = limit
        self._wake = wake
        self._count_waiting = count_waiting
        self._reserved = 0
        self._consecutive = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._retrying: deque[asyncio.Future[None]] = deque()

    @property
    def available(self) -> int:
        """Places that the queue may take: those kept for it, and those that nobody waits for."""
        return self._free

    def take(self) -> None:
        """Take a place for a turn of the queue; there must be room."""
        self._free -= 1
        if self._reserved:
            self._reserved -= 1
        else:
            self._consecutive = 0

    def release(self) -> None:
        """Let the next one have a place that was taken."""
        self._free += 1
        self._reserve_for_queue()
        if self._has_free:
            self._release_next()
        if self._free:
            self._wake()

    @asynccontextmanager
    async def acquire(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and hold it; who is urgent comes first."""
        self._reserve_for_queue()
        if self._has_free:
            self._grant()
        else:
            await self._wait_turn(self._urgent if urgent else self._retrying)
        try:
            yield
        finally:
            self.release()

    @property
    def _has_free(self) -> bool:
        """Whether there is a place that is not kept for the queue; one that takes no more turns keeps none."""
        return self._free > min(self._reserved, self._count_waiting())

    def _reserve_for_queue(self) -> None:
        """Keep a free place for the queue if the next one is its."""
        if self._consecutive >= _QUEUE_SHARE - 1 and self._reserved < min(self._free, self._count_waiting()):
            self._reserved += 1
            self._consecutive = 0

    def _grant(self) -> None:
        self._free -= 1
        self._consecutive += 1

    def _release_next(self) -> None:
        for waiting in (self._urgent, self._retrying):
            while waiting:
                waiter = waiting.popleft()
                if not waiter.done():  # whoever waited may have gone
                    self._grant()
                    waiter.set_result(None)
                    return

    async def _wait_turn(self, waiting: "deque[asyncio.Future[None]]") -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it came too late
                self.release()
            raise
