"""Loops of two services over one PostgreSQL: made, changed and deleted through either, and served alike by both."""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bandstand.background_runs import RunQueue
from bandstand.child_process import build_python_command
from bandstand.cli.state.directory import resolve_location
from bandstand.cli.state.move import list_returning_loops, open_all
from bandstand.store.maintenance import rebuild_verify
from bandstand.store.maintenance.move import move
from bandstand.store.maintenance.move_out import move_out
from bandstand.store.postgres.address import LedgerAddress
from tests.api.given import TWO, Service, read_ok, run_service
from tests.store.postgres.shared import run_law_server

REQUEST = {"user_id": "ada", "candidates": TWO}
WIDER = {"wider": {"kind": "linucb", "schema": "tips-v2", "floor": 0.3}}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_law_server() as url:
        yield url


async def list_schemas(database: str) -> list[str]:
    session = await asyncpg.connect(LedgerAddress.parse(database).dsn)
    try:
        query = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bandstand%' ORDER BY 1"
        return [row[0] for row in await session.fetch(query)]
    finally:
        await session.close()


async def put(service: Service, name: str, **definition: Any) -> int:
    answer = await service.client.put(f"/loops/{name}", json=definition)
    assert answer.status_code in {200, 201}, answer.text
    return answer.status_code


async def score(service: Service, loop: str, **fields: Any) -> dict[str, Any]:
    return dict(read_ok(await service.post(f"/loops/{loop}/score", REQUEST | fields)))


async def count_rewards(service: Service, loop: str) -> int:
    return int(read_ok(await service.get(f"/loops/{loop}/stats/ada"))["reward_count"])


async def teach(one: Service, other: Service, loop: str, value: float = 1.0) -> dict[str, Any]:
    """A decision of one, and its reward through the other."""
    decision = (await score(one, loop))["decision_id"]
    return dict(read_ok(await other.post(f"/loops/{loop}/reward", {"decision_id": decision, "reward": value})))


async def change_the_default_loop(one: Service, other: Service) -> None:
    """Give it another policy through one; the other takes it up, and rewards of decisions from before teach."""
    waits = (await one.score("ada"))["decision_id"]
    await put(one, "default", policies=WIDER, policy="wider", retention_days=30)
    assert (await one.score("ada"))["policy"] == "wider"
    async with asyncio.timeout(60):
        while (await other.score("ada"))["policy"] != "wider":  # noqa: ASYNC110 (another process has no event here)
            await asyncio.sleep(0.05)
    for service in (one, other):
        configuration = read_ok(await service.get("/personalizer/v1.0/configurations/service"))
        assert (configuration["explorationPercentage"], configuration["logRetentionDays"]) == (0.3, 30)
    assert read_ok(await other.post("/reward", {"decision_id": waits, "reward": 1.0}))["applied"]


async def share_one_model(one: Service, other: Service) -> None:
    """One model for everybody: who is erased was never in it, whoever was asked."""
    await put(other, "all", scope="loop")
    for user in ("ada", "bob"):
        mine = (await score(one, "all", user_id=user))["decision_id"]
        read_ok(await other.post("/loops/all/reward", {"decision_id": mine, "reward": 0.5}))
    assert await count_rewards(one, "all") == 2
    assert (await other.client.delete("/loops/all/users/bob")).json()["erased"]["rewards"] == 1
    assert await count_rewards(one, "all") == await count_rewards(other, "all") == 1
    assert (await one.client.delete("/loops/all")).status_code == 204


