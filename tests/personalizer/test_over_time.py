"""Rewards over time by a clock of the test's own: what is taught of an event, and when."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.personalizer.timed_wire import DEFAULT, SETTINGS, WAIT, TimedWire
from tests.project.checkout import ROOT
from tests.service.given import Service, on_disk


@pytest.fixture
async def wire(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TimedWire]:
    service = Service(on_disk(tmp_path), reward_settings=SETTINGS[request.param])
    await service.deployment.store.open()
    yield TimedWire(service)
    await service.deployment.store.close()


@pytest.mark.parametrize("wire", ["first"], indirect=True)
@pytest.mark.parametrize(
    ("deferred", "activated", "rewarded", "taught"),
    [
        (False, False, True, [1, 0.75]),
        (False, False, False, [1, DEFAULT]),
        (True, False, True, [0, 0.0]),
        (True, False, False, [0, 0.0]),
        (True, True, True, [1, 0.75]),
        (True, True, False, [1, DEFAULT]),
    ],
)
async def test_what_is_taught_of_an_event(
    wire: TimedWire, deferred: bool, activated: bool, rewarded: bool, taught: list[float]
) -> None:
    await wire.rank("e", deferred=deferred)
    if rewarded:
        await wire.reward("e", 0.75)
    await wire.pass_time(WAIT / 2)
    if activated:
        await wire.activate("e")
    await wire.pass_time(WAIT)
    assert await wire.taught() == taught
    await wire.activate("e")
    await wire.reward("e", -1.0)
    await wire.service.reopen()
    await wire.pass_time(WAIT)
    assert await TimedWire(wire.service).taught() == taught, "what comes later is answered, and changes nothing"


@pytest.mark.parametrize("wire", ["first"], indirect=True)
async def test_the_earliest_reward_counts(wire: TimedWire) -> None:
    await wire.rank("e")
    for value in (0.5, -1.0):
        await wire.reward("e", value)
    assert await wire.taught() == [1, 0.5]


@pytest.mark.parametrize("wire", ["sum"], indirect=True)
async def test_a_sum_counts_a_retry_once_and_teaches_no_more_than_one(wire: TimedWire) -> None:
    await wire.rank("e")
    for value, request_id in ((0.25, "a"), (0.25, "a"), (0.5, "b")):
        await wire.reward("e", value, request_id)
    assert await wire.taught() == [1, 0.75]
    await wire.reward("e", 1.0, "c")
    assert await wire.taught() == [1, 1.0]
    await wire.reward("e", -1.0, "d")
    assert await wire.taught() == [1, 0.75]


@pytest.mark.slow
def test_a_kill_at_any_commit_changes_nothing_of_what_is_taught(tmp_path: Path) -> None:
    """Every row of the table and a sum with retries, killed before and after each commit, and gone on with."""
    command = [sys.executable, "-m", "tests.personalizer.killed_events", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=600)
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert [trial for trial in trials if trial["taught"] != trial["expected"]] == []
    assert {trial["scenario"] for trial in trials} == {
        *("shown and rewarded", "shown and silent", "held and rewarded", "held and silent"),
        *("activated and rewarded", "activated and silent", "rewarded, then activated", "a sum with retries"),
    }
    assert all(trial["signal"] == 9 for trial in trials)
    assert {trial["when"] for trial in trials} == {"before", "after"}
