"""A ledger that was moved answers as the one it was, and goes on as that would have."""

import asyncio
import inspect
import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
import pytest_asyncio

from bandstand.errors import ConfigurationError, IdempotencyMismatchError, StorageUnavailableError
from bandstand.service.shown import SearchQuestion, parse_question
from bandstand.store.event_files.day_reader import DirectoryDays
from bandstand.store.event_files.day_rows import DayReader
from bandstand.store.event_files.form import EventRow
from bandstand.store.event_files.shared_days import open_shared_days
from bandstand.store.logged_events import EventLog, LoggedDecision, LoggedEvent, LoggedReward, LoggedState
from bandstand.store.maintenance import export, rebuild_verify
from bandstand.store.maintenance import move as moving_module
from bandstand.store.maintenance.backup import create_backup
from bandstand.store.maintenance.decision_log import DirectoryEventLog
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.maintenance.report_rows import read_report
from bandstand.store.postgres import moved_rows
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.arrival import describe_target
from bandstand.store.postgres.event_reader import open_shared_log
from bandstand.store.postgres.report_reader import read_report as read_shared_report
from bandstand.store.postgres.shown import search_ledger
from bandstand.store.postgres.store import SharedStore
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.loops import LoopChange
from bandstand.store.tables.shown import search_decisions
from tests.store.checks import Law, check_store
from tests.store.given import CATALOGUE, DAY, NOON, Subject, assert_same, ledger_of, make_embedded
from tests.store.maintenance.moved_history import (
    HOLDOUT,
    USERS,
    History,
    execute,
    flatten_sums,
    go_on,
)
from tests.store.postgres.moving import make_moving, move_directory
from tests.store.postgres.shared import make_shared
from tests.store.test_contract import LAWS

SLOW = pytest.mark.slow
ROOT = Path(__file__).parents[3]
CONTINUED = [law for law in LAWS if "reopen" in inspect.getsource(law)]


def list_events(log: EventLog) -> list[tuple[Any, ...]]:
    """What evaluations read, but for where the features of a reward are."""
    pages = list(log.read_events(page=7))
    assert 0 < sum(map(len, pages)) <= log.count_events()
    return [_to_values(event) for page in pages for event in page]


def list_shared_events(url: str) -> list[tuple[Any, ...]]:
    with open_shared_log(LedgerAddress.parse(url), CATALOGUE) as log:
        return list_events(log)


def list_days(reader: DayReader) -> list[tuple[Any, ...]]:
    """The rows of every day that an export would write; of a baseline, what was learned."""
    first, baselines, found = reader.find_first_day(), reader.read_baselines(), list[EventRow]()
    assert first is not None
    for number in range(12):
        for page in reader.read_day(first + timedelta(days=number), baselines, is_first=not number):
            found += page
    assert reader.read_tombstones()
    return [_to_row(row) for row in found]


def list_shared_days(url: str) -> list[tuple[Any, ...]]:
    """The same of a shared ledger, by a thread without an event loop."""
    with open_shared_days(LedgerAddress.parse(url), CATALOGUE) as reader:
        return list_days(reader)


def _to_row(row: EventRow) -> tuple[Any, ...]:
    if row.kind == "baseline":
        return row.kind, row.uid, row.user, json.loads(row.document or "")["policies"]
    arrays = (None if each is None else list(each) for each in (row.probabilities, row.means))
    picked = None if row.picked is None else {"context": {}} | json.loads(row.picked)
    return *row._replace(probabilities=None, means=None, picked=None), *arrays, picked


def _to_values(event: LoggedEvent) -> tuple[Any, ...]:
    match event:
        case LoggedDecision():
            arrays = event.probabilities.tolist(), event.means.tolist()
            return *event._replace(probabilities=np.zeros(0), means=np.zeros(0))[:7], event.body, event.reward, *arrays
        case LoggedReward():
            return tuple(event[:6])
        case LoggedState():
            policies = event.profile.policies.items()
            return event.seq, event.uid, event.ts, [(key, state.reward_count, state.pulls) for key, state in policies]
    return tuple(event)


@pytest_asyncio.fixture(loop_scope="module")
async def url(database: str) -> str:
    await execute(database, "DROP SCHEMA IF EXISTS bandstand CASCADE")
    return database


