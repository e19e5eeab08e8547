"""The ledger's one writer: first in, first out, committed in groups on the event loop.

What is submitted in one turn of the loop is committed together at its end: a commit without a sync is some tens of
microseconds of memory copies, less than it costs to hand the group to a thread and back. A group that holds a durable
operation is then synced beside the loop (:class:`bandstand.store.sqlite.log_sync.LogSync`), which hardens everything
before it too; its operations are acknowledged after that. Each group's rows go in by multi-row statements.

Exclusive functions, which may take long, run on a thread with the connection to themselves; what is submitted meanwhile
waits. If a row is refused the group is taken back and its operations are committed one by one, so that one refused row
never fails its neighbours.
"""

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import Any, TypeVar

from bandstand.errors import OverloadedError, StorageUnavailableError
from bandstand.store.sqlite.errors import to_storage_error
from bandstand.store.sqlite.log_sync import LogSync
from bandstand.store.sqlite.operations import Operation, SumUp, WriterOperation
from bandstand.store.sqlite.schema import EVER
from bandstand.store.sqlite.statements import Row
from bandstand.store.sqlite.transaction import transaction

_MAX_GROUP = 256
"""Operations in one commit: a longer one would keep everybody waiting."""
_CHUNKS = (64, 32, 16, 8, 4, 2, 1)  # sizes of multi-row statements: few enough for the statement cache
_ROW_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)
T = TypeVar("T")
CommitObserver = Callable[[int, float, bool], None]
"""Told of each commit: operations in it, seconds it took, whether it synced."""


_Outcome = tuple[WriterOperation, object, BaseException | None]


