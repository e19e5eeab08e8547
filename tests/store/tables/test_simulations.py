"""The file of simulations: claims that one process at a time holds, and nothing of the ledger's in its way."""

import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.tables.run_table import STALE_SECONDS, RunClaim, RunProgress, RunRecord
from bandstand.store.tables.simulations import Simulations


@pytest.fixture
def simulations(tmp_path: Path) -> Simulations:
    return Simulations(tmp_path / "state")


def create_run(simulations: Simulations, origin: str = "command") -> int:
    return simulations.create('{"a": 1}', 100, origin=origin, client="ops", now=10.0)


def claim_run(simulations: Simulations, run: int, now: float = 20.0) -> RunClaim:
    claim = simulations.claim(run, now=now)
    assert claim is not None
    return claim


def find_run(simulations: Simulations, run: int, now: float = 20.0) -> RunRecord:
    row = simulations.get(run, now)
    assert row is not None
    return row


def save(simulations: Simulations, claim: RunClaim, *, plays: Sequence[Any] = (), **more: Any) -> bool:
    now, events = more.pop("now", 21.0), more.pop("events", [])
    progress = RunProgress(**{"done": 7, "summary": "{}", **more})
    return simulations.save(claim, progress, plays=plays, events=events, now=now)


def a_play(seed: int, user: int, policy: str = "p", picks: bytes = b"\x01\x00") -> tuple[Any, ...]:
    return (seed, user, policy, picks, b"\x02", b"\x01\x00\x00\x00", b"\x00", '[["rule", null]]', b"")


def an_event(seed: int, user: int, step: int) -> tuple[Any, ...]:
    context = ("Ada", "task-0-1", 9, 0, 4, True, 3.5)
    return (seed, user, "p", step, *context, 0.5, 0.9, False, "done", 20_000, 1.0, 0.1, 0.2, "llm", None, None, None)


def test_a_run_is_told_as_it_was_made(simulations: Simulations) -> None:
    run = create_run(simulations)
    assert find_run(simulations, run) == RunRecord(
        id=run,
        state="queued",
        origin="command",
        client="ops",
        created=10.0,
        started=None,
        ended=None,
        heartbeat=None,
        plan='{"a": 1}',
        done=0,
        total=100,
        summary=None,
        error=None,
    )
    assert simulations.get(run + 1, 20.0) is None


def test_what_is_saved_is_there_and_a_play_replaces_its_earlier_part(simulations: Simulations) -> None:
    run = create_run(simulations)
    claim = claim_run(simulations, run)
    events = [an_event(1, 0, step) for step in range(3)]
    assert save(simulations, claim, plays=[a_play(1, 0), a_play(0, 1), a_play(0, 0)], events=events)
    assert save(simulations, claim, plays=[a_play(0, 1, picks=b"\x01\x00\x02\x00")], done=8, summary='{"b": 2}')
    assert [tuple(row) for row in simulations.iter_plays(run)] == [
        a_play(0, 0),
        a_play(0, 1, picks=b"\x01\x00\x02\x00"),
        a_play(1, 0),
    ]
    assert list(simulations.iter_events(run)) == events
    row = find_run(simulations, run)
    assert (row.state, row.done, row.summary, row.started, row.heartbeat) == ("running", 8, '{"b": 2}', 20.0, 21.0)


@pytest.mark.parametrize("state", ["done", "interrupted", "failed"])
def test_the_last_write_ends_the_run(simulations: Simulations, state: Any) -> None:
    run = create_run(simulations)
    claim = claim_run(simulations, run)
    assert save(simulations, claim, state=state, error="why", now=30.0)
    row = find_run(simulations, run, 30.0)
    assert (row.state, row.ended, row.error) == (state, 30.0, "why")
    assert not save(simulations, claim), "the claim was given back"
    assert (simulations.claim(run, now=31.0) is None) == (state == "done")


def test_only_one_holds_a_claim(simulations: Simulations) -> None:
    run = create_run(simulations)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: simulations.claim(run, now=20.0), range(24)))
    assert sum(claim is not None for claim in claims) == 1


def test_a_holder_who_is_heard_of_no_more_loses_the_claim(simulations: Simulations) -> None:
    run = create_run(simulations)
    dead = claim_run(simulations, run)
    last = 20.0 + STALE_SECONDS
    assert simulations.claim(run, now=last) is None
    assert find_run(simulations, run, last).state == "running"
    assert find_run(simulations, run, last + 0.1).state == "interrupted"
    claim = claim_run(simulations, run, last + 0.1)
    assert not save(simulations, dead, plays=[a_play(0, 0)]), "it woke up, but the run is another's"
    assert list(simulations.iter_plays(run)) == []
    assert save(simulations, claim, plays=[a_play(0, 0)])


def test_a_holder_whose_clock_was_ahead_loses_the_claim_too(simulations: Simulations) -> None:
    run = create_run(simulations)
    assert simulations.claim(run, now=10_000.0) is not None
    assert find_run(simulations, run, 9_990.0).state == "running", "a clock may be off by some seconds"
    assert find_run(simulations, run, 20.0).state == "interrupted"
    assert simulations.claim(run, now=20.0) is not None