@pytest.fixture
def copied(history: History, tmp_path: Path) -> History:
    """The history in a directory of the test's own."""
    return history.copy(tmp_path / "state")


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_all_is_answered_as_before_and_goes_on_as_it_would_have(
    copied: History, url: str, tmp_path: Path
) -> None:
    twin = copied.copy(tmp_path / "twin")
    (copied.directory / "population").mkdir()
    steps: list[str] = []
    result = await move_directory(copied.directory, url, step=steps.append)
    assert result.target == describe_target(url)
    assert result.verified == len(USERS)
    assert [each.split()[0] for each in result.left_behind] == ["past_rewards:", "files"]
    filled = {name for name, rows in result.tables.items() if rows}
    assert set(result.tables) - filled == {"judge_spending", "subjects"}, "the history has some of all"
    assert steps[-2:] == ["mark", "release"]
    wanted = parse_question(SearchQuestion(candidate_id="tip-1"))
    with open_read_only(copied.directory, CATALOGUE) as state:
        log = list_events(DirectoryEventLog(state))
        days = list_days(DirectoryDays(state))
        found = search_decisions(state.connection, wanted, LAST_SEQ, 5, LAST_SEQ)
    assert found.decisions
    assert await search_ledger(LedgerAddress.parse(url), wanted, LAST_SEQ, 5) == found
    assert await asyncio.to_thread(list_shared_events, url) == log
    assert await asyncio.to_thread(list_shared_days, url) == days
    with pytest.raises(StorageUnavailableError):  # which server is asked, the URL says
        await asyncio.to_thread(list_shared_days, f"{url}&target_session_attrs=standby")
    assert {"baseline", "decision", "reward", "revocation", "reset", "state"} <= {kind for kind, *_ in days}
    splits = {"holdout": HOLDOUT}
    report = read_report(copied.directory, CATALOGUE, splits, has_picks=True)
    assert report.gains.days
    assert report.splits.keys() == splits.keys()
    assert await read_shared_report(LedgerAddress.parse(url), CATALOGUE, splits, has_picks=True) == report
    async with copied.serve(url) as subject:
        assert subject.store.secret == copied.secret
        seen = await copied.observe(subject)
        for name, before in copied.seen.items():
            assert seen[name] == before, name
        moved = await go_on(copied, subject)
        with pytest.raises(IdempotencyMismatchError):  # what is left behind of it is its answer
            await subject.reward(copied.decisions[0], 0.5, key=("reward", "early-0"))
    async with twin.serve() as subject:
        stayed = await go_on(twin, subject)
    assert moved["answers"] == stayed["answers"]
    for user_id in USERS:
        mine, other = moved["profiles"][user_id], stayed["profiles"][user_id]
        assert bool(mine.reset_seq) == bool(other.reset_seq)
        mine.reset_seq = other.reset_seq
        for key, held in mine.policies.items():
            assert held.last_updated == pytest.approx(other.policies[key].last_updated)
            held.last_updated = other.policies[key].last_updated
        assert_same(mine, other)
    for name in ("totals", "metrics", "prompts", "enrolled", "shadows"):
        assert flatten_sums(moved[name]) == pytest.approx(flatten_sums(stayed[name]), abs=1e-9), name


@pytest.mark.parametrize(
    "fatal",
    [pytest.param("copy rewards", marks=SLOW), "commit", pytest.param("verify", marks=SLOW), "release"],
)
async def test_one_that_is_killed_is_done_by_the_next(copied: History, url: str, fatal: str) -> None:
    command = [sys.executable, "-m", "tests.store.postgres.moving", "in", str(copied.directory), url, fatal]
    killed = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with ledger_of(copied.directory) as ledger:
        (is_marked,) = ledger.execute("SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'moved')").fetchone()
    assert is_marked == (fatal == "release"), "never do both sides take events"
    if fatal in {"verify", "release"}:
        with pytest.raises(ConfigurationError, match="is being moved"):
            await make_shared(url)(Subject(make_shared(url)).clock).open()
    steps: list[str] = []
    result = await move_directory(copied.directory, url, step=steps.append)
    assert steps == ["release"] if fatal == "release" else result.verified == len(USERS)
    async with copied.serve(url) as subject:
        assert await subject.store.count_users() == len(USERS)
        assert await subject.store.load_policy_totals() == copied.seen["totals"]


async def test_no_service_writes_to_a_directory_that_was_moved(copied: History, url: str) -> None:
    await move_directory(copied.directory, url)
    target = describe_target(url)
    with pytest.raises(ConfigurationError, match="was moved to") as refused:
        await make_embedded(copied.directory)(Subject(make_shared(url)).clock).open()
    assert target in refused.value.detail
    assert "\n" not in refused.value.detail
    with pytest.raises(ConfigurationError, match="was moved to"), open_owned(copied.directory, CATALOGUE):
        pass
    assert rebuild_verify.verify(copied.directory, CATALOGUE).is_sound
    assert create_backup(copied.directory, copied.directory.parent / "backup").users == len(USERS)
    with open_read_only(copied.directory, CATALOGUE) as state:
        assert len(list(export.export(state))) == len(USERS)
    with pytest.raises(ConfigurationError, match="is served from there"):
        await move_directory(copied.directory, url)
    with pytest.raises(ConfigurationError, match=r"was moved to .* before"):
        await move_directory(copied.directory, url.replace("=bandstand", "=another"))


