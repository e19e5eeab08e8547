"""The entrance of a loop: requests pass while it runs, and wait while it is closed and opened again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar

DRAIN_SECONDS = 5.0
"""How long requests under way have to end before a loop is closed under them."""

_inside: ContextVar[frozenset[int]] = ContextVar("inside", default=frozenset())
"""The gates that the request being answered has passed, by their identity."""


class LoopGate:
    """Counts who is inside, and closes.

    Attributes:
        is_open: whether nobody has to wait.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._count = 0
        self._opened = asyncio.Event()
        self._opened.set()
        self._left = asyncio.Event()

    @property
    def is_passed(self) -> bool:
        """Whether who asks is inside."""
        return id(self) in _inside.get()

    async def wait_open(self) -> None:
        """Wait until nobody has to."""
        await self._opened.wait()

    def count_entry(self, count: int = 1) -> None:
        """Be inside, so many, without being known there; the gate must be open, and no await between the two."""
        self._count += count

    def count_exit(self) -> None:
        """Be outside again."""
        self._count -= 1
        if not self.is_open:
            self._left.set()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside; the gate must be open, and no await between the two."""
        self.count_entry()
        token = _inside.set(_inside.get() | {id(self)})
        try:
            yield
        finally:
            _inside.reset(token)
            self.count_exit()

    @asynccontextmanager
    async def pass_through(self) -> AsyncIterator[None]:
        """Be inside, once the gate is open; who is inside already need not wait."""
        if self.is_passed:
            yield
            return
        while not self.is_open:
            await self.wait_open()
        with self.enter():
            yield

    @asynccontextmanager
    async def close(self) -> AsyncIterator[None]:
        """Let nobody in, and wait for a while for those inside; who asks may be one of them."""
        own = int(self.is_passed)
        self.is_open = False
        self._opened.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    while self._count > own:
                        self._left.clear()
                        await self._left.wait()
            yield
        finally:
            self.is_open = True
            self._opened.set()


class ChangeLock:
    """Held by whoever makes, changes or deletes loops; who waits for it is inside no loop meanwhile.

    So a loop that is closed for one change waits for nobody who wants the next.

    Args:
        list_gates: gives the gates of all loops.
    """

    def __init__(self, list_gates: Callable[[], Iterable[LoopGate]]) -> None:
        self._list_gates = list_gates
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        """Hold it; whoever closed a gate has opened it by then."""
        passed = [gate for gate in self._list_gates() if gate.is_passed]
        for gate in passed:
            gate.count_exit()
        try:
            await self._lock.acquire()
        finally:
            for gate in passed:
                gate.count_entry()

    async def __aexit__(self, *_: object) -> None:
        """Let the next one have it."""
        self._lock.release()
