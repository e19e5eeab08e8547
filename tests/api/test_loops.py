"""Loops on the wire: one service, several decision points, and nothing of one in another."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.api.given import JSON, TWO, Service, client_of, read_ok, read_problem, run_service

KEYS = {"shop": "serve", "ops": "admin", "menu-app@menu": "serve", "menu-ops@menu": "admin"}
API_KEYS = ",".join(f"{name}:{role}:{name.partition('@')[0]}-s3cret" for name, role in KEYS.items())
SHELF: dict[str, Any] = {
    "include": [],
    "policy": "shelf",
    "policies": {"shelf": {"kind": "linucb", "schema": "shelf"}},
    "schemas": {
        "shelf": {
            "version": 1,
            "features": [
                {"name": "priority", "source": "candidate.priority", "encoding": "onehot", "values": ["high", "low"]}
            ],
        }
    },
}


def as_key(name: str) -> dict[str, str]:
    return {"x-api-key": f"{name}-s3cret"}


async def ask(
    service: Service, method: str, path: str, body: object = None, *, key: str | None = None
) -> httpx.Response:
    content = None if body is None else json.dumps(body)
    headers = ({} if key is None else as_key(key)) | (JSON if body is not None else {})
    return await service.client.request(method, path, content=content, headers=headers)


async def score(service: Service, path: str, *, key: str | None = None, **fields: Any) -> httpx.Response:
    return await ask(service, "POST", path, {"user_id": "ada", "candidates": TWO, **fields}, key=key)


async def teach(service: Service, loop: str, count: int = 1) -> None:
    for _ in range(count):
        picked = read_ok(await score(service, f"{loop}/score"))
        read_ok(await ask(service, "POST", f"{loop}/reward", {"decision_id": picked["decision_id"], "reward": 1.0}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service with keys, two of them bound to its loop menu."""
    async with run_service(tmp_path_factory.mktemp("keyed"), api_keys=API_KEYS) as service:
        assert (await ask(service, "PUT", "/loops/menu", {}, key="ops")).status_code == 201
        yield service


