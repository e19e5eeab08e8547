"""The ledger's one writer: first in, first out, committed in groups.

The event loop collects operations; a thread commits a whole collection at once while the next one gathers, so that a
group grows with the load and nobody waits for a timer. Each group's rows go in by multi-row statements: one
``sqlite3_step`` for many rows releases and retakes the interpreter lock once, where ``executemany`` would do so per row
in competition with the event loop.

A group that holds a durable operation is synced, which hardens everything before it too. If a row is refused the group
is taken back and its operations are committed one by one, so that one refused row never fails its neighbours.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from operator import add
from queue import SimpleQueue
from typing import Any, TypeVar

from bandstand.errors import OverloadedError, StorageUnavailableError
from bandstand.store.sqlite.errors import to_storage_error
from bandstand.store.sqlite.schema import EVER, Row
from bandstand.store.sqlite.transaction import transaction

_CHUNKS = (64, 32, 16, 8, 4, 2, 1)  # sizes of multi-row statements: few enough for the statement cache
_ROW_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)
_UPSERT_ROLLUP = """INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hour, policy) DO UPDATE SET
    decisions = decisions + excluded.decisions, explores = explores + excluded.explores,
    rewards = rewards + excluded.rewards, reward_sum = reward_sum + excluded.reward_sum"""

T = TypeVar("T")
DoneCallback = Callable[[object, BaseException | None], None]
ExclusiveFunction = Callable[[sqlite3.Connection], object]
SumIncrements = tuple[tuple[str, Row, tuple[float, ...]], ...]
CommitObserver = Callable[[int, float, bool], None]
"""Told of each commit: operations in it, seconds it took, whether it synced."""


class Operation:
    """Rows to insert in one commit, or an exclusive function that manages its own transaction.

    Args:
        rows: (statement, row) pairs; a statement that ends in VALUES takes many rows at once, any other one by one.
        tally: what the rows add to the hourly counts: (hour, policy id, decisions, explores, rewards, reward).
        sums: what they add to other sums: a statement, its key, and amounts, which are added up over a group first. A
            key begins with an hour or a day; the sums of ``EVER`` are kept with them, and so are those of the tally.
        durable: must be synced before it is acknowledged.
        done: called on the event loop, in order, with (result, error).
    """

    __slots__ = ("done", "durable", "exclusive", "rows", "sums")

    def __init__(
        self,
        rows: list[tuple[str, Row]],
        done: DoneCallback,
        *,
        durable: bool,
        tally: tuple[int, int, int, int, int, float] | None = None,
        sums: SumIncrements = (),
        exclusive: ExclusiveFunction | None = None,
    ) -> None:
        self.rows = rows
        self.done = done
        self.durable = durable
        self.sums = sums if tally is None else (*sums, (_UPSERT_ROLLUP, tally[:2], tally[2:]))
        self.exclusive = exclusive


_Outcome = tuple[Operation, object, BaseException | None]


class Writer:
    """Owns the writing connection and its thread. All methods are for the event loop's thread.

    Args:
        connection: the one that writes; no other connection may.
        sync: whether durable operations are synced (``DURABILITY=full``).
        max_pending: operations that may wait before new ones are refused.
        observe: told of each commit, on the event loop.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, sync: bool, max_pending: int, observe: CommitObserver | None = None
    ) -> None:
        self._connection = connection
        self._sync = sync
        self._max_pending = max_pending
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._batches: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._pending: list[Operation] = []
        self._busy = False  # a batch is with the thread, or its hand-over is scheduled
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._synchronous = ""
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Operations waiting for the next group."""
        return len(self._pending)

    def submit(self, operation: Operation) -> None:
        """Hand over an operation; its ``done`` is called after its commit.

        Raises:
            OverloadedError: too many are waiting.
            StorageUnavailableError: the writer is closed.
        """
        if self._closed:
            message = "the service is shutting down"
            raise StorageUnavailableError(message)
        if len(self._pending) >= self._max_pending:
            message = f"{self._max_pending} events are waiting for the ledger; try again shortly"
            raise OverloadedError(message)
        self._pending.append(operation)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._send_batch)  # let this turn of the loop gather its neighbours

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``function(connection)`` in its turn, outside any group, synced; return what it returns."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.submit(Operation([], make_done_callback(future), durable=True, exclusive=function))
        return await future

    async def drain(self) -> None:
        """Wait until everything handed over is settled."""
        await self._idle.wait()

    async def close(self) -> None:
        """Commit what was accepted, then stop the thread."""
        self._closed = True
        await self.drain()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)

    def _send_batch(self) -> None:
        batch, self._pending = self._pending, []
        self._batches.put(batch)

    def _finish_batch(self, outcomes: list[_Outcome], seconds: float, synced: bool) -> None:  # noqa: FBT001 (call_soon_threadsafe passes positions)
        if self._pending:
            self._send_batch()  # first, so that the thread works while the answers go out
        else:
            self._busy = False
        if self._observe is not None:
            self._observe(len(outcomes), seconds, synced)
        for operation, result, error in outcomes:
            try:
                operation.done(result, error)
            except Exception as failure:  # noqa: BLE001 (its neighbours must hear of their commits all the same)
                self._loop.call_exception_handler({"message": "an event could not be folded in", "exception": failure})
        if not self._busy:
            self._idle.set()

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            started = time.perf_counter()
            synced = self._sync and any(operation.durable for operation in batch)
            outcomes = [
                outcome for segment in _split_segments(batch) for outcome in self._process_segment(segment, synced)
            ]
            elapsed = time.perf_counter() - started
            self._loop.call_soon_threadsafe(self._finish_batch, outcomes, elapsed, synced)

    def _process_segment(self, segment: list[Operation], synced: bool) -> list[_Outcome]:  # noqa: FBT001 (private, read beside its caller)
        try:
            self._set_synchronous("FULL" if synced else "NORMAL")
            if segment[0].exclusive is not None:
                return [(segment[0], segment[0].exclusive(self._connection), None)]
            try:
                self._commit(segment)
            except _ROW_ERRORS:
                return self._commit_one_by_one(segment)
        except Exception as error:  # noqa: BLE001 (whatever it is, every waiter must hear of it)
            failure = to_storage_error(error)
            return [(operation, None, failure) for operation in segment]
        return [(operation, None, None) for operation in segment]

    def _set_synchronous(self, mode: str) -> None:
        if mode != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {mode}")
            self._synchronous = mode

    def _commit(self, operations: list[Operation]) -> None:
        with transaction(self._connection):
            self._insert(operations)

    def _commit_one_by_one(self, operations: list[Operation]) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        for operation in operations:
            try:
                self._commit([operation])
            except Exception as error:  # noqa: BLE001 (its own waiter hears of it; the others go on)
                outcomes.append((operation, None, to_storage_error(error)))
            else:
                outcomes.append((operation, None, None))
        return outcomes

    def _insert(self, operations: list[Operation]) -> None:
        tables: dict[str, list[Row]] = {}
        added: dict[tuple[str, Row], list[float]] = {}
        for operation in operations:
            for statement, row in operation.rows:
                rows = tables.get(statement)
                if rows is None:
                    rows = tables[statement] = []
                rows.append(row)
            for statement, key, amounts in operation.sums:
                so_far = added.get((statement, key))
                added[statement, key] = list(amounts) if so_far is None else list(map(add, so_far, amounts))
        for statement in sorted(
            tables, key=_is_complete_statement
        ):  # those last: they look for rows that the others insert
            if _is_complete_statement(statement):
                for row in tables[statement]:
                    self._connection.execute(statement, row)
            else:
                self._insert_rows(statement, tables[statement])
        for (statement, key), sums in added.items():
            for stretch in (key[0], EVER):
                self._connection.execute(statement, (stretch, *key[1:], *sums))

    def _insert_rows(self, statement: str, rows: list[Row]) -> None:
        placeholder = f"({', '.join('?' * len(rows[0]))})"
        start = 0
        for size in _CHUNKS:
            while len(rows) - start >= size:
                values = [value for row in rows[start : start + size] for value in row]
                self._connection.execute(statement + ", ".join([placeholder] * size), values)
                start += size


def _is_complete_statement(statement: str) -> bool:
    """Whether a statement is whole, and not one that is to be given rows."""
    return not statement.endswith(" VALUES ")


def make_done_callback(future: "asyncio.Future[Any]") -> DoneCallback:
    """The ``on_done`` that settles a future, unless whoever waited has gone."""

    def on_done(result: object, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    return on_done


def _split_segments(batch: list[Operation]) -> Iterator[list[Operation]]:
    """Split a batch so that each exclusive operation stands alone, in its place in the order."""
    segment: list[Operation] = []
    for operation in batch:
        if operation.exclusive is None:
            segment.append(operation)
            continue
        if segment:
            yield segment
        yield [operation]
        segment = []
    if segment:
        yield segment
