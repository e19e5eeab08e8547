"""Personalizer's wire of a loop whose clock is the test's own."""

from typing import Any, cast

from pydantic_core import to_json

from bandstand.api.asgi.foreign_wire import ForeignRequest
from bandstand.api.asgi.metrics import Metrics
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.personalizer.errors import CLIENT_REQUEST_ID
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.orphans import OrphanRewards
from bandstand.personalizer.wire import PersonalizerWire
from bandstand.store.embedded.store import EmbeddedStore
from tests.personalizer.given import BASE, rank_body
from tests.service.given import Service

WAIT, DEFAULT = 600.0, -0.5
SETTINGS = {
    aggregation: RewardSettings(window=WAIT, default_reward=DEFAULT, aggregation=aggregation)
    for aggregation in ("first", "sum")
}


class TimedWire:
    """The wire of a loop whose clock is the test's."""

    def __init__(self, service: Service) -> None:
        self.service = service
        deployment = service.deployment
        store = cast("EmbeddedStore", deployment.store)
        loop = PersonalizerLoop(deployment, None)
        self._wire = PersonalizerWire(loop, Metrics(), store, None, None, OrphanRewards())  # type: ignore[arg-type]  # nothing is evaluated or exported

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
