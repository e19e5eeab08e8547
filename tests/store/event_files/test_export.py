"""The log as files, one a day: the ledger's events and no others, and never those of somebody who is gone."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.errors import InvalidRequestError
from bandstand.evaluate.files.event_files import EventFiles
from bandstand.evaluate.policy_replay.requests import LoggedRequest
from bandstand.store.event_files.day_reader import DirectoryDays
from bandstand.store.event_files.export import ExportResult, ForgetResult, export_days, forget_erased
from bandstand.store.event_files.form import Arrow
from bandstand.store.logged_events import LoggedDecision, LoggedEvent, LoggedReward, LoggedState
from bandstand.store.maintenance.decision_log import read_events
from bandstand.store.maintenance.offline import OpenedDirectory, open_read_only
from tests.store.given import CATALOGUE, DAY, NOON, Subject, make_embedded
from tests.store.learners.test_replay import play_history
from tests.store.populated import Served, trim_directory


@contextmanager
def open_directory(state_dir: Path) -> Iterator[OpenedDirectory]:
    with open_read_only(state_dir, CATALOGUE) as state:
        yield state


def export(state_dir: Path, folder: Path, *, now: float, **options: Any) -> ExportResult:
    with open_directory(state_dir) as state:
        return export_days(DirectoryDays(state), folder, now=now, **options)


def forget(state_dir: Path, folder: Path) -> ForgetResult:
    with open_directory(state_dir) as state:
        return forget_erased(DirectoryDays(state), folder)


def read_ledger(state_dir: Path, **bounds: float) -> list[LoggedEvent]:
    with open_directory(state_dir) as state:
        return [event for page in read_events(state, **bounds) for event in page]  # type: ignore[arg-type]  # page is no float


def read_files(path: Path, **options: Any) -> list[LoggedEvent]:
    files = EventFiles.open(path)
    assert files is not None
    return [event for page in files.read_events(**options) for event in page]


def to_facts(event: LoggedEvent) -> tuple[object, ...]:
    """What an evaluation reads of an event."""
    facts: list[object] = [type(event).__name__]
    for name, value in event._asdict().items():
        if name == "body" and isinstance(event, LoggedDecision | LoggedReward):
            request = LoggedRequest.parse("", value, event.pick if isinstance(event, LoggedReward) else None)
            facts.append([request.context, list(request.features), np.array(request.eligible).tolist()])
        elif isinstance(event, LoggedState) and name == "profile":
            facts.append({**value.to_json(), "user_id": ""})
        elif not (isinstance(event, LoggedReward) and name == "pick"):
            facts.append(value.tolist() if isinstance(value, np.ndarray) else value)
    return tuple(facts)


def get_day(ts: float) -> date:
    return datetime.fromtimestamp(ts, UTC).date()


async def test_the_files_hold_what_the_ledger_holds_up_to_the_last_day_that_is_over(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        await play_history(subject, 400)
        now = subject.clock.now
    result = export(tmp_path / "state", tmp_path / "log", now=now + DAY)
    expected, found = read_ledger(tmp_path / "state"), read_files(tmp_path / "log")
    assert [to_facts(event) for event in found] == [to_facts(event) for event in expected]
    assert result.days == len(list((tmp_path / "log").iterdir())) > 1
    since = NOON + DAY
    later = [to_facts(event) for event in read_ledger(tmp_path / "state", since=since)]
    assert [to_facts(event) for event in read_files(tmp_path / "log", since=since)] == later


async def test_a_day_is_written_once_it_is_over_and_then_never_again(tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "log"
    async with Served(state) as served:
        late = await served.decide("anna")
        served.clock.now += DAY
        await served.reward(late, 0.5)  # the decision's file is written before it comes
        assert export(state, log, now=served.clock.now).days == 1
        before = (log / f"{get_day(NOON)}.parquet").read_bytes()
        served.clock.now += DAY
        await served.decide("bob")
        again = export(state, log, now=served.clock.now)
    assert (again.days, again.kept, again.first) == (1, 1, str(get_day(NOON)))
    assert (log / f"{get_day(NOON)}.parquet").read_bytes() == before
    [decision, reward] = read_files(log)
    assert isinstance(decision, LoggedDecision)
    assert decision.reward == 0.5
    assert isinstance(reward, LoggedReward)
    [alone] = read_files(log / f"{get_day(NOON)}.parquet")
    assert isinstance(alone, LoggedDecision)
    assert alone.reward is None
    with pytest.raises(InvalidRequestError, match="is not over"):
        export(state, log, now=served.clock.now, only=get_day(served.clock.now))


async def test_an_export_that_was_cut_short_goes_on_where_it_was(tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "log"
    async with Served(state) as served:
        for _ in range(3):
            await served.live_history("anna", 2)
            served.clock.now += DAY
        now = served.clock.now

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(state, log, now=now, tick=stop)
    (log / ".2025-06-16.parquet.partial").write_bytes(b"PAR1 and no more")  # of one that was killed
    assert len(read_files(log)) == 4
    result = export(state, log, now=now)
    assert (result.days, result.kept) == (2, 1)
    assert [to_facts(event) for event in read_files(log)] == [to_facts(event) for event in read_ledger(state)]
    dropped = export(state, log, now=now, keep_days=1)
    assert (dropped.dropped, dropped.days, dropped.first) == (2, 0, "2025-06-17")


async def test_what_retention_took_before_is_a_state_in_its_place(tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "log"
    async with Served(state) as served:
        await served.live_history("anna")
        for days in (1, 3, 2):
            served.clock.now += days * DAY
            await served.live_history("anna")
        now = served.clock.now
    trim_directory(state, NOON + DAY / 2)
    export(state, log, now=NOON + 2 * DAY)
    trim_directory(state, NOON + 5 * DAY)
    result = export(state, log, now=now + DAY)
    assert result.behind_retention == 1
    found = read_files(log)
    states = [(event.seq == 0, event.profile.policies.keys()) for event in found if isinstance(event, LoggedState)]
    assert [first for first, _ in states] == [True, False]
    assert all(policies for _, policies in states)
    after = [to_facts(event) for event in read_ledger(state)[1:]]
    assert [to_facts(event) for event in found[-len(after) :]] == after
    assert isinstance(found[-len(after) - 1], LoggedState)


async def test_whoever_is_erased_is_taken_out_of_files_too(tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "log"
    async with Served(state) as served:
        for user_id in ("anna@example.org", "bob"):
            await served.live_history(user_id)
        served.clock.now += DAY
        await served.live_history("bob")
        export(state, log, now=served.clock.now + DAY)
        assert "anna@example.org" not in str(read_rows(log))
        before = {path: path.read_bytes() for path in log.iterdir()}
        await served.store.erase("anna@example.org", "tests")
        await served.live_history("anna@example.org", 1)  # who comes back is somebody new
    assert forget(state, log) == ForgetResult(files=2, rewritten=1, events=12)
    assert [to_facts(event) for event in read_files(log)] == [to_facts(event) for event in read_ledger(state)[:-2]]
    assert sum(path.read_bytes() != data for path, data in before.items()) == 1
    assert forget(state, log).events == 0


async def test_a_folder_with_anything_else_in_it_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        async with Served(tmp_path / name) as served:
            await served.live_history("anna", 1)
    export(tmp_path / "one", tmp_path / "log", now=NOON + DAY)
    [day] = (tmp_path / "log").iterdir()
    with pytest.raises(InvalidRequestError, match="is of another ledger"):
        export(tmp_path / "two", tmp_path / "log", now=NOON + DAY)
    copy = day.with_name("copy.parquet")
    copy.write_bytes(day.read_bytes())
    with pytest.raises(InvalidRequestError, match=f"is the day 2025-06-15, as {day.name} is"):
        export(tmp_path / "one", tmp_path / "log", now=NOON + DAY)
    copy.write_bytes(day.read_bytes()[:-100])
    with pytest.raises(InvalidRequestError, match=r"copy.parquet: cannot be read: Parquet"):
        export(tmp_path / "one", tmp_path / "log", now=NOON + DAY)
    arrow = Arrow.load()
    arrow.parquet.write_table(arrow.core.table({"reward": [1.0]}), copy)
    with pytest.raises(InvalidRequestError, match=r"copy.parquet: is no file of events"):
        export(tmp_path / "one", tmp_path / "log", now=NOON + DAY)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    parquet = Arrow.load().parquet
    return [json.loads(json.dumps(row)) for path in folder.iterdir() for row in parquet.read_table(path).to_pylist()]
