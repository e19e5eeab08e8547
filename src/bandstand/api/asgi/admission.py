"""A door: heavy requests begin one by one, and only while no light one is being answered.

A request for tips costs the event loop two or three milliseconds, most of them before its first wait. Five hundred that
arrive together would hold up every score for more than a second; in turns they hold up none for more than their own.
"""

import asyncio
from collections import deque

from bandstand.errors import OverloadedError

_MAX_WAIT_S = 0.02
"""Seconds after which the next one begins although light ones are about: these come first, but not only."""


class AdmissionQueue:
    """A queue at a door; who finds nobody there goes straight in.

    Args:
        max_waiting: requests that may wait; beyond that they are refused.
    """

    def __init__(self, max_waiting: int = 1000) -> None:
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._light_requests = 0
        self._yielding = False
        self._timer: asyncio.TimerHandle | None = None

    def start_light_request(self, count: int = 1) -> None:
        """Note that a light request is being answered, or so many."""
        self._light_requests += count

    def end_light_request(self) -> None:
        """Note that one has been."""
        self._light_requests -= 1
        if self._waiting:
            self._release_if_idle()

    def count_light_requests(self) -> int:
        """How many light requests are being answered."""
        return self._light_requests

    async def wait_turn(self) -> None:
        """Wait for one's turn.

        Raises:
            OverloadedError: too many wait.
        """
        if not (self._light_requests or self._yielding or self._waiting):
            self._yield_to_loop()
            return
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError(f"{self._max_waiting} requests are waiting for their turn; try again shortly")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._start_timer()
        await turn

    def _release_if_idle(self) -> None:
        if not (self._light_requests or self._yielding):
            self._release_next()

    def _release_next(self) -> None:
        """Let the next one in."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # whoever waited may have gone
                turn.set_result(None)
                self._yield_to_loop()
                break
        self._start_timer()

    def _start_timer(self) -> None:
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_MAX_WAIT_S, self._release_next)

    def _yield_to_loop(self) -> None:
        """Let the loop look at its sockets, and what it finds there begin, before the next turn."""
        self._yielding = True
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._resume)

    def _resume(self) -> None:
        self._yielding = False
        self._release_if_idle()
