"""The writer: first in first out, in groups, and one refused row never fails its neighbours."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bandstand.errors import (
    OverloadedError,
    StorageFullError,
    StorageUnavailableError,
    UnknownDecisionError,
)
from bandstand.store.sqlite.errors import to_storage_error
from bandstand.store.sqlite.log_sync import LogSync
from bandstand.store.sqlite.operations import Operation, Tally, make_done_callback
from bandstand.store.sqlite.schema import EVER
from bandstand.store.sqlite.statements import Row
from bandstand.store.sqlite.writer import Writer
from tests.store.given import hold_calls

INSERT = "INSERT INTO things VALUES "


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "things.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    connection.execute(
        "CREATE TABLE rollups (hour, policy, decisions, explores, rewards, reward_sum, PRIMARY KEY (hour, policy))"
    )
    yield connection
    connection.close()


class Bench:
    """A writer, and what became of the operations given to it."""

    def __init__(
        self, connection: sqlite3.Connection, *, log_sync: LogSync | None = None, max_pending: int = 10_000
    ) -> None:
        self.connection = connection
        self.commits: list[tuple[int, bool]] = []
        self.writer = Writer(connection, log_sync=log_sync, max_pending=max_pending, observe=self._record_commit)

    def _record_commit(self, operations: int, seconds: float, synced: bool) -> None:
        assert seconds >= 0
        self.commits.append((operations, synced))

    def submit(self, *rows: tuple[Any, Any], durable: bool = False) -> "asyncio.Future[object]":
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        settle = make_done_callback(future)
        self.writer.submit(
            Operation(
                [(INSERT, row) for row in rows],
                lambda *_: None,
                durable=durable,
                acknowledge=lambda error: settle(None, error),
            )
        )
        return future

    def list_things(self) -> list[tuple[Any, ...]]:
        return self.connection.execute("SELECT id, name FROM things ORDER BY id").fetchall()


def count_things(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM things").fetchone()[0])


async def test_what_is_settled_is_committed(connection: sqlite3.Connection, tmp_path: Path) -> None:
    bench = Bench(connection)
    await bench.submit((1, "one"), (2, "two"))
    other = sqlite3.connect(tmp_path / "things.db")
    assert other.execute("SELECT id, name FROM things").fetchall() == [(1, "one"), (2, "two")]
    other.close()
    await bench.writer.close()


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 127, 1000])
async def test_a_group_of_any_size_is_written_whole(connection: sqlite3.Connection, count: int) -> None:
    bench = Bench(connection)
    await asyncio.gather(*(bench.submit((number, str(number))) for number in range(count)))
    assert bench.list_things() == [(number, str(number)) for number in range(count)]
    assert sum(size for size, _ in bench.commits) == count
    assert max(size for size, _ in bench.commits) <= 256
    await bench.writer.close()


async def test_operations_are_settled_in_the_order_of_the_hand_over(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    order: list[int] = []
    futures = []
    for number in range(300):
        future = bench.submit((number, ""))
        future.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]  # bound now
        futures.append(future)
        if number % 7 == 0:
            await asyncio.sleep(0)
        if number % 50 == 0:
            assert await bench.writer.call(lambda c: c.execute("SELECT count(*) FROM things").fetchone()) == (
                number + 1,
            )
    await asyncio.gather(*futures)
    assert order == list(range(300))
    assert all(size > 0 for size, _ in bench.commits)
    await bench.writer.close()


async def test_groups_grow_with_the_load(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    gate = threading.Event()
    blocked = asyncio.create_task(bench.writer.call(lambda _: gate.wait(60)))
    await asyncio.sleep(0.01)
    futures = [bench.submit((number, "")) for number in range(100)]
    assert bench.writer.pending == 100
    gate.set()
    await asyncio.gather(blocked, *futures)
    assert bench.commits == [(1, False), (100, False)]
    await bench.writer.close()


@pytest.mark.parametrize(
    "bad",
    [
        (50, "a duplicate"),
        (1000, None),
        (1001, object()),
        (2**63, "beyond an integer"),
        (1002, "\ud800 is half a character"),
        ("text", "for a number"),
        (1003, "too long", "a row"),
    ],
    ids=["duplicate", "null", "type", "overflow", "surrogate", "mismatch", "columns"],
)
@pytest.mark.parametrize("position", [0, 40, 99])
async def test_one_refused_row_does_not_fail_its_group(
    connection: sqlite3.Connection, bad: tuple[Any, Any], position: int
) -> None:
    bench = Bench(connection)
    await bench.submit((50, "first"))
    rows = [(number, str(number)) for number in range(100) if number != 50]
    futures = [bench.submit(row) for row in rows[:position]]
    refused = bench.submit((500, "goes with it"), bad)
    futures += [bench.submit(row) for row in rows[position:]]
    outcomes = await asyncio.gather(refused, *futures, return_exceptions=True)
    assert isinstance(outcomes[0], sqlite3.IntegrityError | StorageUnavailableError)
    assert outcomes[1:] == [None] * 99
    assert bench.list_things() == sorted([*rows, (50, "first")])
    await bench.writer.close()


async def test_two_rows_of_one_group_that_exclude_each_other(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    outcomes = await asyncio.gather(*(bench.submit((1, str(n))) for n in range(5)), return_exceptions=True)
    assert outcomes[0] is None, "the first one stands"
    assert [type(outcome) for outcome in outcomes[1:]] == [sqlite3.IntegrityError] * 4
    assert bench.list_things() == [(1, "0")]
    await bench.writer.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "things.db-wal"


async def test_a_group_syncs_if_one_of_it_must_be_durable(connection: sqlite3.Connection, log: Path) -> None:
    bench = Bench(connection, log_sync=LogSync(log))
    await bench.submit((1, ""))
    await asyncio.gather(bench.submit((2, "")), bench.submit((3, ""), durable=True), bench.submit((4, "")))
    await bench.submit((5, ""))
    await bench.writer.call(lambda _: None)
    assert bench.commits == [(1, False), (3, True), (1, False), (1, True)]
    await bench.writer.close()


async def test_without_durability_nothing_syncs(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    await bench.submit((1, ""), durable=True)
    assert bench.commits == [(1, False)]
    await bench.writer.close()


async def test_the_loop_goes_on_while_the_disk_syncs(
    connection: sqlite3.Connection, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(connection, log_sync=LogSync(log))
    with hold_calls(monkeypatch, LogSync, "sync") as gate:
        durable = bench.submit((1, ""), durable=True)
        await asyncio.to_thread(gate.reached.wait, 60)
        await bench.submit((2, ""))
        assert bench.list_things() == [(1, ""), (2, "")]
        assert not durable.done(), "it is committed, and not acknowledged"
    await durable
    await bench.writer.close()


async def test_what_gathers_during_a_sync_waits_for_the_next(
    connection: sqlite3.Connection, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(connection, log_sync=LogSync(log))
    syncs = 0

    def count(self: LogSync, original: Callable[[LogSync], None] = LogSync.sync) -> None:
        nonlocal syncs
        syncs += 1
        original(self)

    monkeypatch.setattr(LogSync, "sync", count)
    with hold_calls(monkeypatch, LogSync, "sync") as gate:
        futures = [bench.submit((0, ""), durable=True)]
        await asyncio.to_thread(gate.reached.wait, 60)
        for number in range(1, 50):
            futures.append(bench.submit((number, ""), durable=True))
            await asyncio.sleep(0)
    await asyncio.gather(*futures)
    assert syncs == 2
    await bench.writer.close()


async def test_a_disk_that_is_quick_is_synced_by_the_loop_and_a_slow_one_beside_it(
    connection: sqlite3.Connection, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []
    monkeypatch.setattr(
        "bandstand.store.sqlite.log_sync._flush",
        lambda _: threads.append(threading.current_thread() is threading.main_thread()),
    )
    bench = Bench(connection, log_sync=LogSync(log))
    for usual in (1.0, 0.0):
        monkeypatch.setattr("bandstand.store.sqlite.log_sync._QUICK_S", 0.5 if usual else 1e9)
        await bench.submit((int(usual), ""), durable=True)
    assert threads == [False, True]
    await bench.writer.close()


async def test_after_a_sync_that_failed_nothing_is_acknowledged_or_taken(
    connection: sqlite3.Connection, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(connection, log_sync=LogSync(log))

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("bandstand.store.sqlite.log_sync._flush", fail)
        outcomes = await asyncio.gather(
            bench.submit((1, "")), bench.submit((2, ""), durable=True), return_exceptions=True
        )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], StorageUnavailableError)
    assert bench.writer.has_failed
    with pytest.raises(StorageUnavailableError):
        bench.submit((3, ""))
    with pytest.raises(StorageUnavailableError):
        await bench.writer.call(lambda _: None)
    await bench.writer.close()


async def test_what_was_acknowledged_is_in_the_files_as_they_were_at_the_sync(
    connection: sqlite3.Connection, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut, as far as it can be played: at each sync the files are copied, and later opened again."""
    copies: list[tuple[int, Path]] = []
    acknowledged: list[int] = []
    original = LogSync.sync

    def sync_and_copy(self: LogSync) -> None:
        original(self)
        folder = tmp_path / f"at-{len(copies)}"
        folder.mkdir()
        for name in (
            "things.db",
            "things.db-wal",
        ):
            shutil.copy(tmp_path / name, folder / name)
        copies.append((len(acknowledged), folder))

    monkeypatch.setattr(LogSync, "sync", sync_and_copy)
    bench = Bench(connection, log_sync=LogSync(log))
    for number in range(30):
        future = bench.submit((number, str(number)), durable=number % 3 == 0)
        future.add_done_callback(lambda _, number=number: acknowledged.append(number))  # type: ignore[misc]  # bound now
        if number % 4 == 0:
            await future
    await bench.writer.drain()
    await bench.writer.close()
    assert len(copies) > 1
    for position, (_, folder) in enumerate(copies):
        later = copies[position + 1][0] if position + 1 < len(copies) else len(acknowledged)
        again = sqlite3.connect(folder / "things.db")
        kept = {row[0] for row in again.execute("SELECT id FROM things")}
        again.close()
        durable = {number for number in acknowledged[:later] if number % 3 == 0}
        assert durable <= kept


