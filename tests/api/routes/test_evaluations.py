"""Evaluations over HTTP: asked for, watched, read; the same as the command line's."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from bandstand import background_runs
from bandstand.cli import main
from bandstand.evaluate.plan import EvaluationPlan
from bandstand.store.tables.evaluations import Evaluations
from tests.api.given import API_KEYS, CANARY, KEYS, Service, client_of, read_ok, read_problem, run_service
from tests.evaluate.ledgers import persona_world, play_world
from tests.store.populated import catalogue_of

DOCUMENT = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text(encoding="utf-8"))

KEPT_DAYS = 36_500
"""The log of these tests was not written today."""

TWO_POLICIES: dict[str, Any] = {"policies": ["linucb", "first-v1"], "estimators": ["snips", "clipped_ips:20"]}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a log of 480 decisions, all rewarded."""
    state = tmp_path_factory.mktemp("evaluations") / "state"
    play_world(state, persona_world(users=8, days=15), "uniform-v1", catalogue=catalogue_of())
    return state


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(played: Path) -> AsyncIterator[Service]:
    async with run_service(played, decision_retention_days=KEPT_DAYS) as service:
        yield service


async def start(service: Service, **fields: Any) -> dict[str, Any]:
    response = await service.post("/evaluations", fields)
    assert response.status_code == 202, response.text
    run: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/evaluations/{run['id']}"
    return run


async def wait_until_ended(service: Service, run: int) -> dict[str, Any]:
    for _ in range(2400):
        found: dict[str, Any] = read_ok(await service.get(f"/evaluations/{run}"))
        if found["state"] not in ("queued", "running"):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"evaluation {run} did not end")


