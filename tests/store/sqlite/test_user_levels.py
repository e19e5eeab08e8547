"""The index by user: what is read through it is what a scan of the tables finds, wherever its rows are just then."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from random import Random

import pytest

from bandstand.store.maintenance.offline import open_read_only
from bandstand.store.sqlite import schema, user_levels
from bandstand.store.sqlite.operations import Operation, make_done_callback
from bandstand.store.sqlite.schema import connect, create_tables
from bandstand.store.sqlite.user_levels import (
    NEW_LEVELS,
    RECENT_LEVELS,
    START,
    Place,
    UserLevels,
    count_unfound,
    move_rows,
)
from bandstand.store.sqlite.writer import Writer
from tests.store.given import CATALOGUE, Subject, copy_as_killed, ledger_of, make_embedded

_LEVELS = (*NEW_LEVELS, *RECENT_LEVELS)
_TABLES = sorted({name for level in _LEVELS for name in level})
_INSERTS = {
    "decisions": """INSERT INTO decisions (seq, uid, policy, client, ts, tip_id, pick, exploring, seed, score,
        propensity, floor, body, numbers) VALUES (?, ?, 1, '', 0, '', 0, 0, 0, 0, 1, 0, '', '')""",
    "rewards": """INSERT INTO rewards (seq, uid, policy, tip_id, value, weight, applied, source, body_hash, client, ts)
        VALUES (?, ?, 1, '', 1, 1, 1, 'client', '', '', 0)""",
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "ledger.db")) as connection:
        create_tables(connection)
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """Rows of each level."""
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES]  # noqa: S608 (constants)
    return dict(zip(_TABLES, counts, strict=True))


def assert_found(connection: sqlite3.Connection) -> None:
    """Every row is found by its user, in order, and once; nothing else is."""
    for table in ("decisions", "rewards"):
        rows = connection.execute(f"SELECT uid, seq FROM {table} ORDER BY uid, seq").fetchall()  # noqa: S608 (constants)
        found = connection.execute(f"SELECT uid, seq FROM user_{table} ORDER BY uid, seq").fetchall()  # noqa: S608 (constants)
        assert found == rows
    assert count_unfound(connection) == 0


@pytest.mark.parametrize("seed", range(2))
def test_rows_are_found_by_user_at_any_moment(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """They come, go and move in any order; moves of a few rows at a time are taken up where the last one stopped."""
    monkeypatch.setattr(user_levels, "_BATCH", 3)
    monkeypatch.setattr(user_levels, "_BUDGET_S", -1.0)
    random = Random(seed)
    places: dict[str, Place] = {}
    met: set[str] = set()
    for seq in range(1, 300):
        table = random.choice(list(_INSERTS))
        level = random.choice(_LEVELS)
        match random.randrange(8):
            case 0:
                connection.execute(f"DELETE FROM {table} WHERE seq = ?", (random.randrange(seq),))  # noqa: S608 (constants)
            case 1:
                connection.execute(f"DELETE FROM {table} WHERE uid = ?", (random.randrange(30),))  # noqa: S608 (constants)
            case 2 | 3 | 4:
                _, left = move_rows(connection, level, places.get(level.source, START))
                places[level.source] = left or START
            case _:
                connection.execute(_INSERTS[table], (seq, random.randrange(10)))
        assert_found(connection)
        met |= {name for name, rows in count_rows(connection).items() if rows > 2}
    assert met == set(_TABLES)
    for table in _INSERTS:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 (constants)
    assert not any(count_rows(connection).values())


def test_a_move_that_fails_leaves_every_row_where_it_was(connection: sqlite3.Connection) -> None:
    for seq in (1, 2):
        connection.execute(_INSERTS["rewards"], (seq, seq))
    connection.execute(
        "INSERT INTO user_rewards_recent VALUES (2, 2)"
    )  # as no ledger has it: the second one is refused
    before = count_rows(connection)
    with pytest.raises(sqlite3.IntegrityError):
        move_rows(connection, NEW_LEVELS[1], START)
    assert count_rows(connection) == before
    assert count_unfound(connection) == 0


async def test_rows_are_moved_on_when_enough_have_come(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_NEW_ROWS": 10, "_RECENT_ROWS": 30, "_BATCH": 4, "_PAUSE_S": 0.0}.items():
        monkeypatch.setattr(user_levels, name, value)
    writer = Writer(connection, log_sync=None, max_pending=100)
    levels = UserLevels(writer)

    async def write(first: int, count: int) -> None:
        written = asyncio.get_running_loop().create_future()
        for seq in range(first, first + count):
            row = (_INSERTS["decisions"], (seq, seq % 7))
            writer.submit(
                Operation([row], make_done_callback(written) if seq == first else lambda *_: None, durable=False)
            )
        await written
        await writer.drain()
        await levels.move_on()
        assert_found(connection)

    seen = []
    for first in range(1, 100, 8):
        await write(first, 8)
        seen.append([count_rows(connection)[f"user_decisions_{level}"] for level in ("new", "recent", "settled")])
    await writer.close()
    assert [8, 0, 0] in seen
    assert [0, 16, 0] in seen
    assert [0, 0, 32] in seen
    assert all(new < 20 and recent < 40 for new, recent, _ in seen)


async def test_a_user_is_read_and_erased_wherever_their_rows_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same over the store that serves, and after a kill at each step."""
    for name, value in {"_NEW_ROWS": 6, "_RECENT_ROWS": 24, "_BATCH": 2, "_INTERVAL_S": 0.001, "_PAUSE_S": 0.0}.items():
        monkeypatch.setattr(user_levels, name, value)
    users = [f"user-{number}" for number in range(5)]
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        made = dict.fromkeys(users, 0)
        for number in range(40):
            user_id = users[number % 5]
            await subject.reward(await subject.decide(user_id), number / 40)
            made[user_id] += 1
            if number % 20 == 0:
                killed = copy_as_killed(tmp_path / "state", tmp_path / f"killed-{number}")
                with ledger_of(killed) as ledger:
                    assert_found(ledger)
        with ledger_of(tmp_path / "state") as ledger:
            async with asyncio.timeout(60):
                while not count_rows(ledger)["user_decisions_settled"]:
                    await subject.store.find_receipt("nobody's")  # and so long to whoever moves them
        for user_id in users:
            assert len(await subject.store.list_history(user_id, 100)) == made[user_id]
        receipt = await subject.store.erase(users[0], "tests")
        assert (receipt.decisions, receipt.rewards) == (made[users[0]],) * 2
        await subject.reopen()
        assert (await subject.state(users[1])).pulls == made[users[1]]
        assert (await subject.state(users[0])).pulls == 0
    with ledger_of(tmp_path / "state") as ledger:
        assert_found(ledger)
        assert sum(count_rows(ledger).values()) == 2 * sum(made[user_id] for user_id in users[1:])