@pytest.mark.slow
async def test_two_services_serve_the_loops_that_either_makes(tmp_path: Path, database: str) -> None:
    places = tmp_path / "one", tmp_path / "other"
    async with (
        run_service(places[0], state_url=database, durability="full") as one,
        run_service(places[1], state_url=database, durability="full") as other,
    ):
        assert await put(one, "menu", mode="apprentice") == 201
        assert await put(other, "menu", mode="apprentice") == 200
        assert (await score(other, "menu"))["policy"] == "first-v1"
        for number in range(1, 4):
            assert (await teach(one, other, "menu"))["applied"]
            assert await count_rewards(one, "menu") == await count_rewards(other, "menu") == number
            one, other = other, one  # noqa: PLW2901 (they take turns)
        assert read_ok(await one.get("/stats/ada"))["reward_count"] == 0, "nothing crosses"
        read_ok(await one.post("/loops/menu/promote"))
        assert (await score(other, "menu"))["policy"] == "linucb-v2", "acknowledged anywhere, it holds everywhere"
        await put(other, "menu", mode="logging")
        assert (await score(one, "menu"))["policy"] == "first-v1"
        assert (await teach(one, other, "menu"))["reason"] == "logging_only"
        # The default loop too, whose mode is a change like any other.
        await put(one, "default", mode="apprentice")
        assert (await other.score("ada"))["policy"] == "first-v1"
        read_ok(await other.post("/loops/default/promote"))
        assert (await one.score("ada"))["policy"] == "linucb-v2"
        await change_the_default_loop(one, other)
        # Another policy takes a new start in each process.
        await put(one, "menu", policy="egreedy-v1", rewards={"window": 3600, "default_reward": 0.25})
        assert (await score(one, "menu"))["policy"] == "egreedy-v1"
        held = (await score(one, "menu", defer=True))["decision_id"]
        read_ok(await one.post(f"/loops/menu/decisions/{held}/activate"))
        receipt = (await other.client.delete("/users/ada")).json()
        assert list(receipt["loops"]) == ["default", "menu"]
        assert receipt["loops"]["menu"]["decisions"] > 0
        assert await count_rewards(one, "menu") == 0
        schemas = await list_schemas(database)
        assert [each[: len("bandstand_menu")] for each in schemas] == ["bandstand", "bandstand_menu"]
        refused = await one.client.put("/loops/menu", json={"scope": "loop"})
        assert refused.status_code == 422, "whose the models are is for good"
        await share_one_model(one, other)
        assert (await other.client.delete("/loops/menu")).status_code == 204
        late = await one.post("/loops/menu/score", REQUEST)
        assert late.status_code in {404, 503}, "and no 500, whether or not it has heard of it"
        assert await put(one, "menu") == 201
        assert await count_rewards(other, "menu") == 0, "a new loop learns anew"
        schemas, before = await list_schemas(database), schemas
        assert len(set(schemas) - set(before)) == 1
    async with run_service(tmp_path / "third", state_url=database, durability="full") as third:
        assert [each["name"] for each in read_ok(await third.get("/loops"))["loops"]] == ["default", "menu"]
        assert (await score(third, "menu"))["policy"] == "linucb-v2"
        assert (await third.score("ada"))["policy"] == "wider", "what was changed stands for whoever comes later"
        actions = [each["action"] for each in read_ok(await third.get("/loops/menu"))["changes"]]
        assert actions == ["create", "delete", "change", "change", "change", "create"]
        for page in ("/metrics", "/console/loops", "/loops/menu/console", "/loops/menu/health", "/loops/menu/stats"):
            assert (await third.get(page)).status_code == 200, page


class Cut(Exception):  # noqa: N818 (nobody's error)
    """Ends a move where it would be killed."""


async def read_all(service: Service) -> tuple[list[Any], list[float]]:
    """What a service says of its loops: words and counts, and what was learned."""
    said: list[Any] = [[(each["name"], each["mode"]) for each in read_ok(await service.get("/loops"))["loops"]]]
    learned: list[float] = []
    for name in ("default", "menu", "all"):
        for user in ("ada", "bob"):
            stats = read_ok(await service.get(f"/loops/{name}/stats/{user}"))
            said.append([stats["reward_count"], stats["pulls"]])
        model = (await service.get(f"/loops/{name}/personalizer/v1.0/model")).content
        for line in sorted(map(json.loads, gzip.decompress(model).splitlines()), key=lambda each: str(each["user_id"])):
            for policy, state in sorted(line["policies"].items()):
                said.append((name, line["user_id"], policy, state["pulls"], state["reward_count"]))
                learned += [] if state["ridge"] is None else [*state["ridge"]["b"], *state["ridge"]["gram"]]
        said.append([each["action"] for each in read_ok(await service.get(f"/loops/{name}"))["changes"]])
    return said, learned


def build_step(fatal: str | None) -> Callable[[str], None]:
    """What ends a move as that step begins."""

    def step(name: str) -> None:
        if name == fatal:
            raise Cut

    return step


def move_in(place: Path, url: str, fatal: str | None) -> None:
    with open_all(resolve_location(str(place))) as (opened, loops):
        assert asyncio.run(move(opened, url, loops=loops, everybody=True, step=build_step(fatal))).target


def move_back(url: str, place: Path, fatal: str | None) -> None:
    location = resolve_location(str(place))
    loops = list_returning_loops(url, location)
    done = move_out(url, place, location.catalogue, loops=loops, everybody=True, step=build_step(fatal))
    assert asyncio.run(done).target


async def cut_short(work: Callable[..., None], *given: Any, steps: Sequence[str]) -> None:
    """Do something that is cut short at each of these steps, and then to the end."""
    for fatal in steps:
        with pytest.raises(Cut):
            await asyncio.to_thread(work, *given, fatal)
    await asyncio.to_thread(work, *given, None)


