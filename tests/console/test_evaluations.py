"""The pages of evaluations: asked for, followed, read, deleted; a policy is promoted from there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bandstand.evaluate.estimators.formulas import FORMULAS, LEDGER_FORMULAS
from bandstand.evaluate.report import ASSUMPTIONS
from tests.console.given import Page, Person, visit_console
from tests.evaluate.ledgers import persona_world, play_world
from tests.store.populated import catalogue_of


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a log of 80 decisions."""
    state = tmp_path_factory.mktemp("evaluations") / "state"
    play_world(state, persona_world(users=4, days=5), "uniform-v1", catalogue=catalogue_of())
    return state


@pytest_asyncio.fixture
async def reader(played: Path) -> AsyncIterator[Person]:
    """Somebody at the console of a service with that log."""
    async with visit_console(played, decision_retention_days=36_500) as person:
        yield person


async def start(person: Person, **fields: Any) -> Page:
    token = (await person.open("/evaluations/new")).token
    asked = {"policies": ["first-v1", "linucb-v1"], "estimators": ["snips"], "since": "", "until": "", "missing": ""}
    return await person.send("/evaluations/new", token=token, **{**asked, **fields})


async def wait_until_ended(person: Person, run: int) -> Page:
    for _ in range(2400):
        told = (await person.open(f"/evaluations/{run}/progress.json")).response.json()
        if not told["alive"]:
            return await person.open(f"/evaluations/{run}")
        await asyncio.sleep(0.05)
    raise AssertionError(f"evaluation {run} did not end")


async def test_an_empty_list_says_what_an_evaluation_is(person: Person) -> None:
    page = await person.open("/evaluations")
    assert "No policy has been evaluated on the log" in page.text
    assert "/console/evaluations/new" in page.links


async def test_one_is_started_followed_read_and_deleted(reader: Person) -> None:
    started = await start(reader)
    assert (started.status, started.response.headers["location"]) == (303, "/console/evaluations/1")
    page = await wait_until_ended(reader, 1)
    assert "progress.js" not in str(page.scripts)
    report = (await reader.service.get("/evaluations/1")).json()["report"]
    for policy in report["policies"]:
        (estimate,) = policy["estimates"]
        rows = [row for row in page.rows() if row[0] == "snips" and f"{estimate['value']:.4f}" in row[1]]
        assert len(rows) == 1, policy["policy"]
        for doubt in policy["doubts"]:
            assert doubt["doubt"] in page.text
        assert f"/console/policies/promote?policy={policy['policy']}" in page.links
    assert ASSUMPTIONS["snips"] in page.text
    assert f"against {report['log']['mean_reward']:.3f}." in page.text
    figures = (await reader.open("/evaluations/1/figures.json")).response.json()
    assert set(figures) == {"estimates", "curve", "weights"}
    listed = await reader.open("/evaluations")
    assert ["1", "done", "first-v1, linucb-v1", "snips"] in [row[:4] for row in listed.rows()]
    gone = await reader.send("/evaluations/1/delete", token=page.token)
    assert gone.response.headers["location"] == "/console/evaluations?done=deleted"
    assert (await reader.open("/evaluations/1")).status == 404


async def test_a_log_that_says_nothing_is_told_as_a_failure(person: Person) -> None:
    await start(person)
    page = await wait_until_ended(person, 1)
    assert "It failed: the log holds no decision to evaluate" in page.text


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"policies": []}, "Choose at least one."),
        ({"estimators": []}, "Choose at least one."),
        ({"estimators": ["magic"]}, "No such estimator"),
        ({"since": "yesterday"}, "Write 2026-01-31"),
        ({"until": "31.1."}, "Write 2026-01-31"),
        ({"missing": "7"}, "Choose one of the two."),
    ],
)
async def test_a_form_that_cannot_be_asked_comes_back_with_its_fault(
    person: Person, fields: dict[str, Any], fault: str
) -> None:
    page = await start(person, **fields)
    assert page.status == 422
    assert fault in page.text
    assert "nothing was started" in page.text
    assert "No policy has been evaluated" in (await person.open("/evaluations")).text


async def test_a_number_that_is_none_is_no_page(person: Person) -> None:
    for number in ("7", "0", str(2**70)):
        assert (await person.open(f"/evaluations/{number}")).status == 404


def test_every_estimator_says_what_it_takes_for_granted() -> None:
    assert set(ASSUMPTIONS) == {*FORMULAS, *LEDGER_FORMULAS}
