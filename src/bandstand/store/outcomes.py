"""The result of a submitted event: to be awaited, or delivered to a callback, which needs no task.

A store may return whatever can be awaited. One that commits on the event loop's thread returns an :class:`Outcome`,
which calls back by itself: a batch of requests then continues right there, without a task, a future and a turn of the
loop for each.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")
OutcomeCallback = Callable[[T | None, BaseException | None], None]
"""Called with what came of something, or with the error for which nothing did."""

_tasks: set[asyncio.Future[Any]] = set()  # a loop holds its tasks but weakly


class Outcome(Struct, Generic[T], eq=False):
    """The result of an event, for any number of waiters.

    If one of them is cancelled, that affects neither the event nor the others. A late waiter gets the result at once.
    """

    _is_settled: bool = False
    _value: T | None = None
    _error: BaseException | None = None
    _waiting: list[OutcomeCallback[T]] = []

    def settle(self, value: T | None, error: BaseException | None) -> None:
        """Set the result or the error."""
        self._value, self._error, self._is_settled = value, error, True
        for callback in self._waiting:
            try:
                callback(value, error)
            except Exception as failure:  # noqa: BLE001 (the others must hear of it all the same)
                context = {"message": "what came of an event could not be told", "exception": failure}
                asyncio.get_running_loop().call_exception_handler(context)

    def call_when_settled(self, callback: OutcomeCallback[T]) -> None:
        """Register a callback for when it is settled; it is called at once if it is settled already."""
        if self._is_settled:
            callback(self._value, self._error)
        else:
            self._waiting.append(callback)

    def __await__(self) -> Generator[object, None, T]:
        """Wait for it; returns the result, or raises the error."""
        if not self._is_settled:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(partial(_wake, future))
            yield from future
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # there is one where there is no error


def watch(awaited: Awaitable[T], callback: OutcomeCallback[T]) -> None:
    """Call a callback with the result of something awaitable, in a task only if it cannot call back by itself."""
    if isinstance(awaited, Outcome):
        awaited.call_when_settled(callback)
        return
    future: asyncio.Future[T] = asyncio.ensure_future(awaited)
    _tasks.add(future)
    future.add_done_callback(partial(_call_with_result, callback))


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a task of its own; the coroutine notifies its waiters itself."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def settle_with(coroutine: Coroutine[Any, Any, T], outcome: Outcome[T]) -> None:
    """Settle an outcome with the result of a coroutine, which runs in a task of its own."""

    async def settle() -> None:
        try:
            value = await coroutine
        except BaseException as error:  # noqa: BLE001 (whoever waits must hear of it)
            outcome.settle(None, error)
        else:
            outcome.settle(value, None)

    run(settle())


def make_callback(future: "asyncio.Future[T]") -> OutcomeCallback[T]:
    """The callback that settles a future, unless its waiter was cancelled."""

    def settle(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # there is one where there is no error

    return settle


def _call_with_result(callback: OutcomeCallback[T], future: "asyncio.Future[T]") -> None:
    _tasks.discard(future)
    error = asyncio.CancelledError() if future.cancelled() else future.exception()
    if error is None:
        callback(future.result(), None)
    else:
        callback(None, error)


def _wake(future: "asyncio.Future[None]", *_: object) -> None:
    if not future.done():  # whoever waited may have gone
        future.set_result(None)