@pytest.mark.asyncio(loop_scope="module")
async def test_its_report_is_what_the_command_line_says(
    shared: Service, played: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await start(shared, **TWO_POLICIES)
    assert (run["state"], run["client"], run["error"]) == ("queued", "anonymous", None)
    assert run["plan"] == {
        "policies": ["linucb-v1", "first-v1"],
        "estimators": ["snips", "clipped_ips:20"],
        "since": None,
        "until": None,
        "missing_reward": None,
        "interval": "normal",
        "frozen": False,
    }
    ended = await wait_until_ended(shared, run["id"])
    assert (ended["state"], ended["error"]) == ("done", None)
    assert ended["progress"]["done"] == ended["progress"]["total"] >= 960
    words = ["--policy", "linucb-v1", "--policy", "first-v1", "--estimators", "snips,clipped_ips:20"]
    monkeypatch.setattr(sys, "argv", ["bandstand", "evaluate", *words, "--json", "--state-dir", str(played)])
    with pytest.raises(SystemExit) as told:
        main()
    assert told.value.code == 0
    expected = json.loads(capsys.readouterr().out)
    assert ended["report"] == {**expected, "source": "the ledger"}
    assert str(played) not in json.dumps(ended), "a caller need not know where the state lies"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_span_may_be_named_and_policies_frozen(shared: Service) -> None:
    whole = (await wait_until_ended(shared, (await start(shared, policies=["uniform-v1"]))["id"]))["report"]
    middle = whole["log"]["first"][:10] + "T00:00:00Z"
    frozen = await start(
        shared, policies=["linucb-v2"], since=middle, frozen=True, missing_reward=0.0, interval="bootstrap"
    )
    report = (await wait_until_ended(shared, frozen["id"]))["report"]
    assert report["policies"][0]["how"].startswith("frozen as of")
    assert (report["interval"], report["missing_reward"]) == ("bootstrap", 0.0)


@pytest.mark.asyncio(loop_scope="module")
async def test_answers_fit_their_schemas(shared: Service) -> None:
    def check_fits(answer: Any, method: str, path: str, status: str) -> None:
        schema = DOCUMENT["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer)

    body = DOCUMENT["paths"]["/evaluations"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"]
    for example in body["examples"].values():
        run = await start(shared, **example["value"])
        check_fits(run, "post", "/evaluations", "202")
        check_fits(await wait_until_ended(shared, run["id"]), "get", "/evaluations/{run}", "200")
        ended = read_ok(await shared.post(f"/evaluations/{run['id']}/cancel"))
        check_fits(ended, "post", "/evaluations/{run}/cancel", "200")
    check_fits(read_ok(await shared.get("/evaluations")), "get", "/evaluations", "200")


@pytest.mark.asyncio(loop_scope="module")
async def test_they_are_listed_newest_first_and_deleted(shared: Service) -> None:
    first, second = [(await start(shared, policies=["first-v1"]))["id"] for _ in range(2)]
    page = read_ok(await shared.get("/evaluations", limit=1))
    assert [run["id"] for run in page["evaluations"]] == [second]
    rest = read_ok(await shared.get("/evaluations", before=page["next"]))
    assert rest["evaluations"][0]["id"] == first
    for run in (first, second):
        deleted = await shared.client.delete(f"/evaluations/{run}")
        assert (deleted.status_code, deleted.content) == (204, b"")
        read_problem(await shared.get(f"/evaluations/{run}"), 404, "unknown-evaluation")
        read_problem(await shared.client.delete(f"/evaluations/{run}"), 404, "unknown-evaluation")
        read_problem(await shared.post(f"/evaluations/{run}/cancel"), 404, "unknown-evaluation")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{}", "policies"),
        ('{"policies": []}', "policies"),
        ('{"policies": "linucb"}', "policies"),
        ('{"policies": ["first-v1"], "estimators": []}', "estimators"),
        ('{"policies": ["first-v1"], "since": "yesterday"}', "since"),
        ('{"policies": ["first-v1"], "since": "2026-01-01T00:00:00"}', "since"),
        ('{"policies": ["first-v1"], "missing_reward": 2}', "missing_reward"),
        ('{"policies": ["first-v1"], "missing_reward": NaN}', "missing_reward"),
        ('{"policies": ["first-v1"], "interval": "wide"}', "interval"),
        ('{"policies": ["first-v1"], "frozen": 1}', "frozen"),
        (f'{{"policies": ["first-v1"], "from": "/etc/{CANARY}"}}', "body"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(shared: Service, body: str, field: str) -> None:
    told = read_problem(await shared.post("/evaluations", body), 422, "invalid-request")
    assert {error["field"] for error in told["errors"]} == {field}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_policy_or_an_estimator_that_is_not_there_is_refused(shared: Service) -> None:
    read_problem(await shared.post("/evaluations", {"policies": ["nobody"]}), 404, "unknown-policy")
    body = {"policies": ["first-v1"], "estimators": ["snips", "snip"]}
    told = read_problem(await shared.post("/evaluations", body), 422, "invalid-request", "estimators")
    assert "did you mean snips?" in told["detail"]


async def test_only_so_many_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_runs, "MAX_WAITING", 0)
    told = read_problem(await service.post("/evaluations", {"policies": ["first-v1"]}), 503, "overloaded")
    assert told["detail"] == "0 evaluations wait already"


async def test_only_an_admin_may_evaluate(tmp_path: Path) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS) as service:
        for name, (role, secret) in KEYS.items():
            async with client_of(service.app, authorization=f"Bearer {secret}") as caller:
                answers = [
                    await caller.post("/evaluations", {"policies": ["first-v1"]}),
                    await caller.get("/evaluations"),
                    await caller.get("/evaluations/1"),
                    await caller.post("/evaluations/1/cancel"),
                    await caller.client.delete("/evaluations/1"),
                ]
            statuses = [answer.status_code for answer in answers]
            assert statuses == ([202, 200, 200, 200, 204] if role == "admin" else [403] * 5), name


@pytest.mark.asyncio(loop_scope="module")
async def test_a_span_without_decisions_is_told_as_one(shared: Service) -> None:
    run = await start(shared, policies=["first-v1"], since="2999-01-01T00:00:00Z")
    ended = await wait_until_ended(shared, run["id"])
    assert (ended["state"], ended["report"]) == ("failed", None)
    assert "no decision" in ended["error"]


async def test_a_child_that_cannot_begin_says_why(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDSTAND_CONFIG", "/gone.toml")
    ended = await wait_until_ended(service, (await start(service, policies=["first-v1"]))["id"])
    assert ended["state"] == "failed"
    assert ended["error"].startswith("bandstand: BANDSTAND_CONFIG=")


async def test_one_that_is_stopped_is_not_made_and_the_next_is(played: Path, tmp_path: Path) -> None:
    """The child's configuration is a pipe that nobody fills, so that it is sure to be at work when it is stopped."""
    state = copy_state(played, tmp_path)
    blocked = tmp_path / "wait.toml"
    os.mkfifo(blocked)
    with pytest.MonkeyPatch.context() as patch:
        async with run_service(state, decision_retention_days=KEPT_DAYS) as service:
            patch.setenv("BANDSTAND_CONFIG", str(blocked))
            waiting = (await start(service, policies=["first-v1"]))["id"]
            second = (await start(service, policies=["first-v1"]))["id"]
            cancelled = read_ok(await service.post(f"/evaluations/{waiting}/cancel"))
            assert cancelled["state"] == "cancelled"
            patch.delenv("BANDSTAND_CONFIG")
            (tmp_path / "read.toml").touch()
            with blocked.open("w", encoding="utf-8"):  # lets the child read on, to find that it is not wanted
                (tmp_path / "read.toml").replace(blocked)  # for whenever it reads its configuration again
            assert (await wait_until_ended(service, second))["state"] == "done"
            assert (await wait_until_ended(service, waiting))["report"] is None


async def test_a_killed_service_leaves_an_interrupted_evaluation(tmp_path: Path) -> None:
    evaluations = Evaluations(tmp_path / "state")
    async with run_service(tmp_path / "state"):
        pass
    run = evaluations.create(
        EvaluationPlan(policies=("first-v1",)).to_json(), 0, origin="service", client="ops", now=1.0
    )
    assert evaluations.claim(run, now=2.0) is not None, "as one that is under way when its service is killed"
    async with run_service(tmp_path / "state") as service:
        assert read_ok(await service.get(f"/evaluations/{run}"))["state"] == "interrupted"


def copy_state(played: Path, tmp_path: Path) -> Path:
    return copytree(played, tmp_path / "state")
