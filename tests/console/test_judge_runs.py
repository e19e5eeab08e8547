"""Calibrations and trainings from the review: started there, played by a child, told in words; their files act next."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bandstand.judge.calibration import MIN_EXAMPLES
from bandstand.service.judge_runs import JudgeRunKind, JudgeRunPlan
from bandstand.store.tables.judge_runs import JudgeRuns
from bandstand.store.tables.run_table import RunProgress
from tests.console.given import Page, Person, visit_console
from tests.console.test_judge import send_turn

TAXONOMY = "followup-v1"
LABELS = 26
_SIDES = ({"accuracy": 0.5, "negative_precision": 0.4, "negative_recall": None}, {"accuracy": 0.75})

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judge-runs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visitor(state_dir: Path) -> AsyncIterator[Person]:
    """Somebody at a console where nobody has labelled a turn."""
    async with visit_console(state_dir) as visiting:
        yield visiting


def leave_run(state_dir: Path, kind: JudgeRunKind, report: dict[str, Any], *, ended: float) -> None:
    """Leave a run that is done in a state directory."""
    runs = JudgeRuns(state_dir)
    run = runs.create(JudgeRunPlan(kind, TAXONOMY).to_json(), 30, origin="service", client="ops", now=0.0)
    claim = runs.claim(run, now=ended)
    assert claim is not None
    assert runs.save(claim, RunProgress(done=30, summary=json.dumps(report), state="done"), ended)


async def start(person: Person, kind: str, taxonomy: str = TAXONOMY) -> Page:
    token = (await person.open("/judge/review")).token
    return await person.send("/judge/runs", kind=kind, taxonomy=taxonomy, token=token)


async def wait_until_ended(person: Person, run: int) -> None:
    for _ in range(2400):
        if not (await person.open(f"/judge/runs/{run}/progress.json")).response.json()["alive"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"run {run} did not end")


async def test_too_few_labels_start_nothing_and_the_page_says_so(visitor: Person) -> None:
    page = await visitor.open("/judge/review")
    assert f"{MIN_EXAMPLES} more labelled turns are needed first." in page.text
    assert page.html.count(" disabled>") == 2
    refused = await start(visitor, "train")
    assert refused.status == 422
    assert f"this needs {MIN_EXAMPLES} labelled turns, and there are 0" in refused.text.lower()


async def test_what_cannot_be_learned_is_refused(visitor: Person) -> None:
    assert (await start(visitor, "guess")).status == 422
    assert (await start(visitor, "train", "none")).status == 404
    assert (await visitor.open("/judge/runs/77/progress.json")).status == 404


async def test_runs_say_what_came_out_and_which_of_them_acts(visitor: Person, state_dir: Path) -> None:
    calibration = {"tier": "local", "model": "m", "examples": 25, "tau": None, "target_precision": 0.8}
    calibrated = {"calibrations": [{**calibration, "before": {"ece": 0.2}, "after": {"ece": 0.05}}], "skipped": 0}
    sides = [{"polarity": {**_SIDES[0], **side}} for side in _SIDES]
    trained = {"model": "own@1", "n": 30, "before": sides[0], "after": sides[1], "skipped": 2}
    never = 4e9  # after any start
    leave_run(state_dir, "calibrate", calibrated, ended=1.0)
    leave_run(state_dir, "train", trained, ended=2.0)
    leave_run(state_dir, "train", trained, ended=3.0)
    page = await visitor.open("/judge/review")
    assert "0.200 before, 0.050 after." in page.text
    assert "JUDGE_TAU stays in force." in page.text
    assert "2 of the labels were left out" in page.text
    half, more = (f"{share}\N{NARROW NO-BREAK SPACE}%" for share in (50, 75))
    assert f"Praise, complaint or neither, told right: {half} before, {more} after." in page.html
    assert "That is worse than before" not in page.text
    effects = ("In use since the service's last start.", "a newer one took its place.", "so calibrate again.")
    assert [page.text.count(effect) for effect in effects] == [1, 1, 1]
    leave_run(state_dir, "calibrate", calibrated, ended=never)
    leave_run(state_dir, "train", {**trained, "before": sides[1], "after": sides[0]}, ended=never)
    page = await visitor.open("/judge/review")
    waits = "Not in use yet"
    assert [page.text.count(effect) for effect in (waits, *effects)] == [1, 0, 3, 1]
    assert page.text.count("That is worse than before") == 1
    gone = await visitor.send("/judge/runs/1/delete", token=page.token)
    assert gone.response.headers["location"].startswith("/console/judge/review")
    assert "Calibration 1," not in (await visitor.open("/judge/review")).text


@pytest.mark.slow
async def test_labels_calibrate_the_judge_of_the_next_start(tmp_path: Path) -> None:
    async with visit_console(tmp_path) as person:
        for number in range(LABELS):
            words = f"Thank you, that worked! {number}" if number % 2 else f"No, that is wrong, zebra {number}"
            told = await send_turn(person, f"user-{number}", query_t1=words)
            token = (await person.open("/judge/review")).token
            label = "pos_praise" if number % 2 else "neg_correction"
            await person.send("/judge/review", id=told["judgement_id"], verdict=label, token=token)
        started = await start(person, "calibrate")
        assert (started.status, started.response.headers["location"]) == (303, "/console/judge/review")
        await wait_until_ended(person, 1)
        page = await person.open("/judge/review")
        assert f"was calibrated on {LABELS} verdicts." in page.text, page.text
        assert page.text.count("Not in use yet") == 1
    (file,) = await asyncio.to_thread(lambda: list((tmp_path / "judge").iterdir()))
    assert file.name == "calibration.json"
    async with visit_console(tmp_path) as person:
        assert (await person.open("/judge/review")).text.count("In use since") == 1
        told = await send_turn(person, "later", query_t1="No, that is wrong, zebra")
        kept = (await person.service.get(f"/judgements/{told['judgement_id']}")).json()
        assert kept["applied"]["calibration"] is not None