async def test_a_ledger_from_before_is_read_as_it_is_and_taken_over(tmp_path: Path) -> None:
    with ledger_of(tmp_path) as ledger:
        ledger.execute("PRAGMA synchronous = OFF")
        before = schema._SCRIPTS.index("user_levels.sql")  # noqa: SLF001 (which format that was)
        for script in schema._SCRIPTS[:before]:  # noqa: SLF001 (as above)
            ledger.executescript(files("bandstand.store.sqlite").joinpath("scripts", script).read_text("utf-8"))
        ledger.execute("INSERT INTO meta (key, value) VALUES ('secret', ?)", (b"s" * 32,))
        ledger.execute(f"PRAGMA user_version = {before}")
        for seq in range(1, 60):
            ledger.execute(_INSERTS["decisions"], (seq, seq % 7))
            ledger.execute(_INSERTS["rewards"], (100 + seq, seq % 5))
    with open_read_only(tmp_path, CATALOGUE) as state:
        assert_found(state.connection)
    with closing(connect(tmp_path / "ledger.db")) as connection:
        create_tables(connection)
        assert_found(connection)
        assert count_rows(connection)["user_decisions_settled"] == 59
        indexes = "SELECT count(*) FROM sqlite_schema WHERE name IN ('decisions_by_user', 'rewards_by_user')"
        assert connection.execute(indexes).fetchone() == (0,)
