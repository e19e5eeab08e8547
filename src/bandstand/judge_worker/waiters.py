"""Waiters: who waits for the verdict of which turn. None is kept longer than it waits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class VerdictWaiters:
    """Futures by a turn's number, of one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @contextmanager
    def add_waiter(self, seq: int) -> Iterator[asyncio.Future[None]]:
        """A future that is done when the turn is concluded."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        others = self._waiting.setdefault(seq, set())
        others.add(waiter)
        try:
            yield waiter
        finally:
            waiter.cancel()
            others.discard(waiter)
            if not others and self._waiting.get(seq) is others:
                del self._waiting[seq]

    def notify(self, seq: int) -> None:
        """Wake all who wait for a turn."""
        for waiter in self._waiting.pop(seq, ()):
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Cancel all waiters: no further conclusion is announced."""
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.cancel()