class Writer:
    """Owns the writing connection. All methods are for the event loop's thread.

    Args:
        connection: the one that writes; no other connection may.
        log_sync: syncs the connection's log; ``None`` if nothing is to be synced (``DURABILITY=process``).
        max_pending: operations that may wait before new ones are refused.
        observe: told of each commit, on the event loop.

    Attributes:
        committed: operations in the groups that were committed so far.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        log_sync: LogSync | None,
        max_pending: int,
        observe: CommitObserver | None = None,
    ) -> None:
        self.committed = 0
        self._connection = connection
        self._log_sync = log_sync
        self._max_pending = max_pending
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._pending: deque[WriterOperation] = deque()
        self._pending_functions = 0  # of these; they are the store's own and never refused
        self._scheduled = False  # the next group is about to be committed
        self._lent = False  # an exclusive function has the connection
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._exclusive: SimpleQueue[WriterOperation | None] = SimpleQueue()
        self._inserts: dict[tuple[str, int], str] = {}  # complete statements, by their beginning and how many rows
        connection.execute("PRAGMA synchronous = NORMAL")
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Operations waiting for the next group."""
        return len(self._pending)

    @property
    def has_failed(self) -> bool:
        """Whether a sync has failed: then nothing is written any more."""
        return self._log_sync is not None and self._log_sync.failure is not None

    def submit(self, operation: WriterOperation) -> None:
        """Submit an operation; its ``done`` is called after its commit, its ``acknowledge`` after its sync.

        Raises:
            OverloadedError: too many are waiting.
            StorageUnavailableError: the writer is closed, or a sync has failed.
        """
        if self._closed:
            message = "the service is shutting down"
            raise StorageUnavailableError(message)
        if self.has_failed:
            message = "the disk has failed to keep what was written: nothing new is taken until the next start"
            raise StorageUnavailableError(message)
        exclusive = operation.exclusive is not None
        if not exclusive and len(self._pending) - self._pending_functions >= self._max_pending:
            message = f"{self._max_pending} events are waiting for the ledger; try again shortly"
            raise OverloadedError(message)
        if exclusive and not (self._pending or self._scheduled or self._lent):
            self._idle.clear()
            self._lend_connection(operation)
            return
        self._pending.append(operation)
        self._pending_functions += exclusive
        if not self._scheduled:
            self._schedule()

    async def call(self, function: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """Run ``function(connection)`` in its turn, outside any group, then sync; return what it returns."""
        future: asyncio.Future[T] = self._loop.create_future()
        results: list[T] = []

        def on_done(result: Any, error: BaseException | None) -> None:
            if error is None:
                results.append(result)

        def acknowledge(error: BaseException | None) -> None:
            if future.done():  # whoever waited has gone
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(results[0])

        self.submit(Operation([], on_done, durable=durable, exclusive=function, acknowledge=acknowledge))
        return await future

    async def call_briefly(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``function(connection)`` on the event loop, outside any group; not synced.

        Half a millisecond of work takes a thread several, in which nobody commits: it waits for the interpreter after
        each statement. At once if nobody has the connection, and else as :meth:`call`.
        """
        if self._lent or self._closed or self.has_failed:
            return await self.call(function, durable=False)
        try:
            return function(self._connection)
        except Exception as error:
            raise to_storage_error(error) from error

    async def drain(self) -> None:
        """Wait until everything submitted is settled."""
        await self._idle.wait()

    async def close(self) -> None:
        """Commit what was accepted, then stop the threads."""
        self._closed = True
        await self.drain()
        self._exclusive.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._log_sync is not None:
            await self._log_sync.close()

    def _schedule(self) -> None:
        if not (self._scheduled or self._lent):
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._commit_group)  # let this turn of the loop gather its neighbours

    def _commit_group(self) -> None:
        self._scheduled = False
        pending = self._pending
        first = pending[0]
        if first.exclusive is not None:
            self._pending_functions -= 1
            self._lend_connection(pending.popleft())
            return
        group: list[WriterOperation] = []
        for _ in range(min(len(pending), _MAX_GROUP)):
            if pending[0].exclusive is not None:
                break
            group.append(pending.popleft())
        if pending:
            self._schedule()
        started = time.perf_counter()
        outcomes = self._process_group(group)
        self._finish(outcomes, started)

    def _finish(self, outcomes: list[_Outcome], started: float) -> None:
        durable: list[_Outcome] = []
        for outcome in outcomes:
            operation, result, error = outcome
            try:
                operation.done(result, error)
            except Exception as failure:  # noqa: BLE001 (its neighbours must hear of their commits all the same)
                self._loop.call_exception_handler({"message": "an event could not be folded in", "exception": failure})
            if operation.durable and error is None and self._log_sync is not None:
                durable.append(outcome)
            else:
                operation.acknowledge(error)
        if durable and self._log_sync is not None:
            self._log_sync.call_after(partial(self._acknowledge, durable, len(outcomes), started))
        else:
            self._report(len(outcomes), started, synced=False)
            self._settle()

    def _acknowledge(self, durable: list[_Outcome], size: int, started: float, error: BaseException | None) -> None:
        failure = None if error is None else to_storage_error(error)
        for operation, _, _ in durable:
            operation.acknowledge(failure)
        self._report(size, started, synced=True)
        self._settle()

    def _report(self, size: int, started: float, *, synced: bool) -> None:
        if self._observe is not None:
            self._observe(size, time.perf_counter() - started, synced)

    def _settle(self) -> None:
        if not (self._scheduled or self._lent) and (self._log_sync is None or self._log_sync.is_idle):
            self._idle.set()

    def _lend_connection(self, operation: WriterOperation) -> None:
        self._lent = True
        self._exclusive.put(operation)

    def _return_connection(self, outcome: _Outcome, started: float) -> None:
        self._lent = False
        if self._pending:
            self._schedule()  # nobody behind it waits for its sync
        self._finish([outcome], started)

    def _run(self) -> None:
        """Run exclusive functions, on the thread."""
        while (operation := self._exclusive.get()) is not None:
            started = time.perf_counter()
            outcome = self._run_exclusive(operation)
            self._loop.call_soon_threadsafe(self._return_connection, outcome, started)

    def _run_exclusive(self, operation: WriterOperation) -> _Outcome:
        assert operation.exclusive is not None  # noqa: S101 (no other is sent here)
        try:
            result = operation.exclusive(self._connection)
        except Exception as error:  # noqa: BLE001 (whatever it is, whoever waits must hear of it)
            return operation, None, to_storage_error(error)
        return operation, result, None

    def _process_group(self, group: list[WriterOperation]) -> list[_Outcome]:
        try:
            try:
                self._commit(group)
            except _ROW_ERRORS:
                return self._commit_one_by_one(group)
        except Exception as error:  # noqa: BLE001 (whatever it is, every waiter must hear of it)
            failure = to_storage_error(error)
            return [(operation, None, failure) for operation in group]
        self.committed += len(group)
        return [(operation, None, None) for operation in group]

    def _commit(self, operations: list[WriterOperation]) -> None:
        with transaction(self._connection):
            self._insert(operations)

    def _commit_one_by_one(self, operations: list[WriterOperation]) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        for operation in operations:
            try:
                self._commit([operation])
            except Exception as error:  # noqa: BLE001 (its own waiter hears of it; the others go on)
                outcomes.append((operation, None, to_storage_error(error)))
            else:
                outcomes.append((operation, None, None))
        return outcomes

    def _insert(self, operations: list[WriterOperation]) -> None:
        tables: dict[str, list[Row]] = {}
        complete: list[tuple[str, Row]] = []  # these last, in their order: they look for rows that the others insert
        kinds: dict[SumUp, list[WriterOperation]] = {}
        for operation in operations:
            kinds.setdefault(operation.sum_up, []).append(operation)
            for statement, row in operation.rows:
                rows = tables.get(statement)
                if rows is None:
                    if _is_complete_statement(statement):
                        complete.append((statement, row))
                        continue
                    rows = tables[statement] = []
                rows.append(row)
        for statement, rows in tables.items():
            self._insert_rows(statement, rows)
        for statement, row in complete:
            self._connection.execute(statement, row)
        upserts: dict[str, list[Row]] = {}
        for sum_up, members in kinds.items():
            for statement, key, amounts in sum_up(members):
                rows = upserts.setdefault(statement, [])
                rows += ((*key, *amounts), (EVER, *key[1:], *amounts))
        for statement, rows in upserts.items():
            self._connection.executemany(statement, rows)

    def _insert_rows(self, statement: str, rows: list[Row]) -> None:
        start = 0
        for size in _CHUNKS:
            while len(rows) - start >= size:
                insert = self._inserts.get((statement, size))
                if insert is None:
                    placeholders = f"({', '.join('?' * len(rows[0]))})"
                    insert = self._inserts[statement, size] = statement + ", ".join([placeholders] * size)
                self._connection.execute(insert, list(chain.from_iterable(rows[start : start + size])))
                start += size


def _is_complete_statement(statement: str) -> bool:
    """Whether a statement is whole, and not one that is to be given rows."""
    return not statement.endswith(" VALUES ")
