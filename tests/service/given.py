"""What the tests of the use cases are given: a deployment over either store, and requests for it."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from bandstand.service import reward as reward_service
from bandstand.service import score as score_service
from bandstand.service.context import ServiceContext
from bandstand.service.reward import RewardResult
from bandstand.service.score import ScoreResult
from bandstand.store.protocol import Store
from bandstand.testing.memory_store import MemoryStore
from tests.store.given import CATALOGUE, Clock, MakeStore, make_embedded, random_context, random_features

Request = dict[str, Any]
FEATURES = {"is_overdue": True, "task_age_days": 15.0, "priority": 4}


class Service:
    """A deployment whose requests are made, sent and answered in one call each; options are the deployment's."""

    def __init__(self, make_store: MakeStore, **options: Any) -> None:
        self.clock = Clock()
        self.random = Random(0)
        self._make_store = make_store
        self._deployment: Callable[[Store], ServiceContext] = lambda store: ServiceContext(
            CATALOGUE, store, clock=self.clock, **options
        )
        self.deployment = self._deployment(make_store(self.clock))

    async def reopen(self) -> None:
        """Stop and start again."""
        await self.deployment.store.close()
        self.deployment = self._deployment(self._make_store(self.clock))
        await self.deployment.store.open()
        await self.deployment.start()

    def request(self, user_id: str = "anna", count: int = 4, **fields: Any) -> Request:
        """A score request about random candidates."""
        candidates = [
            {"id": f"tip-{number}", "content": "…", "source": "tests", "features": random_features(self.random)}
            for number in range(count)
        ]
        return {"user_id": user_id, "context": random_context(self.random), "candidates": candidates} | fields

    async def score(self, request: Request | None = None, policy: str | None = None, **fields: Any) -> ScoreResult:
        """Score a request, or a random one with the given fields."""
        request = self.request(**fields) if request is None else request | fields
        body = json.dumps(request).encode()
        return await score_service.score(self.deployment, request, body=body, client="tests", policy=policy)

    async def reward(
        self,
        request: Request,
        policy: str | None = None,
        key: str | None = None,
        route: str = "tests /reward",
        client: str = "tests",
    ) -> RewardResult:
        """Send a reward request."""
        idempotency = None if key is None else (route, key)
        return await reward_service.reward(
            self.deployment, request, client=client, policy=policy, idempotency=idempotency
        )

    def legacy(self, user_id: str = "anna", reward: float = 0.5, **fields: Any) -> Request:
        """A reward request in the legacy form."""
        features = {"hour_of_day": 9} | FEATURES
        return {
            "user_id": user_id,
            "tip_id": "tip-1",
            "reward": reward,
            "features": features,
            "day_of_week": 2,
        } | fields


Make = Callable[[Path], MakeStore]


def in_memory(_: Path) -> MakeStore:
    kept: list[MemoryStore] = []

    def make(clock: Clock) -> MemoryStore:
        if not kept:
            kept.append(MemoryStore(CATALOGUE, clock=clock))
        return kept[0]

    return make


def on_disk(directory: Path) -> MakeStore:
    return make_embedded(directory / "state")
