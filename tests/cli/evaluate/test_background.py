"""``bandstand evaluate-run``: a child that stops when nobody wants its evaluation any more."""

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bandstand.child_process import build_python_command
from bandstand.cli.evaluate.background import INPUT_THREAD, play_evaluation
from bandstand.evaluate.errors import UnknownEvaluationError
from bandstand.evaluate.plan import EvaluationPlan
from bandstand.store.logged_events import LoggedEvent
from bandstand.store.maintenance import decision_log
from bandstand.store.tables.evaluations import Evaluations
from bandstand.store.tables.run_table import RunRecord
from tests.evaluate.ledgers import persona_world, play_world
from tests.store.populated import catalogue_of


@pytest.fixture
def state(tmp_path: Path) -> Path:
    play_world(tmp_path, persona_world(users=1, days=1), "uniform-v1", catalogue=catalogue_of())
    return tmp_path


@pytest.fixture
def service_pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Standard input of a child; the end that the service holds is in the list, and open until it is taken out."""
    read_end, write_end = os.pipe()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(fileno=lambda: read_end))
    held = [write_end]
    yield held
    for each in held:
        os.close(each)
    join_input_thread()
    os.close(read_end)


def join_input_thread() -> None:
    """Wait until the end of standard input has been noticed."""
    for each in threading.enumerate():
        if each.name == INPUT_THREAD:
            each.join(60)


def enqueue(evaluations: Evaluations) -> int:
    plan = EvaluationPlan(policies=("first-v1",)).to_json()
    return evaluations.create(plan, 0, origin="service", client="ops", now=time.time())


def find(evaluations: Evaluations, run: int) -> RunRecord:
    record = evaluations.get(run, time.time())
    assert record is not None
    return record


@pytest.mark.usefixtures("service_pipe")
def test_a_run_is_made_once(state: Path) -> None:
    evaluations = Evaluations(state)
    run = enqueue(evaluations)
    play_evaluation(run, str(state))
    made = find(evaluations, run)
    assert (made.state, made.error) == ("done", None)
    assert made.done == made.total > 0
    for number in (run, run + 1):
        with pytest.raises(UnknownEvaluationError):
            play_evaluation(number, str(state))
    assert find(evaluations, run) == made


def test_it_is_interrupted_where_its_service_is_gone(
    state: Path, monkeypatch: pytest.MonkeyPatch, service_pipe: list[int]
) -> None:
    monkeypatch.setattr(decision_log, "read_events", lambda *_, **__: itertools.repeat([]))
    os.close(service_pipe.pop())
    evaluations = Evaluations(state)
    run = enqueue(evaluations)
    play_evaluation(run, str(state))
    assert (find(evaluations, run).state, find(evaluations, run).summary) == ("interrupted", None)


def test_the_child_ends_well_while_its_service_lives(state: Path) -> None:
    """Standard input is still open when it ends."""
    run = enqueue(Evaluations(state))
    command = build_python_command("evaluate-run", str(run), "--state-dir", str(state))
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.wait(300) == 0
    assert find(Evaluations(state), run).state == "done"


@pytest.mark.usefixtures("service_pipe")
def test_it_ends_where_it_was_cancelled(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations = Evaluations(state)
    run = enqueue(evaluations)

    def read_for_ever(*_: object, **__: object) -> Iterator[list[LoggedEvent]]:
        yield []
        assert evaluations.cancel(run, 5.0)
        yield from itertools.repeat([])

    monkeypatch.setattr(decision_log, "read_events", read_for_ever)
    play_evaluation(run, str(state))
    assert (find(evaluations, run).state, find(evaluations, run).ended) == ("cancelled", 5.0)
