"""Logs and models on the wire of two services over one PostgreSQL: what one is asked, both have done."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.api.given import Service, read_ok, run_service
from tests.personalizer.given import BASE, LOOP_BASE, NARROW_LOOP, make_loop, rank, read_error, reward
from tests.personalizer.test_resource import load_sums, use
from tests.store.postgres.shared import run_law_server

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(
    tmp_path_factory: pytest.TempPathFactory, open_config: Path
) -> AsyncIterator[tuple[Service, Service]]:
    """Two services whose policy reads any JSON."""
    places = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    with run_law_server() as url:
        settings: dict[str, Any] = {"bandstand_config": open_config, "active_policy": "open-egreedy", "state_url": url}
        async with (
            run_service(places[0], durability="full", **settings) as one,
            run_service(places[1], durability="full", **settings) as other,
        ):
            yield one, other


def flatten(sums: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Numbers by where they stand; but for the time of the newest event, which a decision is too."""
    found: dict[tuple[str, ...], Any] = {}
    for user, states in sums.items():
        for name, state in states.items():
            for key, value in state.items():
                if key == "ridge":
                    found |= {(user, name, part): held for part, held in value.items()}
                elif key != "last_updated":
                    found[user, name, key] = value
    return found


async def require_sums(service: Service, base: str, expected: dict[tuple[str, ...], Any]) -> None:
    found = flatten(await load_sums(service, base))
    assert found.keys() == expected.keys()
    for place, value in found.items():
        assert value == pytest.approx(expected[place], abs=1e-9), place


async def test_a_model_that_one_gives_the_other_takes_back_as_it_was(services: tuple[Service, Service]) -> None:
    one, other = services
    await make_loop(one, NARROW_LOOP)
    for base in (LOOP_BASE, BASE):
        await use(one, base, count=9)
        before = flatten(await load_sums(one, base))
        given = (await one.get(f"{base}/model")).content
        for number in range(9, 15):
            await rank(other, base, eventId=f"e{number}")
            await reward(other, f"e{number}", -1.0, base)
        assert flatten(await load_sums(one, base)) != before
        for service in (other, one):
            put = await service.client.put(f"{base}/model", content=given)
            assert put.status_code == 204, put.text
            for each in services:
                await require_sums(each, base, before)
        await rank(one, base, eventId="after")
        await reward(other, "after", 1.0, base)
        await reward(one, "e8", 1.0, base)  # it stands already
        path = base.removesuffix(BASE)
        for each in services:
            assert read_ok(await each.get(f"{path}/stats/default"))["reward_count"] == 7
            assert (await each.get(f"{path}/decisions/e14")).status_code == 200, "the log stays"
    strange = await other.client.put(f"{BASE}/model", content=(await one.get(f"{LOOP_BASE}/model")).content)
    assert "one model" in read_error(strange, 400, "InvalidModelImportFormat") or "model for each" in strange.text
    given = (await one.get(f"{BASE}/model")).content
    assert (await one.client.delete("/users/default")).status_code == 200
    assert (await other.client.put(f"{BASE}/model", content=given)).status_code == 204
    assert "default" not in await load_sums(one, BASE), "who was erased since is left out"


async def test_logs_that_one_deletes_are_gone_for_both_and_what_was_learned_stays(
    services: tuple[Service, Service],
) -> None:
    one, other = services
    if "menu" not in {each["name"] for each in read_ok(await one.get("/loops"))["loops"]}:
        await make_loop(one, NARROW_LOOP)
    for base in (BASE, LOOP_BASE):
        for number in range(20, 29):
            await rank(other, base, eventId=f"e{number}")
            await reward(one, f"e{number}", 0.5, base)
        before = flatten(await load_sums(other, base))
        assert (await one.client.delete(f"{base}/logs")).status_code == 204
        for service in services:
            read_error(await service.get(f"{base}/logs/properties"), 404, "LogsPropertiesNotFound")
            await require_sums(service, base, before)
        await rank(one, base, eventId="late")
        await reward(other, "late", 1.0, base)
        path = base.removesuffix(BASE)
        counts = [read_ok(await each.get(f"{path}/stats/default"))["reward_count"] for each in services]
        assert counts[0] == counts[1] >= 10
