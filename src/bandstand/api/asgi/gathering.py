"""Hot requests of neighbouring turns of the event loop, begun together.

A group of requests shares what a decision, a commit and a sync cost, some 200 µs whatever its size. While a few are
being worked on, the rest of the clients wait. So who was just answered is waited for, about as long as a group costs: a
client sends its next request as soon as it has its answer, and half of the clients would take turns with the others.
Where nobody is due, requests begin once a turn of the loop has brought no more of them, which takes some microseconds;
one that came alone begins at the end of its own turn, but while others are being answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, TypeVar

_MAX_GATHERED = 64
"""Requests that begin without a look whether more come: a larger group would keep the first waiting."""
_PATIENCE_S = 0.0003
"""After which, if nobody has come, those who are due are not waited for any longer."""
_LONGEST_WAIT_S = 0.001
"""For which the first of a group is kept waiting at most, should others come in the place of those who are due."""

T = TypeVar("T")


class Gathering(Generic[T]):
    """The requests of one service that are about to begin.

    Args:
        begin: begins a group of them.
        count_busy: returns how many are being answered.
    """

    def __init__(self, begin: Callable[[Sequence[T]], None], count_busy: Callable[[], int]) -> None:
        self._begin = begin
        self._count_busy = count_busy
        self._waiting: list[T] = []
        self._seen = 0  # how many of them waited at the end of the turn before
        self._first, self._arrived = 0.0, 0.0  # when the oldest and the newest of these were seen
        self._begun = 0
        self._answered = 0  # of those begun, at the end of the turn before
        self._due = 0  # were answered, and have sent nothing since

    def submit(self, request: T) -> None:
        """Begin a request soon, together with the requests of others."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._waiting.append(request)

    def _end_turn(self) -> None:
        if self._is_worth_waiting():
            asyncio.get_running_loop().call_soon(self._end_turn)
            return
        waiting, self._waiting = self._waiting, []
        self._seen = self._due = 0
        self._begun += len(waiting)
        self._begin(waiting)

    def _is_worth_waiting(self) -> bool:
        count, busy, now = len(self._waiting), self._count_busy(), perf_counter()
        came, self._seen = count - self._seen, count
        answered, self._answered = self._begun - busy - self._answered, self._begun - busy
        was_due = self._due + answered > 0
        self._due = max(self._due + answered - came, 0)
        if came:
            self._first, self._arrived = now if came == count else self._first, now
        if count >= _MAX_GATHERED:
            return False
        if was_due:
            return self._due > 0 and now - self._arrived < _PATIENCE_S and now - self._first < _LONGEST_WAIT_S
        return came > (0 if busy or came < count else 1)
