"""``bandstand evaluate-run``: a child that stops when nobody wants its evaluation any more."""

import io
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bandstand.cli.evaluate.background import play_evaluation
from bandstand.evaluate.errors import UnknownEvaluationError
from bandstand.evaluate.plan import EvaluationPlan
from bandstand.store.maintenance import decision_log
from bandstand.store.maintenance.decision_log import LoggedEvent
from bandstand.store.tables.evaluations import Evaluations
from bandstand.store.tables.run_table import RunRecord
from tests.evaluate.ledgers import persona_world, play_world
from tests.store.populated import catalogue_of


class _OpenPipe(io.BytesIO):
    """Standard input of a child whose service lives."""

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(3600)
        return super().read(size)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    play_world(tmp_path, persona_world(users=1, days=1), "uniform-v1", catalogue=catalogue_of())
    return tmp_path


def give_input(patch: pytest.MonkeyPatch, stream: io.BytesIO) -> None:
    patch.setattr("sys.stdin", SimpleNamespace(buffer=stream))


def enqueue(evaluations: Evaluations) -> int:
    plan = EvaluationPlan(policies=("first-v1",)).to_json()
    return evaluations.create(plan, 0, origin="service", client="ops", now=time.time())


def find(evaluations: Evaluations, run: int) -> RunRecord:
    record = evaluations.get(run, time.time())
    assert record is not None
    return record


def test_a_run_is_made_once(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_input(monkeypatch, _OpenPipe())
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


def test_it_is_interrupted_where_its_service_is_gone(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_log, "read_events", lambda *_, **__: itertools.repeat([]))
    give_input(monkeypatch, io.BytesIO())
    evaluations = Evaluations(state)
    run = enqueue(evaluations)
    play_evaluation(run, str(state))
    assert (find(evaluations, run).state, find(evaluations, run).summary) == ("interrupted", None)


def test_it_ends_where_it_was_cancelled(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations = Evaluations(state)
    run = enqueue(evaluations)

    def read_for_ever(*_: object, **__: object) -> Iterator[list[LoggedEvent]]:
        yield []
        assert evaluations.cancel(run, 5.0)
        yield from itertools.repeat([])

    monkeypatch.setattr(decision_log, "read_events", read_for_ever)
    give_input(monkeypatch, _OpenPipe())
    play_evaluation(run, str(state))
    assert (find(evaluations, run).state, find(evaluations, run).ended) == ("cancelled", 5.0)
