"""Rewards over time by a clock of the test's own: what is taught of an event, and when."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic_core import to_json

from bandstand.api.asgi.foreign_wire import ForeignRequest
from bandstand.api.asgi.metrics import Metrics
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.personalizer.errors import CLIENT_REQUEST_ID
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.wire import PersonalizerWire
from bandstand.store.embedded.store import EmbeddedStore
from tests.personalizer.given import BASE, rank_body
from tests.service.given import Service, on_disk

WAIT, DEFAULT = 600.0, -0.5
SETTINGS = {
    aggregation: RewardSettings(window=WAIT, default_reward=DEFAULT, aggregation=aggregation)
    for aggregation in ("first", "sum")
}


class Wire:
    """The wire of a loop whose clock is the test's."""

    def __init__(self, service: Service) -> None:
        self.service = service
        deployment = service.deployment
        store = cast("EmbeddedStore", deployment.store)
        self._wire = PersonalizerWire(PersonalizerLoop(deployment, None), Metrics(), store, None, None)  # type: ignore[arg-type]  # nothing is evaluated or exported

    async def post(self, path: str, body: dict[str, Any] | None = None, request_id: str = "") -> int:
        content = b"" if body is None else to_json(body)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        headers = {b"content-type": b"application/json", CLIENT_REQUEST_ID: request_id.encode()}
        call = self._wire.find_call("POST", f"{BASE}/{path}", b"")
        answer = await call.answer(ForeignRequest(headers, b"", "tests", cast("Any", receive), "r"))
        return answer.status

    async def rank(self, event_id: str, *, deferred: bool = False) -> None:
        assert await self.post("rank", rank_body(eventId=event_id, deferActivation=deferred)) == 201

    async def reward(self, event_id: str, value: float, request_id: str = "") -> None:
        assert await self.post(f"events/{event_id}/reward", {"value": value}, request_id) == 204

    async def activate(self, event_id: str) -> None:
        assert await self.post(f"events/{event_id}/activate") == 204

    async def pass_time(self, seconds: float) -> None:
        """Let time go by, and have the windows closed that ended."""
        self.service.clock.now += seconds
        while await self.service.deployment.windows.close_some():
            pass

    async def taught(self) -> list[float]:
        """How often everybody's model was taught, and what in all."""
        profile = await self.service.deployment.store.load_profile("default")
        states = profile.policies.values()
        return [sum(state.reward_count for state in states), sum(state.cumulative_reward for state in states)]


@pytest.fixture
async def wire(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Wire]:
    service = Service(on_disk(tmp_path), reward_settings=SETTINGS[request.param])
    await service.deployment.store.open()
    yield Wire(service)
    await service.deployment.store.close()


@pytest.mark.parametrize("wire", ["first"], indirect=True)
@pytest.mark.parametrize(
    ("deferred", "activated", "rewarded", "taught"),
    [
        (False, False, True, [1, 0.75]),
        (False, False, False, [1, DEFAULT]),
        (True, False, True, [0, 0.0]),
        (True, False, False, [0, 0.0]),
        (True, True, True, [1, 0.75]),
        (True, True, False, [1, DEFAULT]),
    ],
)
async def test_what_is_taught_of_an_event(
    wire: Wire, deferred: bool, activated: bool, rewarded: bool, taught: list[float]
) -> None:
    await wire.rank("e", deferred=deferred)
    if rewarded:
        await wire.reward("e", 0.75)
    await wire.pass_time(WAIT / 2)
    if activated:
        await wire.activate("e")
    await wire.pass_time(WAIT)
    assert await wire.taught() == taught
    await wire.activate("e")
    await wire.reward("e", -1.0)
    await wire.service.reopen()
    await wire.pass_time(WAIT)
    assert await Wire(wire.service).taught() == taught, "what comes later is answered, and changes nothing"


@pytest.mark.parametrize("wire", ["first"], indirect=True)
async def test_the_earliest_reward_counts(wire: Wire) -> None:
    await wire.rank("e")
    for value in (0.5, -1.0):
        await wire.reward("e", value)
    assert await wire.taught() == [1, 0.5]


@pytest.mark.parametrize("wire", ["sum"], indirect=True)
async def test_a_sum_counts_a_retry_once_and_teaches_no_more_than_one(wire: Wire) -> None:
    await wire.rank("e")
    for value, request_id in ((0.25, "a"), (0.25, "a"), (0.5, "b")):
        await wire.reward("e", value, request_id)
    assert await wire.taught() == [1, 0.75]
    await wire.reward("e", 1.0, "c")
    assert await wire.taught() == [1, 1.0]
    await wire.reward("e", -1.0, "d")
    assert await wire.taught() == [1, 0.75]