async def test_nothing_crosses_and_an_erasure_finds_all(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        for name, definition in (("menu", {}), ("shelf", SHELF)):
            made = await ask(service, "PUT", f"/loops/{name}", definition)
            assert made.status_code == 201, made.text
            assert (await ask(service, "PUT", f"/loops/{name}", definition)).status_code == 200
        await teach(service, "")
        await teach(service, "/loops/menu", 2)
        text = [{"id": word, "content": "…", "source": "s", "features": {"priority": word}} for word in ("high", "low")]
        picked = read_ok(await score(service, "/loops/shelf/score", candidates=text, decision_id="d-1"))
        assert picked["policy"] == "shelf"
        read_problem(await score(service, "/score", candidates=text), 422, "invalid-request")
        for loop, count in (("", 1), ("/loops/default", 1), ("/loops/menu", 2), ("/loops/shelf", 0)):
            assert read_ok(await service.get(f"{loop}/stats/ada"))["reward_count"] == count, loop
            assert read_ok(await service.get(f"{loop}/stats"))["rewards"] == count, loop
        read_problem(await service.get("/decisions/d-1"), 404, "unknown-decision")
        read_problem(await service.post("/reward", {"decision_id": "d-1", "reward": 1}), 404, "unknown-decision")
        read_ok(await score(service, "/loops/menu/score", decision_id="d-1"))  # an id is one of its loop
        metrics = (await service.get("/metrics")).text
        assert 'bandstand_rewards_total{applied="true",policy="linucb-v2"} 1.0' in metrics
        assert 'bandstand_rewards_total{applied="true",loop="menu",policy="linucb-v2"} 2.0' in metrics
        assert metrics.count("# TYPE bandstand_rewards_total counter") == 1
        own = read_ok(await service.get("/loops/shelf/openapi.json"))
        assert own["servers"] == [{"url": "/loops/shelf"}]
        assert set(own["components"]["schemas"]["Features"]["properties"]) == {"priority"}

        read_ok(await ask(service, "DELETE", "/loops/shelf/users/ada"))
        assert read_ok(await service.get("/stats/ada"))["reward_count"] == 1, "a loop's own address means that loop"
        receipt = read_ok(await ask(service, "DELETE", "/users/ada"))
        assert {name: counts["rewards"] for name, counts in receipt["loops"].items()} == {
            "default": 1,
            "menu": 2,
            "shelf": 0,
        }
        assert (receipt["erased"]["rewards"], receipt["erased"]["decisions"]) == (3, 4)
        assert read_ok(await service.get("/loops/menu/users"))["users"] == []
        assert (await ask(service, "DELETE", "/loops/menu")).status_code == 204
        read_problem(await score(service, "/loops/menu/score"), 404, "unknown-loop")
    assert not (tmp_path / "loops" / "menu").exists()
    async with run_service(tmp_path) as service:
        assert [loop["name"] for loop in read_ok(await service.get("/loops"))["loops"]] == ["default", "shelf"]
        again = read_ok(await ask(service, "DELETE", "/users/ada"))
        assert again["erased"]["decisions"] == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_that_is_bound_sees_its_loop_and_no_other(keyed: Service) -> None:
    picked = read_ok(await score(keyed, "/score", key="menu-app", decision_id="of-menu"))
    assert picked["decision_id"] == "of-menu"
    read_ok(await ask(keyed, "GET", "/loops/menu/decisions/of-menu", key="ops"))
    read_problem(await ask(keyed, "GET", "/decisions/of-menu", key="ops"), 404, "unknown-decision")
    read_ok(await score(keyed, "/loops/menu/score", key="menu-app"))
    for loop in ("default", "other", "men", ""):
        read_problem(await score(keyed, f"/loops/{loop}/score", key="menu-app"), 403, "forbidden")
    listed = read_ok(await ask(keyed, "GET", "/loops", key="menu-ops"))["loops"]
    assert [loop["name"] for loop in listed] == ["menu"]
    read_ok(await ask(keyed, "PUT", "/loops/menu", {"mode": "logging"}, key="menu-ops"))
    read_ok(await ask(keyed, "POST", "/loops/menu/promote", key="menu-ops"))
    read_problem(await ask(keyed, "DELETE", "/loops/menu", key="menu-ops"), 405, "method-not-allowed")
    read_problem(await ask(keyed, "PUT", "/loops/other", {}, key="menu-ops"), 403, "forbidden")
    changes = read_ok(await ask(keyed, "GET", "/loops/menu", key="ops"))["changes"]
    assert [(each["by"], (each["after"] or {})["mode"]) for each in changes] == [
        ("menu-ops", "online"),
        ("menu-ops", "logging"),
        ("ops", "online"),
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_loop_asks_for_the_same_roles_and_tells_a_stranger_nothing(keyed: Service) -> None:
    for name in ("menu", "nothing"):
        read_problem(await score(keyed, f"/loops/{name}/score"), 401, "unauthorized")
        read_problem(await ask(keyed, "GET", f"/loops/{name}/stats"), 401, "unauthorized")
        read_problem(await ask(keyed, "GET", f"/loops/{name}"), 401, "unauthorized")
        read_problem(await ask(keyed, "GET", f"/loops/{name}/stats", key="shop"), 403, "forbidden")
        read_problem(await ask(keyed, "PUT", f"/loops/{name}", {}, key="shop"), 403, "forbidden")
    read_problem(await score(keyed, "/loops/nothing/score", key="shop"), 404, "unknown-loop")
    for key, status in (("ops", 200), ("menu-ops", 403)):
        assert (await ask(keyed, "GET", "/stats", key=key)).status_code == 200
        assert (await ask(keyed, "GET", "/loops/default/stats", key=key)).status_code == status


@pytest.mark.asyncio(loop_scope="module")
async def test_one_log_in_opens_the_console_of_every_loop_and_a_bound_key_its_own(keyed: Service) -> None:
    async def log_in(client: httpx.AsyncClient, base: str, key: str) -> int:
        page = await client.get(f"{base}/console/login")
        token = page.text.partition('name="token" value="')[2].partition('"')[0]
        form = {"token": token, "key": f"{key}-s3cret", "next": "/console"}
        answer = await client.post(f"{base}/console/login", data=form)
        assert answer.headers.get("location", f"{base}/console") == f"{base}/console"
        return answer.status_code

    async with client_of(keyed.app) as person:
        assert await log_in(person.client, "", "ops") == 303
        assert (await person.client.get("/console/loops")).status_code == 200
        page = await person.client.get("/loops/menu/console/loops")
        assert page.status_code == 200
        assert '<span class="tag">menu</span>' in page.text
    async with client_of(keyed.app) as person:
        assert await log_in(person.client, "", "menu-ops") == 401
        assert await log_in(person.client, "/loops/menu", "menu-ops") == 303
        assert (await person.client.get("/loops/menu/console")).status_code == 200
        assert (await person.client.get("/console")).status_code == 303


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("Menu", {}, "name"),
        ("..%2Fx", {}, "name"),
        ("new", {"mod": "online"}, "loop.mod"),
        ("new", {"policy": "nothing"}, "policy"),
        ("new", {"rewards": 3}, "loop.rewards"),
        ("default", {"scope": "loop"}, "scope"),
        ("menu", {"scope": "everybody"}, "loop.scope"),
    ],
)
async def test_a_wrong_definition_is_named_and_makes_nothing(
    keyed: Service, name: str, body: object, field: str
) -> None:
    read_problem(await ask(keyed, "PUT", f"/loops/{name}", body, key="ops"), 422, "invalid-request", field)
    listed = read_ok(await ask(keyed, "GET", "/loops", key="ops"))["loops"]
    assert [loop["name"] for loop in listed] == ["default", "menu"]


async def test_the_default_loop_answers_as_ever_beside_others(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        before = {path: (await service.get(path)).content for path in ("/openapi.json", "/policies", "/users")}
        receipt = (await ask(service, "DELETE", "/users/ada")).content
        assert (await ask(service, "PUT", "/loops/menu", {})).status_code == 201
        await teach(service, "/loops/menu")
        assert {path: (await service.get(path)).content for path in before} == before
        assert (await ask(service, "DELETE", "/loops/menu")).status_code == 204
        assert (await ask(service, "DELETE", "/users/ada")).content == receipt
