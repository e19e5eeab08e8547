"""The write-ahead log forgets what was erased, at once or as soon as its readers let it, and holds up nobody."""

import asyncio
import time
from pathlib import Path

from tests.store.given import Subject, ledger_of, make_embedded

SECRET = "zebra-quilt-9417"


def is_in_wal(state_dir: Path) -> bool:
    return SECRET.encode() in (state_dir / "ledger.db-wal").read_bytes()


async def until_forgotten(state_dir: Path) -> None:
    async with asyncio.timeout(60):
        while is_in_wal(state_dir):  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.02)


async def test_a_reader_keeps_it_and_the_receipt_says_so_until_it_has_finished(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy(SECRET, 0.5)
        with ledger_of(tmp_path) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM rewards").fetchone()
            assert not (await subject.store.erase(SECRET, "tests")).log_emptied
            assert is_in_wal(tmp_path)
            reader.execute("ROLLBACK")
        await until_forgotten(tmp_path)
        await subject.reward_legacy("berta", 0.5)
        assert (await subject.store.erase("berta", "tests")).log_emptied


async def test_nobody_waits_long_while_a_reader_keeps_it(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy(SECRET, 0.5)
        with ledger_of(tmp_path) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM rewards").fetchone()
            erasing = asyncio.create_task(subject.store.erase(SECRET, "tests"))
            longest = 0.0
            while not erasing.done():
                started = time.perf_counter()
                await subject.reward_legacy("berta", 0.5)
                longest = max(longest, time.perf_counter() - started)
            reader.execute("ROLLBACK")
        assert longest < 5, "SQLite's own patience is 30 s"


async def test_what_a_killed_process_left_is_forgotten_at_the_next_start(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy(SECRET, 0.5)
        with ledger_of(tmp_path) as reader:  # the last to close would empty the log
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM rewards").fetchone()
            assert not (await subject.store.erase(SECRET, "tests")).log_emptied
            await subject.store.close()
            assert is_in_wal(tmp_path)
            reader.execute("ROLLBACK")
            await subject.reopen()
            await until_forgotten(tmp_path)
