"""The joining of the parts: settings reach them, a bad one stops the start, and what was opened is closed."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError
from bandstand.wiring.app import create_app
from tests.api.given import CANARY, TWO, Service, client_of, read_ok, read_problem, run_service


def threads() -> set[str]:
    """The threads there are, but for those that asyncio itself keeps for the next use."""
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


async def score_until(service: Service, count: int) -> list[str]:
    """Score as often as it takes: where one event may wait for the ledger, the next may come too soon."""
    decision_ids: list[str] = []
    async with asyncio.timeout(60):
        while len(decision_ids) < count:
            answer = await service.post("/score", {"user_id": "ada", "candidates": TWO})
            if answer.status_code == 200:
                decision_ids.append(answer.json()["decision_id"])
            else:
                read_problem(answer, 503, "overloaded")
    return decision_ids


async def test_a_service_is_started_used_and_stopped_and_nothing_is_left_running(tmp_path: Path) -> None:
    before, tasks = threads(), asyncio.all_tasks()
    async with run_service(tmp_path) as service:
        await service.score()
        assert read_ok(await service.get("/health"))["active_policy"] == "linucb-v2"
    assert threads() <= before  # one of another test may have ended meanwhile
    assert asyncio.all_tasks() == tasks


async def test_the_settings_reach_the_parts(tmp_path: Path) -> None:
    async with run_service(
        tmp_path, durability="full", active_policy="egreedy-v1", max_pending=1, allowed_hosts="box.lan"
    ) as service:
        health = read_ok(await service.get("/health"))
        assert (health["durability"], health["active_policy"]) == ("full", "egreedy-v1")
        assert (await service.client.get("/health", headers={"host": "box.lan"})).status_code == 200
        decision_ids = await score_until(service, 30)
        bodies = [{"decision_id": decision_id, "reward": 1} for decision_id in decision_ids]
        statuses = [
            answer.status_code for answer in await asyncio.gather(*(service.post("/reward", b) for b in bodies))
        ]
        assert set(statuses) == {200, 503}, "one may wait, and no more"
        assert (await service.stats())["reward_count"] == statuses.count(200)


async def test_max_warm_users_bounds_what_is_in_memory_and_loses_nothing(tmp_path: Path) -> None:
    async with run_service(tmp_path, max_warm_users=3) as service:
        for number in range(20):
            await service.reward_legacy(f"user-{number}")
        async with asyncio.timeout(60):
            while "bandstand_warm_users 3.0" not in (text := (await service.get("/metrics")).text):
                assert "bandstand_warm_users" in text
                await asyncio.sleep(0.01)
                await service.stats("user-0")  # a load is what notices that there are too many
        for number in range(20):
            assert (await service.stats(f"user-{number}"))["reward_count"] == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"active_policy": "nothing"}, "ACTIVE_POLICY"),
        ({"bandstand_config": Path("nowhere.toml")}, "BANDSTAND_CONFIG='nowhere.toml'"),
    ],
)
def test_a_wrong_configuration_makes_no_application(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        create_app(Settings(state_dir=tmp_path / "state", **settings))
    assert not (tmp_path / "state").exists()


async def test_to_make_an_application_touches_no_state(tmp_path: Path) -> None:
    app = create_app(Settings(state_dir=tmp_path / "state"))
    async with client_of(app) as service:
        read_ok(await service.get("/openapi.json"))
    assert not (tmp_path / "state").exists()


async def test_a_state_directory_in_use_stops_the_start_and_stays_its_owner_s(tmp_path: Path) -> None:
    async with run_service(tmp_path) as first:
        with pytest.raises(ConfigurationError, match="in use by another process"):
            async with run_service(tmp_path):
                pass
        await first.score()
    async with run_service(tmp_path) as next_one:
        assert (await next_one.stats())["pulls"] == 1


async def test_a_start_that_fails_half_way_closes_what_it_had_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tasks = threads(), asyncio.all_tasks()

    async def fail(_: object) -> None:
        raise ConfigurationError("not today")

    with monkeypatch.context() as patch:
        patch.setattr("bandstand.wiring.running_loop.SimulationQueue.open", fail)
        with pytest.raises(ConfigurationError, match="not today"):
            async with run_service(tmp_path):
                pass
    assert threads() <= before  # one of another test may have ended meanwhile
    assert asyncio.all_tasks() == tasks
    async with run_service(tmp_path) as service:
        await service.score()


async def test_a_changed_schema_under_the_same_name_stops_the_start_with_the_way_out(tmp_path: Path) -> None:
    def write_config(divisor: int) -> Path:
        config = tmp_path / f"{divisor}.toml"
        config.write_text(
            '[policies.shop-v1]\nkind = "linucb"\nschema = "shop"\n[schemas.shop]\nversion = 1\n'
            f'[[schemas.shop.features]]\nname = "p"\nsource = "candidate.p"\nencoding = "scale"\ndivisor = {divisor}\n',
            encoding="utf-8",
        )
        return config

    state = tmp_path / "state"
    async with run_service(state, bandstand_config=write_config(1), active_policy="shop-v1") as service:
        await service.reward_legacy(features={"p": 1})
    with pytest.raises(ConfigurationError, match="bandstand state migrate --schema shop"):
        async with run_service(state, bandstand_config=write_config(2), active_policy="shop-v1"):
            pass


async def test_a_retry_after_a_full_queue_counts_once(tmp_path: Path) -> None:
    async with run_service(tmp_path, max_pending=1) as service:
        waiting = set(await score_until(service, 20))
        async with asyncio.timeout(60):
            while waiting:
                asked = sorted(waiting)
                answers = await asyncio.gather(
                    *(service.post("/reward", {"decision_id": each, "reward": 0.5}) for each in asked)
                )
                for decision_id, answer in zip(asked, answers, strict=True):
                    if answer.status_code == 200:
                        waiting.discard(decision_id)
                    else:
                        read_problem(answer, 503, "overloaded")
                        assert answer.headers["retry-after"] == "1"
        stats = await service.stats()
        assert (stats["reward_count"], stats["cumulative_reward"]) == (20, 10.0)


async def test_the_start_is_logged_without_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with run_service(tmp_path, api_keys=f"ops:admin:{CANARY}"):
        pass
    captured = capsys.readouterr()
    assert "serving" in captured.out + captured.err
    assert CANARY not in captured.out + captured.err