def test_a_run_that_has_been_played_is_not_begun_anew(simulations: Simulations) -> None:
    run = create_run(simulations, "service")
    assert simulations.cancel(run, 11.0)
    assert simulations.claim(run, now=20.0, only_queued=True) is None
    assert simulations.claim(run, now=20.0) is not None
    other = create_run(simulations, "service")
    assert simulations.claim(other, now=20.0, only_queued=True) is not None


def test_cancelled_a_run_takes_no_more_writes_and_keeps_what_it_has(simulations: Simulations) -> None:
    run = create_run(simulations)
    claim = claim_run(simulations, run)
    save(simulations, claim, plays=[a_play(0, 0)])
    assert simulations.cancel(run, 22.0)
    assert not save(simulations, claim, plays=[a_play(0, 1)])
    row = find_run(simulations, run)
    assert (row.state, row.ended, row.done) == ("cancelled", 22.0, 7)
    assert list(simulations.iter_plays(run)) == [a_play(0, 0)]
    assert not simulations.cancel(run, 23.0)
    assert not simulations.fail(run, "gone", 23.0)
    assert find_run(simulations, run).state == "cancelled"


def test_deleted_nothing_of_it_is_left_nor_comes_back(simulations: Simulations) -> None:
    run, other = create_run(simulations), create_run(simulations)
    claim = claim_run(simulations, run)
    save(simulations, claim, plays=[a_play(0, 0)], events=[an_event(0, 0, 0)])
    save(simulations, claim_run(simulations, other), plays=[a_play(0, 0)], events=[an_event(0, 0, 0)])
    assert simulations.delete(run)
    assert not simulations.delete(run)
    assert not save(simulations, claim, plays=[a_play(0, 0)])
    assert list(simulations.iter_plays(run)) == list(simulations.iter_events(run)) == []
    assert len(list(simulations.iter_plays(other))) == len(list(simulations.iter_events(other))) == 1
    assert create_run(simulations) > other, "a number is never given twice"


def test_a_service_s_own_runs_are_interrupted_and_nobody_else_s(simulations: Simulations) -> None:
    queued, running, ended = (create_run(simulations, "service") for _ in range(3))
    save(simulations, claim_run(simulations, ended), state="done")
    claim_run(simulations, running)
    command = create_run(simulations)
    claim_run(simulations, command)
    assert simulations.list_queued() == [queued]
    assert simulations.interrupt_all(25.0)
    states = [find_run(simulations, run).state for run in (queued, running, ended, command)]
    assert states == ["interrupted", "interrupted", "done", "running"]
    assert simulations.list_queued() == []


def test_a_process_that_ended_without_a_word_has_failed(simulations: Simulations) -> None:
    run = create_run(simulations, "service")
    claim_run(simulations, run)
    assert simulations.fail(run, "its process ended with exit code 1", 22.0)
    row = find_run(simulations, run)
    assert (row.state, row.error, row.ended) == ("failed", "its process ended with exit code 1", 22.0)


def test_runs_are_paged_newest_first_without_their_summaries(simulations: Simulations) -> None:
    runs = [create_run(simulations) for _ in range(5)]
    save(simulations, claim_run(simulations, runs[4]), summary='{"long": 1}')
    page = simulations.list_page(before=None, limit=2, now=20.0)
    assert [run.id for run in page] == [runs[4], runs[3]]
    assert page[0].summary is None
    assert [run.id for run in simulations.list_page(before=runs[3], limit=9, now=20.0)] == runs[2::-1]


def test_many_processes_may_write_side_by_side(simulations: Simulations) -> None:
    claims = [claim_run(simulations, create_run(simulations)) for _ in range(6)]

    def write(claim: RunClaim) -> bool:
        return all(
            save(simulations, claim, plays=[a_play(seed, 0)], events=[an_event(seed, 0, step) for step in range(50)])
            for seed in range(10)
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(write, claims))
    for claim in claims:
        assert len(list(simulations.iter_plays(claim.run))) == 10
        assert len(list(simulations.iter_events(claim.run))) == 500


def test_a_write_that_fails_leaves_nothing(simulations: Simulations) -> None:
    run = create_run(simulations)
    claim = claim_run(simulations, run)
    broken = (*an_event(0, 0, 0)[:-5], "no number", "llm", None, None, None)
    with pytest.raises(StorageUnavailableError):
        save(simulations, claim, plays=[a_play(0, 0)], events=[an_event(0, 0, 1), broken])
    assert list(simulations.iter_plays(run)) == list(simulations.iter_events(run)) == []
    assert find_run(simulations, run).done == 0


def test_a_file_of_a_newer_format_is_refused(simulations: Simulations) -> None:
    create_run(simulations)
    connection = sqlite3.connect(simulations.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="format 99"):
        simulations.get(1, 0.0)


def test_a_file_that_is_no_database_is_an_error_of_the_storage(tmp_path: Path) -> None:
    (tmp_path / "simulations.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageUnavailableError, match=r"simulations\.db"):
        Simulations(tmp_path).list_queued()
