"""A lane: events that go to the ledger in groups, over the connections of one pool."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any

import asyncpg

from bandstand.errors import OverloadedError, StorageUnavailableError
from bandstand.store.outcomes import OutcomeCallback
from bandstand.store.postgres.connections import Channel, ConnectionPool
from bandstand.store.postgres.errors import ROW_ERRORS, describe, to_storage_error

_MAX_GROUP = 64


class GroupLane:
    """Sends events in groups: what arrives while all its connections are busy goes out together.

    Args:
        pool: whose connections.
        send: sends a group, and returns the result of each event; on a later try some may be stored already.
        max_pending: events that may wait before new ones are refused.
        observe: called with the number of a group's events, its seconds, and whether it was synced.
        on_error: called with the error of a group.
        get_key: whose lock an event takes. What has the same key as a group under way waits for that in the process,
            where it makes one group, and not in the database, where it would hold a connection.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        send: Callable[[Channel, list[Any], int], Awaitable[list[Any]]],
        *,
        workers: int,
        max_pending: int,
        observe: Callable[[int, float], None],
        on_error: Callable[[str], None],
        get_key: Callable[[Any], Hashable] | None = None,
    ) -> None:
        self._pool = pool
        self._send = send
        self._get_key = get_key
        self._locked: set[Hashable] = set()  # keys of the groups under way
        self._workers = workers
        self._max_pending = max_pending
        self._observe = observe
        self._on_error = on_error
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0  # of these, those that look again before they end
        self._closed = False

    @property
    def pending(self) -> int:
        """Events that wait."""
        return len(self._waiting)

    def submit(self, event: Any) -> "asyncio.Future[Any]":
        """Send an event together with its neighbours; the future gets its result.

        Raises:
            OverloadedError, StorageUnavailableError: nothing was submitted.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.add(event, partial(_settle_future, future))
        return future

    def add(self, event: Any, callback: OutcomeCallback[Any]) -> None:
        """Send an event together with its neighbours; the callback gets its result, without a turn of the loop.

        Raises:
            OverloadedError, StorageUnavailableError: nothing was submitted.
        """
        if self._closed:
            raise StorageUnavailableError("the service is shutting down")
        if len(self._waiting) >= self._max_pending:
            raise OverloadedError(f"{self._max_pending} events are waiting for the ledger; try again shortly")
        self._waiting.append((event, callback))
        if self._running < self._workers:
            self._running += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def open(self) -> None:
        """Take events, also after it was closed."""
        self._closed = False

    async def close(self) -> None:
        """Send what was taken."""
        self._closed = True
        while self._tasks:
            tasks = tuple(self._tasks)
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)  # waiting for tasks that are done need not give way to the loop

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # let this turn of the loop gather its neighbours
            while group := self._take_group():
                keys = set() if self._get_key is None else {self._get_key(event) for event, _ in group}
                self._locked |= keys
                try:
                    await self._settle(group)
                finally:
                    self._locked -= keys
        finally:
            self._running -= 1  # in the same turn as the last look: nobody comes between

    def _take_group(self) -> "list[_Waiting]":
        """The next events, but for those that wait for a group under way: whoever runs that looks again after it."""
        waiting = self._waiting
        if self._get_key is None or not self._locked:
            return [waiting.popleft() for _ in range(min(len(waiting), _MAX_GROUP))]
        group: list[_Waiting] = []
        others: list[_Waiting] = []
        while waiting and len(group) < _MAX_GROUP:
            each = waiting.popleft()
            (others if self._get_key(each[0]) in self._locked else group).append(each)
        waiting.extendleft(reversed(others))
        return group

    async def _settle(self, group: "list[_Waiting]") -> None:
        events, started = [event for event, _ in group], time.perf_counter()

        async def send(channel: Channel, tries: int) -> list[Any]:
            return await self._send(channel, events, tries)

        try:
            results = await self._pool.run(send)
        except ROW_ERRORS as error:
            if len(group) > 1:
                for each in group:
                    await self._settle([each])
                return
            _fail(group, error if isinstance(error, asyncpg.UniqueViolationError) else to_storage_error(error))
        except Exception as error:  # noqa: BLE001 (whatever it is, everybody who waits must hear of it)
            self._on_error(str(error) if isinstance(error, StorageUnavailableError) else describe(error))
            _fail(group, to_storage_error(error))
        else:
            self._observe(len(group), time.perf_counter() - started)
            for (_, callback), result in zip(group, results, strict=True):
                _call(callback, result, None)


_Waiting = tuple[Any, OutcomeCallback[Any]]
"""An event that waits, and who is called with its result."""


def _fail(group: list[_Waiting], error: BaseException) -> None:
    for _, callback in group:
        _call(callback, None, error)


def _call(callback: OutcomeCallback[Any], result: Any, error: BaseException | None) -> None:
    try:
        callback(result, error)
    except Exception as failure:  # noqa: BLE001 (the others must hear of it all the same)
        context = {"message": "what came of an event could not be told", "exception": failure}
        asyncio.get_running_loop().call_exception_handler(context)


def _settle_future(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # whoever asked may have gone
