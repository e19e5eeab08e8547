"""Simulations over HTTP: asked for, watched, cancelled, deleted; what only a command line may say is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from tests.api.given import API_KEYS, CANARY, KEYS, Service, client_of, read_ok, read_problem, run_service
from tests.contract.server import connect_to, start_server

DOCUMENT = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text(encoding="utf-8"))
SHORT: dict[str, Any] = {"policies": ["linucb", "linucb-v2"], "personas": 3, "days": 2, "seeds": 2}
ENDLESS: dict[str, Any] = {"policies": ["linucb-v1"], "personas": 100, "days": 100, "seeds": 100, "events": "none"}
PERSONA: dict[str, Any] = {"name": "Ada", "prefers_high_priority": 0.5, "prefers_overdue": 0.1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """One service for the whole table: nothing that is refused leaves a trace."""
    async with run_service(tmp_path_factory.mktemp("simulations")) as service:
        yield service


async def start(service: Service, **fields: Any) -> dict[str, Any]:
    response = await service.post("/simulations", fields)
    assert response.status_code == 202, response.text
    run: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/simulations/{run['id']}"
    return run


async def wait_until(service: Service, run: int, *states: str, done: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(2400):
        found = read_ok(await service.get(f"/simulations/{run}"))
        if found["state"] in states and found["progress"]["done"] >= done:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"run {run} did not become {states}")


async def test_a_run_is_queued_played_and_told_and_its_answers_fit_their_schemas(service: Service) -> None:
    def check_fits(answer: Any, method: str, path: str, status: str) -> None:
        operation = DOCUMENT["paths"][path][method]
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer)

    run = await start(service, **SHORT)
    assert (run["state"], run["client"], run["error"]) == ("queued", "anonymous", None)
    assert run["progress"] == {"done": 0, "total": 96, "seconds_left": None}
    assert run["plan"]["policies"] == ["linucb-v1", "linucb-v2"]
    check_fits(run, "post", "/simulations", "202")
    check_fits(read_ok(await service.get(f"/simulations/{run['id']}")), "get", "/simulations/{run}", "200")
    ended = await wait_until(service, run["id"], "done")
    assert ended["progress"] == {"done": 96, "total": 96, "seconds_left": None}
    assert ended["created"] <= ended["started"] <= ended["ended"]
    for name in ("linucb-v1", "linucb-v2"):
        policy = ended["policies"][name]
        assert policy["decisions"] == 48
        assert {"mean_reward", "stderr", "gap_closed", "regret"} <= policy.keys()
        assert len(policy["by_decision"]["expected_reward"]) == 8
        assert set(ended["personas"][name]) == set(ended["personas"]["linucb-v1"])
    assert set(ended["baselines"]) == {"random", "oracle"}
    check_fits(ended, "get", "/simulations/{run}", "200")
    check_fits(read_ok(await service.get("/simulations")), "get", "/simulations", "200")
    check_fits(
        read_ok(await service.post(f"/simulations/{run['id']}/cancel")), "post", "/simulations/{run}/cancel", "200"
    )


async def test_every_example_is_taken(service: Service) -> None:
    body = DOCUMENT["paths"]["/simulations"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"]
    for example in body["examples"].values():
        run = await start(service, **example["value"])
        assert run["progress"]["total"] > 0
        assert (await service.client.delete(f"/simulations/{run['id']}")).status_code == 204


async def test_what_is_left_out_has_its_default_and_a_run_shows_its_progress_until_it_is_cancelled_and_deleted(
    service: Service,
) -> None:
    started = await start(service)
    run, plan = started["id"], started["plan"]
    assert plan["policies"] == ["linucb-v1", "egreedy-v1", "linucb-v2"]
    assert (plan["world"], plan["personas"], plan["days"], plan["seeds"], plan["judge"]["kind"]) == (
        "shipped",
        14,
        30,
        20,
        "rule",
    )
    half = await wait_until(service, run, "running", done=1)
    assert half["progress"]["seconds_left"] > 0
    assert sum(policy["decisions"] for policy in half["policies"].values()) == half["progress"]["done"]
    cancelled = read_ok(await service.post(f"/simulations/{run}/cancel"))
    assert cancelled["state"] == "cancelled"
    assert read_ok(await service.post(f"/simulations/{run}/cancel"))["ended"] == cancelled["ended"]
    assert (await wait_until(service, run, "cancelled"))["progress"]["done"] > 0
    deleted = await service.client.delete(f"/simulations/{run}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    read_problem(await service.get(f"/simulations/{run}"), 404, "unknown-simulation")
    read_problem(await service.client.delete(f"/simulations/{run}"), 404, "unknown-simulation")
    read_problem(await service.post(f"/simulations/{run}/cancel"), 404, "unknown-simulation")
    assert read_ok(await service.get("/simulations"))["simulations"] == []


async def test_runs_are_listed_newest_first_and_paged(service: Service) -> None:
    runs = [(await start(service, **SHORT))["id"] for _ in range(3)]
    page = read_ok(await service.get("/simulations", limit=2))
    assert [run["id"] for run in page["simulations"]] == [runs[2], runs[1]]
    rest = read_ok(await service.get("/simulations", limit=2, before=page["next"]))
    assert ([run["id"] for run in rest["simulations"]], rest["next"]) == ([runs[0]], None)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"judge": "command"}', "judge"),
        ('{"judge": {"kind": "command", "command": ["sh"]}}', "judge"),
        (f'{{"judge_command": "{CANARY}"}}', "body"),
        (f'{{"url": "http://{CANARY}"}}', "body"),
        (f'{{"{CANARY}": 1}}', "body"),
        ('{"users": "x"}', "body"),
        ('{"definitions": {}}', "body"),
        (f'{{"world": "/etc/{CANARY}.toml"}}', None),
        ('{"world": {"personas": []}}', None),
        ('{"world": {"personas": [{"name": "Ada"}]}}', None),
        ('{"policies": []}', "policies"),
        ('{"policies": ["linucb-v1", "linucb"]}', "policies"),
        ('{"personas": 0}', "personas"),
        ('{"personas": 10001}', "personas"),
        ('{"days": true}', "days"),
        ('{"seeds": 1001}', "seeds"),
        ('{"candidates": 101}', "candidates"),
        ('{"first_seed": -1}', "first_seed"),
        ('{"day_of_week": 7}', "day_of_week"),
        ('{"reflex_rate": NaN}', "reflex_rate"),
        ('{"events": "some"}', "events"),
        ('{"personas": 1000, "days": 1000, "seeds": 10, "events": "none"}', "seeds"),
        ('{"judge": "llm", "personas": 1000}', "seeds"),
        ("[]", "body"),
    ],
)
async def test_what_only_a_command_line_may_say_and_what_is_wrong_is_refused(
    shared: Service, body: str, field: str | None
) -> None:
    told = read_problem(await shared.post("/simulations", body), 422, "invalid-request")
    if field is not None:
        assert {error["field"] for error in told["errors"]} == {field}
    assert read_ok(await shared.get("/simulations"))["simulations"] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_policy_that_is_not_there_and_a_run_that_is_none_are_404(shared: Service) -> None:
    read_problem(await shared.post("/simulations", {"policies": ["nobody"]}), 404, "unknown-policy")
    read_problem(await shared.get("/simulations/1"), 404, "unknown-simulation")
    for number in ("0", "-1", "x", str(2**70)):
        read_problem(await shared.get(f"/simulations/{number}"), 422, "invalid-request", "run")


async def test_personas_may_come_with_the_request_and_without_a_key_the_rule_judges(service: Service) -> None:
    run = await start(service, **SHORT, world={"personas": [PERSONA, {**PERSONA, "name": "Bea"}]}, judge="llm")
    ended = await wait_until(service, run["id"], "done")
    assert set(ended["personas"]["linucb-v1"]) == {"Ada", "Bea"}
    for policy in ended["policies"].values():
        assert policy["judges"] == [{"judge": "rule", "fallback": "no-key", "decisions": policy["decisions"]}]
    twice = {**SHORT, "world": {"personas": [PERSONA, PERSONA]}}
    assert "same name" in read_problem(await service.post("/simulations", twice), 422, "invalid-request")["detail"]


async def test_only_an_admin_may_simulate(tmp_path: Path) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS) as service:
        for name, (role, secret) in KEYS.items():
            async with client_of(service.app, authorization=f"Bearer {secret}") as caller:
                answers = [
                    await caller.post("/simulations", {**SHORT, "seeds": 1}),
                    await caller.get("/simulations"),
                    await caller.get("/simulations/1"),
                    await caller.post("/simulations/1/cancel"),
                    await caller.client.delete("/simulations/1"),
                ]
            statuses = [answer.status_code for answer in answers]
            assert statuses == ([202, 200, 200, 200, 204] if role == "admin" else [403] * 5), name
            if role == "admin":
                assert answers[0].json()["client"] == name


async def test_a_killed_service_leaves_an_interrupted_run_and_no_child(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start_server(state) as server:
        async with connect_to(server.port) as connection:
            status, run = await connection.send_request("POST", "/simulations", ENDLESS)
            assert status == 202
            while run["progress"]["done"] == 0:
                await asyncio.sleep(0.1)
                status, run = await connection.send_request("GET", f"/simulations/{run['id']}")
                assert (status, run["error"]) == (200, None)
        server.kill()
    with start_server(state) as server:
        async with connect_to(server.port) as connection:
            status, again = await connection.send_request("GET", f"/simulations/{run['id']}")
            assert (status, again["state"]) == (200, "interrupted")
            assert again["progress"]["done"] >= run["progress"]["done"]
            await asyncio.sleep(1.5)
            _, later = await connection.send_request("GET", f"/simulations/{run['id']}")
            assert later == again, "nobody plays it any more"
        assert server.terminate() == 0
    assert again["policies"]["linucb-v1"]["decisions"] == again["progress"]["done"]
