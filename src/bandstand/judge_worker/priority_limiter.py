"""Places: so many calls of the judge at once. Whoever waits for an answer comes before the queue's turns, mostly.

While turns wait every fourth place is the queue's, so that opinions that never stop coming slow turns down,
and no more.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_SHARE = 4
"""One place in so many is the queue's while turns wait."""


class Places:
    """Hands out places, of one event loop.

    Args:
        most: how many there are.
        wake: called when the queue may look for room again.
        turns: how many the queue would take now, had it the room.
    """

    def __init__(self, most: int, wake: Callable[[], None], turns: Callable[[], int]) -> None:
        self._free = most
        self._wake = wake
        self._turns = turns
        self._kept = 0
        self._in_a_row = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()

    @property
    def room(self) -> int:
        """Places that the queue may take: those kept for it, and those that nobody waits for."""
        return self._free

    def take(self) -> None:
        """Take a place for a turn of the queue; there must be room."""
        self._free -= 1
        if self._kept:
            self._kept -= 1
        else:
            self._in_a_row = 0

    def give_back(self) -> None:
        """Let the next one have a place that was taken."""
        self._free += 1
        self._keep_the_queue_s()
        if self._open:
            self._hand_on()
        if self._free:
            self._wake()

    @asynccontextmanager
    async def one(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and hold it; who is urgent comes first."""
        self._keep_the_queue_s()
        if self._open:
            self._grant()
        else:
            await self._next(self._urgent if urgent else self._patient)
        try:
            yield
        finally:
            self.give_back()

    @property
    def _open(self) -> bool:
        """Whether there is a place that is not kept for the queue; one that takes no more turns keeps none."""
        return self._free > min(self._kept, self._turns())

    def _keep_the_queue_s(self) -> None:
        """Keep a free place for the queue if the next one is its."""
        if self._in_a_row >= _SHARE - 1 and self._kept < min(self._free, self._turns()):
            self._kept += 1
            self._in_a_row = 0

    def _grant(self) -> None:
        self._free -= 1
        self._in_a_row += 1

    def _hand_on(self) -> None:
        for waiting in (self._urgent, self._patient):
            while waiting:
                place = waiting.popleft()
                if not place.done():  # whoever waited may have gone
                    self._grant()
                    place.set_result(None)
                    return

    async def _next(self, waiting: "deque[asyncio.Future[None]]") -> None:
        place = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it came too late
                self.give_back()
            raise
