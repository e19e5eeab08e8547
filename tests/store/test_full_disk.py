"""A full disk: new events are refused, nothing acknowledged is lost, and it passes when there is room again."""

import asyncio
import errno
import math
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import BandstandError, ConfigurationError, StorageFullError
from bandstand.store.embedded import state_directory
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.sqlite.schema import connect
from tests.store.given import DAY, QUICK, Subject, assert_same, ledger_of, make_embedded


class Connection:
    """A connection that answers a write as SQLite does on a full disk, once there is no ``room`` for it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.room = math.inf
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement.lstrip().startswith(("INSERT", "DELETE")):
            self.room -= 1
            if self.room < 0:
                raise self._no_room()
        return self._connection.execute(statement, *values)

    def executemany(self, statement: str, values: Any) -> sqlite3.Cursor:
        self.room -= 1
        if self.room < 0:
            raise self._no_room()
        return self._connection.executemany(statement, values)

    def _no_room(self) -> sqlite3.Error:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")  # as SQLite may have done by itself
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        return error


class Disk:
    """What the store writes to; it is full when a test says so."""

    def __init__(self) -> None:
        self.writers: list[Connection] = []

    def connect(self, path: Path) -> Connection:
        self.writers.append(Connection(connect(path)))
        return self.writers[-1]

    def fill(self, *, room: float = 0) -> None:
        """Let there be room for so many more statements that write."""
        self.writers[-1].room = room


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(state_directory, "connect", disk.connect)
    return disk


async def until_full(event: Callable[[], Awaitable[object]]) -> int:
    """Repeat an event until the disk is full; how often it was acknowledged."""
    for count in range(10_000):
        try:
            await event()
        except StorageFullError:
            return count
    raise AssertionError("it never became full")


async def test_new_events_are_refused_and_old_ones_stay(tmp_path: Path, disk: Disk) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        await subject.reward_legacy("anna", 0.5)
        disk.fill()
        for event in (
            lambda: subject.reward(decision),
            lambda: subject.reward_legacy("anna"),
            lambda: subject.decide("anna"),
            lambda: subject.decide("stranger"),
        ):
            assert await until_full(event) == 0
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (1, 1)
        assert (await subject.store.load_profile("stranger")).policies == {}
        assert await subject.store.count_users() == 1
        assert len(await subject.store.list_history("anna", 100)) == 1
        totals = (await subject.store.load_policy_totals())["linucb-v2"]
        assert (totals.decisions, totals.rewards) == (1, 1)
        assert "full" in str(subject.store.status().last_error)


async def test_it_recovers_by_itself_and_the_refused_left_no_trace(tmp_path: Path, disk: Disk) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        disk.fill()
        assert await until_full(lambda: subject.decide("berta", own_id="hers")) == 0
        assert await until_full(lambda: subject.reward(decision, 0.5, key=("route", "key"))) == 0
        disk.fill(room=math.inf)
        assert (await subject.decide("berta", own_id="hers")).user_id == "berta"
        assert (await subject.reward(decision, 0.25, key=("route", "key"))).match == "new"
        live = await subject.store.load_profile("anna")
        await subject.reopen()
        assert_same(live, await subject.store.load_profile("anna"))
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count, state.cumulative_reward) == (1, 1, 0.25)
        assert (await subject.state("berta")).pulls == 1


async def test_all_who_wait_for_a_refused_event_hear_of_it(tmp_path: Path, disk: Disk) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        disk.fill()
        attempts: list[Awaitable[object]] = [subject.reward(decision, 0.5) for _ in range(5)]
        attempts += [subject.reward_legacy("anna", key=("route", "key")) for _ in range(5)]
        attempts += [subject.decide("anna", own_id="mine") for _ in range(5)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StorageFullError}
        disk.fill(room=math.inf)
        assert (await subject.reward(decision, -0.5)).match == "new"


async def test_a_refused_reset_forgets_nothing_and_holds_back_no_reward(tmp_path: Path, disk: Disk) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        await subject.reward_legacy("anna", 0.5)
        disk.fill()
        resets = [subject.store.reset("anna", "tests") for _ in range(3)]
        outcomes = await asyncio.gather(*resets, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StorageFullError}
        disk.fill(room=math.inf)
        assert (await subject.reward(decision, 0.5)).reward.applied
        assert (await subject.state("anna")).reward_count == 2
        await subject.store.reset("anna", "tests")
        assert (await subject.store.load_profile("anna")).policies == {}


@pytest.mark.parametrize("room", range(16))
async def test_a_refused_erasure_takes_nothing_or_is_finished_later(tmp_path: Path, disk: Disk, room: int) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna", own_id="mine")
        await subject.reward(decision, 0.5, key=("route", "key"))
        live = (await subject.store.load_profile("anna")).copy()
        disk.fill(room=room)
        try:
            erasure = await subject.store.erase("anna", "tests")
        except StorageFullError:
            has_begun = await subject.store.count_users() == 0
            if has_begun:
                with pytest.raises(StorageFullError):
                    await subject.store.load_profile("anna")
            else:
                assert_same(live, await subject.store.load_profile("anna"))
                assert (await subject.reward(decision, 0.5, key=("route", "key"))).match == "key"
            disk.fill(room=math.inf)
            erasure = await subject.store.erase("anna", "tests")
            assert erasure.decisions == (not has_begun)
        else:
            assert (erasure.decisions, erasure.rewards) == (1, 1)
        assert (await subject.store.load_profile("anna")).policies == {}
    with ledger_of(tmp_path) as ledger:
        for table in ("decisions", "rewards", "decision_ids", "idempotency", "erasures"):
            assert ledger.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 (constants)


@pytest.mark.parametrize("room", range(10))
async def test_a_refused_trim_takes_nothing_and_is_done_later(tmp_path: Path, disk: Disk, room: int) -> None:
    async with Subject(make_embedded(tmp_path, StoreOptions(sync=False, retention_days=5))) as subject:
        for _ in range(5):
            await subject.reward(await subject.decide("anna"), 0.5)
        live = (await subject.store.load_profile("anna")).copy()
        subject.clock.now += 10 * DAY
        store = subject.store
        assert isinstance(store, EmbeddedStore)
        disk.fill(room=room)
        try:
            await store.apply_retention()
        except StorageFullError:
            assert len(await store.list_history("anna", 100)) == 5
            disk.fill(room=math.inf)
            assert await store.apply_retention() == 1
        assert await store.list_history("anna", 100) == []
        await subject.reopen()
        assert_same(live, await subject.store.load_profile("anna"))


# ── real ones ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sqlite_itself_runs_out_of_pages_and_recovers(tmp_path: Path, disk: Disk) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy("anna", 0.5)
        writer = disk.writers[-1]
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages}")
        decided = await until_full(lambda: subject.decide("anna"))
        taught = 1 + await until_full(lambda: subject.reward_legacy("anna", 0.5))
        decided += await until_full(lambda: subject.decide("anna"))
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (decided, taught)
        writer.execute(f"PRAGMA max_page_count = {pages + 1000}")
        await subject.reward(await subject.decide("anna"), 0.5)
        await subject.reopen()
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (decided + 1, taught + 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607 (the same)


def fill_disk(ballast: Path) -> None:
    """Take all the room there is."""
    with ballast.open("wb", buffering=0) as file:
        written = True
        while written:
            try:
                written = file.write(bytes(4096)) > 0
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 (it is the only way out of the loop)
                written = False


async def test_a_small_disk_runs_full_and_recovers(small_disk: Path) -> None:
    reserve = small_disk / "reserve"
    reserve.write_bytes(bytes(1_000_000))
    async with Subject(make_embedded(small_disk / "state", QUICK)) as subject:
        acknowledged = 0
        refusals: set[type[BandstandError]] = set()
        while not refusals:
            events = [subject.reward_legacy("anna", 0.5) for _ in range(20)]
            for outcome in await asyncio.gather(*events, return_exceptions=True):
                if isinstance(outcome, BandstandError):
                    refusals.add(type(outcome))
                else:
                    acknowledged += 1
        assert refusals == {StorageFullError}
        assert (await subject.state("anna")).reward_count == acknowledged > 100

        fill_disk(small_disk / "ballast")
        await subject.reopen()
        acknowledged += await until_full(lambda: subject.reward_legacy("anna", 0.5))
        assert (await subject.state("anna")).reward_count == acknowledged, "it starts on a full disk and reads on"

        reserve.unlink()
        await subject.reward_legacy("anna", 0.5)
        await subject.store.close()
        with ledger_of(small_disk / "state") as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert ledger.execute("SELECT count(*) FROM rewards").fetchone() == (acknowledged + 1,)
        await subject.reopen()
        assert (await subject.state("anna")).reward_count == acknowledged + 1


async def test_a_new_directory_on_a_full_disk_is_refused_in_words(small_disk: Path) -> None:
    (small_disk / "state").mkdir()
    fill_disk(small_disk / "ballast")
    with pytest.raises(ConfigurationError, match=r"make room|No space left"):
        await Subject(make_embedded(small_disk / "state")).store.open()
