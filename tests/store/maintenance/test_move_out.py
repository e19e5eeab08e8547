"""A shared ledger that is moved into a directory answers as the one it was, and goes on as that would have."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.maintenance import rebuild_verify
from bandstand.store.maintenance.move import MoveResult
from bandstand.store.maintenance.move_out import move_out
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.evaluation_runs import SharedEvaluationRuns
from bandstand.store.postgres.returned_rows import NumberedEvent, RowConverter, order_events
from bandstand.store.postgres.store import SharedStore
from bandstand.store.tables.loops import LoopChange
from tests.store.given import CATALOGUE, DAY, NOON, Subject, assert_same, ledger_of, make_embedded
from tests.store.maintenance.moved_history import USERS, History, execute, flatten_sums, go_on
from tests.store.postgres.moving import move_directory
from tests.store.postgres.shared import make_shared

SLOW = pytest.mark.slow
ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def moved(history: History, database: str, tmp_path: Path) -> History:
    """The history in a shared ledger; its ``directory`` is the one that is to come."""
    await execute(database, "DROP SCHEMA IF EXISTS bandstand CASCADE")
    there = history.copy(tmp_path / "there")
    await move_directory(there.directory, database, everybody=False)
    back = History(tmp_path / "back")
    vars(back).update(vars(history) | {"directory": tmp_path / "back"})
    return back


async def return_ledger(url: str, directory: Path, *, steps: list[str] | None = None) -> MoveResult:
    """Move a shared ledger into a directory; all users are compared."""
    tell = (lambda _: None) if steps is None else steps.append
    return await move_out(url, directory, CATALOGUE, everybody=True, step=tell)


async def test_there_and_back_again_is_equal(moved: History, history: History, database: str, tmp_path: Path) -> None:
    runs = SharedEvaluationRuns(LedgerAddress.parse(database), "tests")
    await asyncio.to_thread(runs.create, "{}", 0, origin="service", client="tests", now=0.0)
    result = await return_ledger(database, moved.directory)
    assert result.verified == len(USERS)
    assert result.left_behind == ("evaluation_runs: 1 evaluations, which are in no ledger",)
    assert rebuild_verify.verify(moved.directory, CATALOGUE).is_sound
    with ledger_of(moved.directory) as there, ledger_of(history.directory) as here:
        query = "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2"
        assert there.execute(query).fetchall() == here.execute(query).fetchall()
        for table in ("users", "decisions", "rewards", "revocations", "reward_parts", "reactions", "judgements"):
            rows = f"SELECT * FROM {table} ORDER BY 1"  # noqa: S608 (constants)
            assert there.execute(rows).fetchall() == here.execute(rows).fetchall(), table
    async with moved.serve() as subject:
        assert subject.store.secret == moved.secret
        seen = await moved.observe(subject)
        for name, before in moved.seen.items():
            if name in {"out of reach", "gains"}:  # but for numbers of events: the new baselines are the newest
                assert seen[name][0] == before[0]
            else:
                assert seen[name] == before, name
        returned = await go_on(moved, subject)
    twin = history.copy(tmp_path / "twin")
    async with twin.serve() as subject:
        stayed = await go_on(twin, subject)
    assert returned["answers"] == stayed["answers"]
    for user_id in USERS:
        assert_same(returned["profiles"][user_id], stayed["profiles"][user_id])
    for name in ("totals", "metrics", "prompts", "enrolled", "shadows"):
        assert flatten_sums(returned[name]) == pytest.approx(flatten_sums(stayed[name]), abs=1e-9), name


async def test_what_was_done_in_the_shared_ledger_comes_along(moved: History, database: str) -> None:
    async with moved.serve(database) as subject:
        await go_on(moved, subject)
        store = subject.store
        assert isinstance(store, SharedStore)
        subject.clock.now = NOON + 95 * DAY  # after this, all of the decisions from before are gone
        await store.upkeep.try_to_lead()
        await store.upkeep.apply_retention()
        late = await subject.decide("anna")
        await subject.reward(late, 0.5, key=("reward", "late"))
        profiles = {user_id: (await store.load_profile(user_id)).copy() for user_id in USERS}
        totals = await store.load_policy_totals()
    result = await return_ledger(database, moved.directory)
    assert result.verified == len(USERS)
    async with Subject(make_embedded(moved.directory)) as subject:
        subject.clock.now = NOON + 96 * DAY
        for user_id, before in profiles.items():
            after = await subject.store.load_profile(user_id)
            assert bool(after.reset_seq) == bool(before.reset_seq)
            before.reset_seq = after.reset_seq
            for key, held in after.policies.items():
                held.last_updated = before.policies[key].last_updated
            assert_same(after, before)
        assert await subject.store.load_policy_totals() == totals
        assert (await subject.reward(late, 0.5, key=("reward", "late"))).match == "key"


@pytest.mark.parametrize("fatal", [pytest.param("verify", marks=SLOW), pytest.param("mark", marks=SLOW), "release"])
async def test_one_that_is_killed_is_done_by_the_next(moved: History, database: str, fatal: str) -> None:
    command = [sys.executable, "-m", "tests.store.postgres.moving", "out", str(moved.directory), database, fatal]
    killed = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(ConfigurationError, match="moved into"):
        await make_shared(database)(Subject(make_shared(database)).clock).open()
    assert not (moved.directory / "ledger.db").exists()
    steps: list[str] = []
    result = await return_ledger(database, moved.directory, steps=steps)
    assert steps == ["release"] if fatal == "release" else result.verified == len(USERS)
    async with moved.serve() as subject:
        assert await subject.store.load_policy_totals() == moved.seen["totals"]
    with pytest.raises(ConfigurationError, match=r"was moved to the directory .* before"):
        await return_ledger(database, moved.directory)


async def test_nobody_serves_meanwhile_and_what_is_refused_serves_on(
    moved: History, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with moved.serve(database) as subject:
        with pytest.raises(ConfigurationError, match="1 processes serve this ledger"):
            await return_ledger(database, moved.directory)
        assert await subject.store.load_policy_totals() == moved.seen["totals"]
        change = LoopChange(name="shop", action="create", before=None, after={}, ts=NOON, client="tests")
        await subject.store.log_loop_change(change)
    with pytest.raises(ConfigurationError, match="have changed: shop"):
        await return_ledger(database, moved.directory)
    await execute(
        database, "DELETE FROM bandstand.marks WHERE kind = 'loop'; CREATE TABLE bandstand.theirs AS SELECT 1"
    )
    with pytest.raises(ConfigurationError, match="'theirs' has rows"):
        await return_ledger(database, moved.directory)
    await execute(database, "DROP TABLE bandstand.theirs")
    with pytest.raises(ConfigurationError, match="holds a ledger: name a new directory"):
        await return_ledger(database, tmp_path / "there")
    convert = RowConverter.convert

    def bend(converter: RowConverter, row: Any) -> tuple[Any, ...]:
        return tuple(value + 1e-6 if value == 0.5 else value for value in convert(converter, row))

    monkeypatch.setattr(RowConverter, "convert", bend)
    with pytest.raises(StorageUnavailableError, match="is not the same"):
        await return_ledger(database, moved.directory)
    monkeypatch.undo()
    assert not list(moved.directory.glob("*ledger*"))
    async with moved.serve(database) as subject:
        assert await subject.store.load_policy_totals() == moved.seen["totals"], "it is served on"
    await return_ledger(database, moved.directory)
    with pytest.raises(ConfigurationError, match=f"moved into the directory '{moved.directory}'"):
        await make_shared(database)(Subject(make_shared(database)).clock).open()


async def test_events_whose_numbers_are_not_in_order_come_in_the_order_of_the_lock(
    moved: History, database: str
) -> None:
    async with moved.serve(database) as subject:
        for value in (0.5, -0.5, 0.25):
            await subject.reward(await subject.decide("anna"), value)
        await subject.store.reset("berta", "tests")
        late = await subject.decide("berta")
        await subject.reward(late, 1.0)
        profiles = {user_id: (await subject.store.load_profile(user_id)).copy() for user_id in ("anna", "berta")}
    await execute(  # as another process would number them, whose clock is behind
        database,
        f"""SET search_path TO bandstand;
        UPDATE rewards SET seq = seq - (60000::bigint << 20) WHERE uid = (SELECT uid FROM users WHERE user_id = 'anna')
            AND n = (SELECT version FROM users WHERE user_id = 'anna');
        UPDATE marks SET seq = {late.seq} + 4096 WHERE kind = 'reset' AND n = (
            SELECT reset_version FROM users WHERE user_id = 'berta')
            AND uid = (SELECT uid FROM users WHERE user_id = 'berta')""",  # noqa: S608 (a number)
    )
    result = await return_ledger(database, moved.directory)
    assert result.verified == len(USERS)
    assert [each.split()[1] for each in result.left_behind] == ["events"]
    async with moved.serve() as subject:
        for user_id, before in profiles.items():
            after = await subject.store.load_profile(user_id)
            before.reset_seq = after.reset_seq
            assert_same(after, before)


async def test_numbers_are_moved_no_further_than_they_have_to_be() -> None:
    def order(*events: tuple[int, int, bool], decisions: Any = (), taken: Any = ()) -> Any:
        return order_events([NumberedEvent(*each) for each in events], decisions, taken)

    assert order((1, 10, False), (2, 20, True), decisions=[(15, 0), (25, 2)]) == ({}, 0)
    assert order((1, 20, False), (2, 10, False), (4, 30, False)) == ({10: 21}, 0)
    assert order((1, 20, False), (2, 10, False), (4, 21, False), taken={10, 20, 21}) == ({10: 22, 21: 23}, 0)
    assert order((1, 10, True), decisions=[(12, 0), (15, 1)]) == ({10: 13}, 0)
    assert order((1, 30, True), decisions=[(12, 0), (15, 1)]) == ({30: 13}, 0)
    assert order((1, 10, True), decisions=[(12, 1), (15, 0)]) == ({10: 16}, 1)