async def test_an_exclusive_function_has_its_turn_and_its_own_transaction(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    before = bench.submit((1, ""))
    seen: list[list[tuple[Any, ...]]] = []

    def find_next(its: sqlite3.Connection) -> str:
        assert not its.in_transaction
        seen.append(its.execute("SELECT id FROM things").fetchall())
        return "seen"

    call = asyncio.create_task(bench.writer.call(find_next))
    await asyncio.sleep(0)
    after = bench.submit((2, ""))
    assert await call == "seen"
    await asyncio.gather(before, after)
    assert seen == [[(1,)]]
    await bench.writer.close()


async def test_a_brief_function_goes_before_the_group_that_gathers_and_waits_for_a_long_one(
    connection: sqlite3.Connection,
) -> None:
    bench = Bench(connection)
    released = threading.Event()

    def count_things(its: sqlite3.Connection) -> int:
        return int(its.execute("SELECT count(*) FROM things").fetchone()[0])

    gathering = bench.submit((1, ""))
    assert await bench.writer.call_briefly(count_things) == 0, "on the loop, before the group is committed"
    await gathering
    long = asyncio.create_task(bench.writer.call(lambda _: released.wait()))
    await asyncio.sleep(0)
    brief = asyncio.create_task(bench.writer.call_briefly(count_things))
    await asyncio.sleep(0)
    assert not brief.done()
    released.set()
    assert await long
    assert await brief == 1
    with pytest.raises(StorageUnavailableError):
        await bench.writer.call_briefly(lambda its: its.execute("SELECT * FROM nothing"))
    await bench.writer.close()


async def test_a_failing_function_fails_alone(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)

    def fail(_: sqlite3.Connection) -> None:
        raise UnknownDecisionError("no such thing")

    before = bench.submit((1, ""))
    call = asyncio.create_task(bench.writer.call(fail))
    await asyncio.sleep(0)
    after = bench.submit((2, ""))
    with pytest.raises(UnknownDecisionError):
        await call
    await asyncio.gather(before, after)
    assert len(bench.list_things()) == 2
    await bench.writer.close()


async def test_whole_statements_follow_the_rows_of_a_group_in_the_order_in_which_they_came(
    connection: sqlite3.Connection,
) -> None:
    """Each may look for what one before it has made, whichever operation used the same statement earlier."""
    bench = Bench(connection)
    copy = "INSERT INTO things (id, name) SELECT id + 100, name FROM things WHERE id = ?1"
    rename = "UPDATE things SET name = name || '!' WHERE id = ?1"
    operations: list[list[tuple[str, Row]]] = [
        [(INSERT, (1, "a")), (rename, (1,))],
        [(copy, (2,)), (rename, (102,))],
        [(INSERT, (2, "b"))],
    ]
    futures = []
    for rows in operations:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        bench.writer.submit(Operation(rows, make_done_callback(future), durable=False))
        futures.append(future)
    await asyncio.gather(*futures)
    assert bench.commits == [(3, False)]
    assert bench.list_things() == [(1, "a!"), (2, "b"), (102, "b!")]
    await bench.writer.close()


async def test_tallies_are_summed_by_hour_and_policy(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    random = Random(0)
    expected: dict[tuple[int, int], list[float]] = {}
    futures = []
    for number in range(200):
        tally = Tally(random.randrange(3), random.randrange(2), 1, random.randrange(2), 1, random.choice([-1.0, 0.5]))
        for hour in (EVER, tally[0]):
            sums = expected.setdefault((hour, tally[1]), [0, 0, 0, 0.0])
            for position, amount in enumerate(tally[2:]):
                sums[position] += amount
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        bench.writer.submit(Operation([(INSERT, (number, ""))], make_done_callback(future), durable=False, tally=tally))
        futures.append(future)
        if number % 9 == 0:
            await asyncio.sleep(0.001)
    refused: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    bench.writer.submit(
        Operation([(INSERT, (0, ""))], make_done_callback(refused), durable=False, tally=Tally(0, 0, 9, 9, 9, 9.0))
    )
    outcomes = await asyncio.gather(*futures, refused, return_exceptions=True)
    assert isinstance(outcomes[-1], sqlite3.IntegrityError)
    rows = connection.execute("SELECT * FROM rollups").fetchall()
    assert {(hour, policy): sums for hour, policy, *sums in rows} == expected
    await bench.writer.close()


async def test_too_many_waiting_are_refused(connection: sqlite3.Connection) -> None:
    bench = Bench(connection, max_pending=3)
    futures = [bench.submit((number, "")) for number in range(3)]
    with pytest.raises(OverloadedError):
        bench.submit((3, ""))
    await asyncio.gather(*futures)
    await bench.submit((3, ""))
    assert len(bench.list_things()) == 4
    await bench.writer.close()


async def test_closing_commits_what_was_accepted_and_takes_no_more(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    gate = threading.Event()
    blocked = asyncio.create_task(bench.writer.call(lambda _: gate.wait(60)))
    await asyncio.sleep(0.01)
    futures = [bench.submit((number, "")) for number in range(500)]
    closing = asyncio.create_task(bench.writer.close())
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailableError):
        bench.submit((1000, ""))
    with pytest.raises(StorageUnavailableError):
        await bench.writer.call(lambda _: None)
    gate.set()
    await closing
    assert await blocked
    assert all(future.done() for future in futures)
    assert len(bench.list_things()) == 500


async def test_who_gives_up_waiting_leaves_the_commit(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    futures = [bench.submit((number, "")) for number in range(3)]
    futures[1].cancel()
    await bench.writer.drain()
    assert len(bench.list_things()) == 3
    assert [future.cancelled() for future in futures] == [False, True, False]
    await bench.writer.close()


async def test_an_answer_that_fails_is_reported_and_stops_no_other(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail(_result: object, _error: BaseException | None) -> None:
        raise ValueError("cannot be folded in")

    bench.writer.submit(Operation([(INSERT, (1, ""))], fail, durable=False))
    await bench.submit((2, ""))
    await bench.writer.close()
    assert [str(context["exception"]) for context in reported] == ["cannot be folded in"]
    assert len(bench.list_things()) == 2


async def test_a_broken_connection_is_told_to_every_waiter(connection: sqlite3.Connection) -> None:
    bench = Bench(connection)
    connection.execute("DROP TABLE things")
    outcomes = await asyncio.gather(*(bench.submit((n, "")) for n in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageUnavailableError] * 3
    assert not connection.in_transaction
    await bench.writer.close()


def test_errors_are_told_in_the_services_own_words() -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert type(to_storage_error(full)) is StorageFullError
    broken = sqlite3.OperationalError("disk I/O error")
    broken.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    told = to_storage_error(broken)
    assert type(told) is StorageUnavailableError
    assert told.__cause__ is broken
    assert "disk I/O" not in str(told)
    for its_own in (UnknownDecisionError("no such decision"), sqlite3.IntegrityError("UNIQUE constraint failed")):
        assert to_storage_error(its_own) is its_own
