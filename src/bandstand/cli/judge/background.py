"""``bandstand judge-run``: a calibration or a training that a service queued, made by a child of it."""

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bandstand.cli.judge.labelled_files import LabelledFile, calibrate_judge, open_judge, train_judge
from bandstand.cli.state.directory import LoopName, StateDir, StateLocation, resolve_location
from bandstand.config.settings import Settings, read_settings
from bandstand.errors import BandstandError, InvalidRequestError
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.training.dataset import parse_records
from bandstand.judge.training.transcripts import SourceRecord
from bandstand.service.judge_runs import JudgeRunPlan, UnknownJudgeRunError
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.offline import open_read_only
from bandstand.store.tables.judge_runs import JudgeRuns
from bandstand.store.tables.reviews import iter_labelled_turns
from bandstand.store.tables.run_table import RunClaim, RunProgress, RunState

INPUT_THREAD = "end of input"
"""Name of the thread that notices the end of standard input."""

_SAVE_EVERY_S = 0.5
_SOURCE = Path("people's labels")
_TARGET_PRECISION = 0.8
_NAME = "own"


class JudgeRunStoppedError(BandstandError):
    """The service stopped this run, or is gone."""

    code = "judge-run-stopped"


def judge_run(run: int, *, state_dir: StateDir = None, loop: LoopName = None) -> None:
    """Calibrate or train the judge as a service queued it; ends when standard input does."""
    play_judge_run(run, state_dir, loop)


def play_judge_run(run: int, state_dir: str | None, loop: str | None = None) -> None:
    """Make a run that waits in judge_runs.db; ends when standard input does.

    Raises:
        UnknownJudgeRunError: it does not wait.
    """
    location = resolve_location(state_dir, loop, or_shared=True)
    runs = JudgeRuns(location.directory)
    record = runs.get(run, time.time())
    claim = runs.claim(run, now=time.time(), only_queued=True)
    if record is None or claim is None:
        raise UnknownJudgeRunError(f"judge run {run} does not wait to be made")
    supervised = _SupervisedRun(runs, claim, record.total)
    try:
        with runs.keep_open():
            report = _learn(JudgeRunPlan.from_json(record.plan), location, supervised)
    except BandstandError as error:
        supervised.end("failed", error=error.detail)
    except Exception as error:  # noqa: BLE001 (its text may hold a user's words, and a run keeps none)
        supervised.end("failed", error=f"a fault of its own: {type(error).__name__}")
    else:
        if report is None:
            supervised.end("interrupted")
        else:
            supervised.end("done", summary=json.dumps(report, allow_nan=False))


class _SupervisedRun:
    """A run whose progress is written by a thread, which also notices when the run was stopped."""

    def __init__(self, runs: JudgeRuns, claim: RunClaim, total: int) -> None:
        self._runs = runs
        self._claim = claim
        self._done = 0
        self._total = total
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._saver = threading.Thread(target=self._save_often, daemon=True)
        self._saver.start()
        threading.Thread(target=self._wait_for_end_of_input, name=INPUT_THREAD, daemon=True).start()

    def update(self, done: int, total: int) -> None:
        """Record how many of the turns are judged.

        Raises:
            JudgeRunStoppedError: the run was stopped.
        """
        self._done, self._total = done, total
        if self._stopped.is_set():
            raise JudgeRunStoppedError("stopped by the service")

    def require_wanted(self) -> None:
        """Refuse to continue where the run was cancelled, deleted or left by its service.

        Raises:
            JudgeRunStoppedError: it was.
        """
        if not self._save():
            self._stopped.set()
        self.update(self._done, self._total)

    def end(self, state: RunState, *, summary: str | None = None, error: str | None = None) -> None:
        """Write the last of it."""
        self._ended.set()
        self._saver.join()
        done = self._total if state == "done" else self._done
        last = RunProgress(done=done, total=self._total, summary=summary, state=state, error=error)
        self._runs.save(self._claim, last, time.time())

    def _save(self) -> bool:
        return self._runs.save(self._claim, RunProgress(done=self._done, total=self._total), time.time())

    def _save_often(self) -> None:
        while not self._ended.wait(_SAVE_EVERY_S):
            try:
                wanted = self._save()
            except BandstandError:
                continue  # the disk may be better next time; the last write says if not
            if not wanted:
                self._stopped.set()
                return

    def _wait_for_end_of_input(self) -> None:
        # Not through the buffer, whose lock this thread would hold when the interpreter ends and wants to close it.
        while os.read(sys.stdin.fileno(), 1):
            pass
        self._stopped.set()


def _learn(plan: JudgeRunPlan, location: StateLocation, supervised: _SupervisedRun) -> dict[str, Any] | None:
    """The report of what was learned; None if the run was stopped."""
    # The judge's process and what it has learned are the service's, whichever of its loops the labels are of.
    outer = LoopDirectories.find_outer(location.directory.absolute())
    settings = read_settings(state_dir=str(outer or location.directory))
    try:
        return asyncio.run(_run_plan(plan, location, settings, supervised))
    except* JudgeRunStoppedError:  # alone, or out of the group of turns that were being judged
        pass
    return None


async def _run_plan(
    plan: JudgeRunPlan, location: StateLocation, settings: Settings, supervised: _SupervisedRun
) -> dict[str, Any]:
    # Local, so that no turn leaves the machine and nothing is spent outside the day's caps, which the service keeps.
    async with open_judge("local", plan.taxonomy, settings) as judge:
        turns = await asyncio.to_thread(_read_labels, location, judge.taxonomy)
        if plan.kind == "calibrate":
            result = await calibrate_judge(
                turns,
                judge,
                settings,
                method="isotonic",
                target_precision=_TARGET_PRECISION,
                progress=supervised.update,
                before_write=supervised.require_wanted,
            )
        else:
            result = await train_judge(
                turns,
                judge.taxonomy,
                settings,
                name=_NAME,
                progress=supervised.update,
                before_write=supervised.require_wanted,
            )
    told = {name: value for name, value in result.items() if name not in {"file", "written"}}
    return told | {"labels": len(turns.rows.rows), "skipped": len(turns.rows.bad)}


def _read_labels(location: StateLocation, taxonomy: Taxonomy) -> LabelledFile:
    found = _find_labels(location, taxonomy.name)
    records = (SourceRecord(number, f"label {number}", turn) for number, turn in enumerate(found, 1))
    rows = parse_records(records, taxonomy, strict=False)
    if not rows.rows:
        raise InvalidRequestError("there is no labelled turn whose words are still there")
    return LabelledFile(_SOURCE, rows)


def _find_labels(location: StateLocation, taxonomy: str) -> list[dict[str, str]]:
    if location.address is None:
        with open_read_only(location.directory, location.catalogue) as state, state.snapshot():
            return list(iter_labelled_turns(state.connection, taxonomy))
    from bandstand.store.postgres.command_pool import open_command_pool  # noqa: PLC0415 (its driver is an extra)
    from bandstand.store.postgres.console_queries import list_labelled_turns  # noqa: PLC0415 (the same)

    with open_command_pool(location.address) as (runner, pool):
        return runner.run(list_labelled_turns(pool, taxonomy))