async def live(service: Service) -> None:
    """Teach three loops by three people, one of whom goes."""
    await put(service, "menu", mode="apprentice")
    await put(service, "all", scope="loop")
    for number in range(9):
        for name in ("default", "menu", "all"):
            decision = await score(service, name, user_id=("ada", "bob", "cleo")[number % 3])
            given = {"decision_id": decision["decision_id"], "reward": number / 10}
            read_ok(await service.post(f"/loops/{name}/reward", given))
    assert (await service.client.delete("/users/cleo")).status_code == 200


@pytest.mark.slow
async def test_a_directory_is_moved_with_its_loops_and_back_however_often_that_is_cut_short(
    tmp_path: Path, database: str
) -> None:
    there, back, url = tmp_path / "there", tmp_path / "back", database.replace("schema=bandstand", "schema=arrived")
    async with run_service(there, durability="full") as service:
        await live(service)
        said, learned = await read_all(service)
    steps = ["loop menu", "copy rewards", "mark", "mark loop all", "mark loop menu", "release"]
    await cut_short(move_in, there, url, steps=steps)
    async with (
        run_service(tmp_path / "one", state_url=url, durability="full") as one,
        run_service(tmp_path / "other", state_url=url, durability="full") as other,
    ):
        for each in (one, other):
            found = await read_all(each)
            assert found[0] == said
            assert found[1] == pytest.approx(learned, abs=1e-9)
        await teach(one, other, "all")
        assert await count_rewards(one, "all") == await count_rewards(other, "all") == 7
        assert (await other.client.delete("/users/bob")).status_code == 200
        assert await count_rewards(one, "all") == await count_rewards(other, "all") == 4
        said, learned = await read_all(one)
    steps = ["loop menu", "mark", "release loop all", "release loop menu", "release"]
    await cut_short(move_back, url, back, steps=steps)
    async with run_service(back, durability="full") as service:
        found = await read_all(service)
        assert found[0] == said
        assert found[1] == pytest.approx(learned, abs=1e-9)
        await teach(service, service, "all")
        assert (await service.client.delete("/users/bob")).status_code == 200
        assert await count_rewards(service, "all") == 5
    for name in ("menu", "all"):
        assert rebuild_verify.verify(back / "loops" / name, resolve_location(str(back), name).catalogue).is_sound


@contextmanager
def starting_no_children() -> Iterator[None]:
    """Let what is queued wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunQueue, "_run_child", lambda *_: asyncio.sleep(0))
        yield


async def wait_until_ended(service: Service, path: str) -> dict[str, Any]:
    async with asyncio.timeout(300):
        while True:
            run = dict(read_ok(await service.get(path)))
            if run["state"] not in {"queued", "running"}:
                return run
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_an_evaluation_through_one_service_is_seen_through_the_other(tmp_path: Path, database: str) -> None:
    asked = {"policies": ["linucb-v2"], "estimators": ["ips"]}
    async with run_service(tmp_path / "one", state_url=database, durability="full") as one:
        async with run_service(tmp_path / "other", state_url=database, durability="full") as other:
            await put(one, "shelf")
            for value in (1.0, -0.5, 0.25):
                await teach(one, other, "shelf", value)
            queued = (await one.post("/loops/shelf/evaluations", asked)).json()
            path = f"/loops/shelf/evaluations/{queued['id']}"
            made = await wait_until_ended(other, path)
            assert (made["state"], made["error"]) == ("done", None)
            assert made["report"]["log"]["decisions"] == 3
            assert (await one.get("/evaluations")).json()["evaluations"] == [], "each loop has its own"
            with starting_no_children():
                waiting = (await other.post("/loops/shelf/evaluations", asked)).json()["id"]
                cancelled = await one.post(f"/loops/shelf/evaluations/{waiting}/cancel")
                assert read_ok(cancelled)["state"] == "cancelled"
                left = (await other.post("/loops/shelf/evaluations", asked)).json()["id"]
        interrupted = read_ok(await one.get(f"/loops/shelf/evaluations/{left}"))
        assert interrupted["state"] == "interrupted", "its service is gone"
        assert (await one.client.delete(path)).status_code == 204
        assert (await one.get(path)).status_code == 404
    said = await asyncio.create_subprocess_exec(
        *build_python_command("evaluate", "--policy", "linucb-v2", "--loop", "shelf", "--json"),
        env={"PATH": "/usr/bin:/bin", "STATE_URL": database},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    report = json.loads((await said.communicate())[0])
    said = await asyncio.create_subprocess_exec(
        *build_python_command("log", "export", "log", "--loop", "shelf", "--json"),
        env={"PATH": "/usr/bin:/bin", "STATE_URL": f"{database}&target_session_attrs=prefer-standby"},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    exported = json.loads((await said.communicate())[0])
    assert (exported["days"], exported["first"]) == (0, None), "no day is over yet"
    assert report["log"] == made["report"]["log"]
