"""State directories with something in them: users served through the use cases, as a service would leave them."""

import copy
import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, Self

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.service.context import ServiceContext
from bandstand.service.reward import reward
from bandstand.service.score import score
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners import replay
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.records import first_seq_at, to_time
from bandstand.store.sqlite import retention
from tests.store.given import DAY, NOON, QUICK, Clock, assert_same, random_context, random_features

POLICIES = ("linucb-v2", "linucb-v1", "egreedy-v1")

SHOP: dict[str, Any] = {
    "schemas": {
        "shop": {
            "version": 1,
            "intercept": True,
            "features": [
                {"name": "age", "source": "candidate.task_age_days", "encoding": "clip", "low": 0, "high": 30},
                {"name": "overdue", "source": "candidate.is_overdue", "encoding": "flag"},
            ],
        }
    },
    "policies": {"shop": {"kind": "linucb", "schema": "shop"}},
}
"""A deployment's own schema and policy: d = 3."""


def build_shop(*more: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """``SHOP`` with further features, or with entries of its schema replaced."""
    changed = copy.deepcopy(SHOP)
    changed["schemas"]["shop"]["features"] += more
    changed["schemas"]["shop"].update(changes)
    return changed


def catalogue_of(deployment: dict[str, Any] | None = None) -> Catalogue:
    """What ships, and the deployment's own beside it."""
    shipped = resources.files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8")
    return Catalogue.parse(tomllib.loads(shipped), deployment or {})


class Served:
    """A deployment over a state directory, for as long as it is entered; it serves random requests.

    Args:
        state_dir: where.
        catalogue: what is configured.
        days: how many days after noon of the first it begins.
        seed: of the requests.
        options: of the store.
    """

    def __init__(
        self,
        state_dir: Path,
        catalogue: Catalogue | None = None,
        *,
        days: float = 0,
        seed: int = 0,
        options: StoreOptions = QUICK,
    ) -> None:
        self.clock = Clock(NOON + days * DAY)
        self.random = Random(seed)
        self.catalogue = catalogue or catalogue_of()
        self.store = EmbeddedStore(state_dir, self.catalogue, options=options, clock=self.clock)
        self.deployment = ServiceContext(self.catalogue, self.store, clock=self.clock)

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def decide(
        self, user_id: str, policy: str | None = None, *, exclude: Sequence[str] = (), **features: Any
    ) -> str:
        """Score two to four random candidates, "0" to "3"; returns the decision's id."""
        candidates = [
            {"id": str(number), "features": random_features(self.random) | features}
            for number in range(self.random.randint(2, 4))
        ]
        request = {"user_id": user_id, "context": random_context(self.random), "candidates": candidates}
        if exclude:
            request["exclude"] = list(exclude)
        self.clock.now += 1.0
        body = json.dumps(request).encode()
        scored = await score(self.deployment, request, body=body, client="tests", policy=policy)
        assert scored.decision_id is not None
        return scored.decision_id

    async def reward(self, decision_id: str, value: float | None = None) -> None:
        """Reward a decision, by chance where no value is given."""
        value = self.random.uniform(-1.0, 1.0) if value is None else value
        await reward(self.deployment, {"decision_id": decision_id, "reward": value}, client="tests")

    async def reward_legacy(self, user_id: str, policy: str | None = None, **features: Any) -> None:
        """Reward in the legacy form."""
        request = {
            "user_id": user_id,
            "tip_id": "tip",
            "reward": self.random.uniform(-1.0, 1.0),
            "features": random_context(self.random) | random_features(self.random) | features,
            "day_of_week": self.random.randrange(7),
        }
        self.clock.now += 1.0
        await reward(self.deployment, request, client="tests", policy=policy)

    async def live_history(self, user_id: str, rounds: int = 6, policies: tuple[str, ...] = POLICIES) -> None:
        """A user's life: decisions of every policy, most of them rewarded, and some rewards in the legacy form."""
        for turn in range(rounds):
            policy = policies[turn % len(policies)]
            decision_id = await self.decide(user_id, policy)
            if turn % 4 != 3:
                await self.reward(decision_id)
            if turn % 5 == 2:
                await self.reward_legacy(user_id, policy)

    async def profile(self, user_id: str) -> Profile:
        """The live state, as a copy."""
        return (await self.store.load_profile(user_id)).copy()


async def serve_users(state_dir: Path, *user_ids: str, catalogue: Catalogue | None = None) -> dict[str, Profile]:
    """Serve users and stop in good order; returns their live states."""
    async with Served(state_dir, catalogue) as served:
        for user_id in user_ids:
            await served.live_history(user_id)
        return {user_id: await served.profile(user_id) for user_id in user_ids}


def trim_directory(state_dir: Path, before: float, catalogue: Catalogue | None = None) -> float:
    """Apply retention to a closed directory, as a store does; returns the time that it cut at."""
    cutoff = first_seq_at(before)
    with open_owned(state_dir, catalogue or catalogue_of()) as state:
        overdue = retention.find_overdue_users(state.connection, cutoff)
        assert overdue
        for uid, user_id in overdue:
            kept = replay.rebuild_profile(state.connection, state.registry, uid, user_id, cutoff)
            seq = state.build_sequence().next(before)
            retention.trim_user(state.connection, uid, kept, cutoff, seq, before)
    return to_time(cutoff)


def load_states(state_dir: Path, catalogue: Catalogue | None = None) -> dict[str, Profile]:
    """Every user's state by the ledger alone."""
    with open_read_only(state_dir, catalogue or catalogue_of()) as state:
        return {user_id: state.rebuild_profile(uid, user_id) for uid, user_id in state.iter_users()}


def load_documents(state_dir: Path) -> dict[str, dict[str, Any]]:
    """Every document by its user's id."""
    read = (json.loads(path.read_bytes()) for path in (state_dir / "users").rglob("*.json"))
    return {document["user_id"]: document for document in read}


def extract_learned(profile: Profile) -> dict[str, Any]:
    """What a profile holds beyond its place in a ledger, to the last bit."""
    policies: dict[str, Any] = profile.to_json()["policies"]
    return policies


def assert_all_same(live: dict[str, Profile], others: dict[str, Profile]) -> None:
    """The same users in the same states, to 1e-9."""
    assert others.keys() == live.keys()
    for user_id, profile in live.items():
        assert_same(profile, others[user_id])
