"""Deletions in small transactions: each leaves off early, and together they delete what one would have."""

import sqlite3
from collections.abc import Iterator

import pytest

from bandstand.store.sqlite.sweep import Sweep, Sweeper

EVEN = Sweep(
    "SELECT id, id % 2 = 0 FROM things WHERE owner = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4",
    {"tags": "DELETE FROM tags WHERE thing = ?", "things": "DELETE FROM things WHERE id = ?"},
)
ALL = Sweep(
    "SELECT id, 1 FROM others WHERE owner = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4",
    {"others": "DELETE FROM others WHERE id = ?"},
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for table in ("things", "others"):
        connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, owner INTEGER)")
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(n, n % 3) for n in range(300)])  # noqa: S608 (constants)
    connection.execute("CREATE TABLE tags (thing INTEGER)")
    connection.executemany("INSERT INTO tags VALUES (?)", [(n // 2,) for n in range(600)])
    yield connection
    connection.close()


def list_ids(connection: sqlite3.Connection, table: str) -> list[int]:
    return [key for (key,) in connection.execute(f"SELECT id FROM {table} ORDER BY id")]  # noqa: S608 (constants)


def test_a_sweep_takes_what_goes_of_one_owner_up_to_a_key(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bandstand.store.sqlite.sweep._BUDGET_S", 0.0)
    sweeper = Sweeper([EVEN, ALL], owner=1, until=200)
    rounds = 1
    while not sweeper.run(connection):
        rounds += 1
    assert rounds > 10, "each is short"
    gone = [n for n in range(201) if n % 3 == 1]
    even = [n for n in gone if n % 2 == 0]
    assert list_ids(connection, "others") == sorted(set(range(300)) - set(gone))
    assert list_ids(connection, "things") == sorted(set(range(300)) - set(even))
    assert sweeper.counts == {"tags": 2 * len(even), "things": len(even), "others": len(gone)}
    assert connection.execute("SELECT count(*) FROM tags").fetchone() == (600 - 2 * len(even),)
    assert sweeper.run(connection), "and nothing more happens"


def test_a_round_that_is_refused_is_done_again(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.store.sqlite.sweep._BUDGET_S", 0.0)
    sweeper = Sweeper([EVEN, ALL], owner=1)
    sweeper.run(connection)
    counts = dict(sweeper.counts)
    connection.execute("CREATE TRIGGER full AFTER DELETE ON things BEGIN SELECT raise(ABORT, 'no room'); END")
    with pytest.raises(sqlite3.IntegrityError, match="no room"):
        sweeper.run(connection)
    assert not connection.in_transaction
    assert sweeper.counts == counts
    connection.execute("DROP TRIGGER full")
    assert sweeper.run_all(connection)["others"] == 100
    assert [n for n in list_ids(connection, "things") if n % 3 == 1 and n % 2 == 0] == []
