"""What lies on the ledger's pages outside of what is in use is zeros, and what is in use is left alone."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from bandstand.store.sqlite.schema import connect, create_tables
from bandstand.store.sqlite.scrub import LedgerFile, find_unused
from bandstand.store.sqlite.wal import truncate_log
from tests.store.given import Subject, ledger_of, make_embedded

PAGE = 8192


def find_leftovers(path: Path) -> int:
    """How many bytes lie on a file's b-tree pages that are in no use and not zero."""
    content = path.read_bytes()
    found = 0
    for start in range(0, len(content), PAGE):
        page = content[start : start + PAGE]
        found += sum(end - begin - page.count(0, begin, end) for begin, end in find_unused(page, 100 * (not start)))
    return found


def fill(connection: sqlite3.Connection, random: Random, rounds: int = 4) -> None:
    """Let pages be shared out, emptied and merged: rows of all sizes come and go in the middle of others."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # as a service has it
    connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB)")
    for _ in range(rounds):
        for _ in range(500):
            name = f"{random.getrandbits(64):016x}-{'n' * random.choice([0, 9, 200])}"
            row = (random.randrange(1 << 40), name, random.randbytes(random.choice([20, 300, 3000, 30_000])))
            connection.execute("INSERT OR IGNORE INTO things (id, name, body) VALUES (?, ?, ?)", row)
        connection.execute("DELETE FROM things WHERE id % 3 <> 0")


def list_things(connection: sqlite3.Connection) -> list[object]:
    return connection.execute("SELECT id, name, body FROM things ORDER BY id").fetchall()


@pytest.mark.parametrize("secure_delete", [True, False])
def test_a_scrubbed_file_holds_nothing_else_and_all_it_held(tmp_path: Path, *, secure_delete: bool) -> None:
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as connection:
        create_tables(connection)
        connection.execute(f"PRAGMA secure_delete = {secure_delete:d}")
        fill(connection, Random(1))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert find_leftovers(path) > 0, "SQLite leaves something, or this tests nothing"
        file = LedgerFile(path)
        file.scrub_all()
        before = list_things(connection)
    file.close()
    assert find_leftovers(path) == 0
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert list_things(connection) == before


def test_what_the_log_moves_is_scrubbed_before_the_log_goes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as connection:
        create_tables(connection)
        file = LedgerFile(path)
        fill(connection, Random(2))
        assert truncate_log(connection, file)
        assert find_leftovers(path) == 0
        connection.execute("DELETE FROM things WHERE id % 5 = 0")  # on pages that its cache had as they were before
        fill_again = list_things(connection)
        assert truncate_log(connection, file)
        assert find_leftovers(path) == 0
        assert list_things(connection) == fill_again
    file.close()


def test_pages_that_a_killed_process_moved_are_scrubbed_by_the_log_it_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as connection:
        create_tables(connection)
        fill(connection, Random(3))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        assert find_leftovers(path) > 0
        file = LedgerFile(path)
        file.scrub_log()
        assert find_leftovers(path) == 0
    file.close()


def test_what_is_left_of_a_longer_log_is_no_part_of_the_one_that_began_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(connect(path)) as connection:
        file = LedgerFile(path)
        assert file.measure_log() == 0
        create_tables(connection)
        fill(connection, Random(4), rounds=1)
        log = path.with_name("ledger.db-wal")
        assert file.measure_log() == log.stat().st_size - 32, "its header is no frame"
        _, frames, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        assert file.count_frames() == frames == moved
        file.scrub_log(moved)
        assert file.count_frames() == 0
        connection.execute("INSERT INTO things (id) VALUES (1)")
        _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        assert file.count_frames() == frames < moved
        assert file.measure_log() == frames * (24 + PAGE) < log.stat().st_size
    file.close()


@pytest.mark.parametrize("seed", range(5))
def test_no_page_is_too_odd_to_be_looked_at(seed: int) -> None:
    random = Random(seed)
    for _ in range(2000):
        page = bytearray(random.randbytes(512))
        page[0] = random.choice([2, 5, 10, 13, random.randrange(256)])
        if random.random() < 0.5:
            page[1:7] = b"".join(random.randrange(512).to_bytes(2, "big") for _ in range(3))
        for begin, end in find_unused(bytes(page)):
            assert 8 <= begin <= end <= len(page)


def test_a_page_of_another_kind_is_left_alone() -> None:
    for kind in set(range(256)) - {2, 5, 10, 13}:
        assert find_unused(bytes([kind]) + bytes(range(256)) * 2) == []


async def test_a_ledger_that_was_not_kept_scrubbed_is_scrubbed_before_a_receipt_says_so(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide("anna")
    with ledger_of(tmp_path) as ledger:
        fill(ledger, Random(4))
        ledger.execute("DELETE FROM meta WHERE key = 'scrubbed'")
    assert find_leftovers(tmp_path / "ledger.db") > 0
    async with Subject(make_embedded(tmp_path)) as subject:
        assert (await subject.store.erase("anna", "tests")).log_emptied
        assert find_leftovers(tmp_path / "ledger.db") == 0
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("SELECT count(*) FROM meta WHERE key = 'scrubbed'").fetchone() == (1,)
