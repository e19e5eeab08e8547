"""A door: heavy requests begin one by one, and only while no light one is being answered.

A request for tips costs the event loop two or three milliseconds, most of them before its first wait. Five hundred that
arrive together would hold up every score for more than a second; in turns they hold up none for more than their own.
"""

import asyncio
from collections import deque

from bandstand.errors import OverloadedError

_PATIENCE = 0.02
"""Seconds after which the next one begins although light ones are about: these come first, but not only."""


class Door:
    """A queue at a door; who finds nobody there goes straight in.

    Args:
        most: requests that may wait; beyond that they are refused.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._light = 0
        self._resting = False
        self._patience: asyncio.TimerHandle | None = None

    def light_begins(self) -> None:
        """Note that a light request is being answered."""
        self._light += 1

    def light_ends(self) -> None:
        """Note that it has been."""
        self._light -= 1
        if self._waiting:
            self._look()

    async def enter(self) -> None:
        """Wait for one's turn.

        Raises:
            OverloadedError: too many wait.
        """
        if not (self._light or self._resting or self._waiting):
            self._rest()
            return
        if len(self._waiting) >= self._most:
            raise OverloadedError(f"{self._most} requests are waiting for their turn; try again shortly")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._be_patient()
        await turn

    def _look(self) -> None:
        if not (self._light or self._resting):
            self._give()

    def _give(self) -> None:
        """Let the next one in."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # whoever waited may have gone
                turn.set_result(None)
                self._rest()
                break
        self._be_patient()

    def _be_patient(self) -> None:
        if self._waiting and self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(_PATIENCE, self._give)

    def _rest(self) -> None:
        """Let the loop look at its sockets, and what it finds there begin, before the next turn."""
        self._resting = True
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._rested)

    def _rested(self) -> None:
        self._resting = False
        self._look()