@pytest.mark.parametrize("table", ["meta", "theirs", None])
async def test_a_schema_that_holds_something_is_left_alone(copied: History, url: str, table: str | None) -> None:
    if table is None:
        async with Subject(make_shared(url)) as subject:
            await subject.decide("anna")
    else:
        await execute(url, f"CREATE SCHEMA bandstand; CREATE TABLE bandstand.{table} (a int)")
    before = await count_tables(url)
    with pytest.raises(ConfigurationError, match=f"holds other data .*{table or 'arm_days'}"):
        await move_directory(copied.directory, url)
    assert await count_tables(url) == before > 0
    async with copied.serve() as subject:
        assert await subject.store.load_policy_totals() == copied.seen["totals"], "it is served on"


async def test_what_cannot_be_moved_is_refused_by_name_before_anything_is_written(copied: History, url: str) -> None:
    async with copied.serve() as subject:
        change = LoopChange(name="shop", action="create", before=None, after={}, ts=NOON, client="tests")
        await subject.store.log_loop_change(change)
    with pytest.raises(ConfigurationError, match="shop"):
        await move_directory(copied.directory, url)
    scope = json.dumps({"loop": "default", "action": "change", "before": None, "after": {"scope": "loop"}})
    changes = {
        f"UPDATE marks SET document = '{scope}' WHERE kind = 'loop'": "scope",  # noqa: S608 (a constant)
        "DELETE FROM marks WHERE kind = 'loop'; UPDATE generations SET model = 'm' || char(0)": "generations",
    }
    for changed, named in changes.items():
        with ledger_of(copied.directory) as ledger:
            ledger.executescript(changed)
        with pytest.raises(ConfigurationError, match=named):
            await move_directory(copied.directory, url)
    assert await count_tables(url) == 0


async def test_sides_that_differ_are_not_served(copied: History, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = moved_rows.iter_rows

    def change(connection: Any, table: str, columns: Any, places: Any) -> Any:
        names, found = rows(connection, table, columns, places)
        if table == "rewards":
            place = names.index("value")
            found = ((*row[:place], row[place] + 1e-6, *row[place + 1 :]) for row in found)
        return names, found

    monkeypatch.setattr(moving_module, "iter_rows", change)
    with pytest.raises(StorageUnavailableError, match="is not the same"):
        await move_directory(copied.directory, url)
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="is being moved"):
        await make_shared(url)(Subject(make_shared(url)).clock).open()
    async with copied.serve() as subject:
        assert await subject.store.load_policy_totals() == copied.seen["totals"]
    assert (await move_directory(copied.directory, url)).verified == len(USERS)


async def test_retention_goes_on_where_it_was(copied: History, url: str) -> None:
    await move_directory(copied.directory, url)
    async with copied.serve(url) as subject:
        before = {user_id: (await subject.store.load_profile(user_id)).copy() for user_id in USERS}
        store = subject.store
        assert isinstance(store, SharedStore)
        subject.clock.now = NOON + 95 * DAY
        await store.upkeep.try_to_lead()
        await store.upkeep.apply_retention()
        await subject.reopen()
        for user_id, profile in before.items():
            assert_same(profile, await subject.store.load_profile(user_id))
        assert await subject.store.find_receipt(copied.decisions[0].decision_id) is None


async def test_the_target_is_told_without_its_secrets() -> None:
    told = describe_target(
        "postgresql://someone:s3cret@a,b:5433/db?password=t0p&schema=mine&sslmode=require&host=/run/pg"
    )
    assert told == "postgresql://a,b:5433/db?host=/run/pg&schema=mine"


@pytest.mark.slow
@pytest.mark.parametrize("law", CONTINUED, ids=lambda law: law.__name__)
async def test_every_law_that_outlives_a_restart_outlives_a_move(law: Law, url: str, tmp_path: Path) -> None:
    await check_store(make_moving(tmp_path / "state", url), law)


async def count_tables(url: str) -> int:
    """How many tables the schema has."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn)
    try:
        return int(await session.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'bandstand'"))
    finally:
        await session.close()
