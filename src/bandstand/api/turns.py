"""Turns: heavy requests begin one after another, and leave the event loop time for the light ones in between.

A request for tips costs the event loop two or three milliseconds, most of them before its first wait. Five hundred that
arrive together would hold up every score for more than a second; in turns they hold up none for more than their own.
"""

import asyncio
import time
from collections import deque

from bandstand.bandit.errors import OverloadedError

_LOOK = 0.001
"""Seconds between looks at how busy the loop has been since the last turn."""
_SHARE = 0.4
"""Of the time since the last turn, what the loop may have been busy when the next one begins."""
_LONGEST = 0.02
"""Seconds after which the next one begins anyway: scores come first, but not only."""


class Turns:
    """A queue at a door; who finds nobody there goes straight in.

    Args:
        most: requests that may wait; beyond that they are refused.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._resting = False
        self._began = 0.0
        self._busy = 0.0

    async def take(self) -> None:
        """Wait for one's turn.

        Raises:
            OverloadedError: too many wait.
        """
        if not self._resting:
            self._begin()
            return
        if len(self._waiting) >= self._most:
            raise OverloadedError(f"{self._most} requests are waiting for their turn; try again shortly")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _begin(self) -> None:
        self._resting = True
        self._began, self._busy = time.perf_counter(), time.thread_time()
        self._look_later()

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _look(self) -> None:
        passed = time.perf_counter() - self._began
        if time.thread_time() - self._busy > _SHARE * passed and passed < _LONGEST:
            self._look_later()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # whoever waited may have gone
                turn.set_result(None)
                self._begin()
                return
        self._resting = False
