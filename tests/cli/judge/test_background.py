"""``bandstand judge-run``: learns from people's labels, keeps none of their words, and stops when nobody wants it."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from bandstand.cli.judge import background
from bandstand.cli.judge.background import play_judge_run
from bandstand.judge.training import train
from bandstand.service.judge_runs import JudgeRunKind, JudgeRunPlan, UnknownJudgeRunError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.tables.judge_runs import JudgeRuns
from bandstand.store.tables.run_table import RunRecord
from tests.evaluate.ledgers import persona_world, play_world
from tests.store.given import Subject
from tests.store.populated import catalogue_of
from tests.store.postgres.shared import make_shared, run_law_server

TAXONOMY = "followup-v1"
WORDS = "zebra"
_SET_LABEL = "(document::jsonb || jsonb_build_object('label', $2::text, 'tier', 'person'))::text"


def list_labels() -> Iterator[dict[str, str]]:
    for number in range(26):
        praise = number % 2
        words = f"Thank you, {WORDS} {number}" if praise else f"No, that is wrong, {WORDS} {number}"
        turn = {"query_t": f"How? {WORDS}", "answer_t": "So.", "query_t1": words}
        yield {**turn, "label": "pos_praise" if praise else "neg_correction", "taxonomy": TAXONOMY}
    yield {"query_t": "?", "answer_t": "!", "query_t1": WORDS, "label": "of-no-taxonomy"}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judge-runs")
    play_world(path, persona_world(users=1, days=1), "uniform-v1", catalogue=catalogue_of())
    return path


@pytest.fixture
def state(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory whose people gave labels, and whose judge has learned nothing yet."""
    read_end, write_end = os.pipe()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(fileno=lambda: read_end))
    monkeypatch.setattr(background, "iter_labelled_turns", lambda *_: list_labels())
    monkeypatch.setattr(train, "_OWN_ITERATIONS", 2)
    yield state_dir
    os.close(write_end)
    join_input_threads()
    os.close(read_end)
    for file in list_learned(state_dir):
        (state_dir / "judge" / file).unlink()


def join_input_threads() -> None:
    """Wait until the end of standard input has been noticed."""
    for each in threading.enumerate():
        if each.name == background.INPUT_THREAD:
            each.join(60)


def list_learned(state: Path) -> list[str]:
    folder = state / "judge"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def enqueue(state: Path, kind: JudgeRunKind = "calibrate") -> int:
    plan = JudgeRunPlan(kind, TAXONOMY).to_json()
    return JudgeRuns(state).create(plan, 26, origin="service", client="ops", now=time.time())


def find(state: Path, run: int) -> RunRecord:
    record = JudgeRuns(state).get(run, time.time())
    assert record is not None
    return record


@pytest.mark.parametrize(("kind", "file"), [("calibrate", "calibration.json"), ("train", f"{TAXONOMY}.npz")])
def test_a_run_teaches_and_keeps_figures_but_no_words(state: Path, kind: JudgeRunKind, file: str) -> None:
    run = enqueue(state, kind)
    play_judge_run(run, str(state))
    made = find(state, run)
    assert (made.state, made.error, made.done) == ("done", None, made.total)
    report: dict[str, Any] = json.loads(made.summary or "")
    assert (report["labels"], report["skipped"]) == (26, 1)
    figures = report if kind == "train" else report["calibrations"][0]
    assert 0 <= figures["before"]["polarity"]["accuracy"] <= 1
    assert figures["after"] is None or 0 <= figures["after"]["polarity"]["accuracy"] <= 1
    assert list_learned(state) == [file]
    assert WORDS not in (made.summary or "")
    with pytest.raises(UnknownJudgeRunError):
        play_judge_run(run, str(state))


@pytest.mark.slow
async def test_a_run_reads_the_labels_of_a_shared_ledger(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_law_server() as url:
        session = await asyncpg.connect(LedgerAddress.parse(url).dsn)
        async with Subject(make_shared(url)) as subject:
            for label in list_labels():
                texts = (label["query_t"], label["answer_t"], label["query_t1"], "")
                turn = replace(subject.turn(await subject.decide("anna")), texts=texts)
                taken = (await subject.store.accept(turn)).judgement
                await subject.build_conclusion(taken, 0.5, "override")
                label_of = f"UPDATE bandstand.verdicts SET document = {_SET_LABEL} WHERE judgement = $1"  # noqa: S608 (a constant)
                await session.execute(label_of, taken.seq, label["label"])
        await session.close()
        monkeypatch.setenv("STATE_URL", url)
        monkeypatch.setenv("STATE_DIR", str(state))
        run = enqueue(state)
        await asyncio.to_thread(play_judge_run, run, None)
    made = find(state, run)
    assert (made.state, made.error) == ("done", None)
    assert json.loads(made.summary or "")["labels"] == 26
    assert list_learned(state) == ["calibration.json"]


def test_it_is_interrupted_where_its_service_is_gone(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)

    def list_after_the_end(*_: object) -> Iterator[dict[str, str]]:
        join_input_threads()
        return list_labels()

    monkeypatch.setattr("sys.stdin", SimpleNamespace(fileno=lambda: read_end))
    monkeypatch.setattr(background, "iter_labelled_turns", list_after_the_end)
    run = enqueue(state, "train")
    play_judge_run(run, str(state))
    os.close(read_end)
    assert (find(state, run).state, find(state, run).summary) == ("interrupted", None)
    assert list_learned(state) == []


def test_a_run_that_was_cancelled_writes_nothing(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = enqueue(state)

    def cancel(*_: object) -> Iterator[dict[str, str]]:
        assert JudgeRuns(state).cancel(run, 5.0)
        return list_labels()

    monkeypatch.setattr(background, "iter_labelled_turns", cancel)
    play_judge_run(run, str(state))
    assert (find(state, run).state, find(state, run).ended) == ("cancelled", 5.0)
    assert list_learned(state) == []


def test_why_it_failed_is_told_without_anybodys_words(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Iterator[dict[str, str]]:
        raise RuntimeError(WORDS)

    for labels, error in (
        (fail, "a fault of its own: RuntimeError"),
        (lambda *_: iter(()), "there is no labelled turn whose words are still there"),
        (lambda *_: list_few(), "a calibration needs at least 20 verdicts of a tier whose truth is known"),
    ):
        monkeypatch.setattr(background, "iter_labelled_turns", labels)
        run = enqueue(state)
        play_judge_run(run, str(state))
        assert (find(state, run).state, find(state, run).error) == ("failed", error)


def list_few() -> Iterator[dict[str, str]]:
    for turn, _ in zip(list_labels(), range(5), strict=False):
        yield turn
