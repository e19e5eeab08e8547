"""State directories with logs in them, and their replay."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandstand.bandit.catalogue import Catalogue
from bandstand.evaluate.estimators.chunk import Chunk
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import PolicyReplay
from bandstand.service.score import score
from bandstand.simulate.world.persona import make_personas
from bandstand.simulate.world.world import Episode, World
from bandstand.store.logged_events import LoggedEvent
from bandstand.store.maintenance import decision_log
from bandstand.store.maintenance.offline import open_read_only
from tests.evaluate.world import FloatArray
from tests.store.populated import Served, catalogue_of

KINDS: Mapping[str, Mapping[str, object]] = {
    "my-linucb": {"alpha": 0.5, "floor": 0.1, "prior": "standard"},
    "my-egreedy": {"epsilon": 0.2, "prior": "standard"},
    "my-thompson": {"floor": 0.1, "prior": "standard"},
    "my-squarecb": {"floor": 0.1, "prior": "standard"},
    "my-uniform": {},
    "my-first": {"floor": 0.1},
}
"""A policy of every kind, whose prior nobody teaches: what it would do depends on nobody's timing."""

KINDS_TOML: dict[str, Any] = {
    "policies": {name: {"kind": name.removeprefix("my-"), "schema": "tips-v2", **more} for name, more in KINDS.items()}
    | {"my-forgetful": {"kind": "linucb", "schema": "tips-v2", "floor": 0.1, "half_life": 0.0005, "prior": "standard"}}
}


def build_catalogue() -> Catalogue:
    """What ships and ``KINDS``, and one that forgets within a minute."""
    return catalogue_of(KINDS_TOML)


def persona_world(users: int, days: int, seed: int = 1) -> list[Episode]:
    """Users whose true rewards are known."""
    world = World(personas=make_personas("uniform", users, seed), seed=seed, days=days)
    return [world.build_episode(user) for user in range(users)]


def play_world(
    state_dir: Path, episodes: Sequence[Episode], *policies: str, catalogue: Catalogue | None = None
) -> FloatArray:
    """Let policies serve a world in turn; returns the true mean reward of every candidate, (n, K), in their order."""

    async def serve_world() -> FloatArray:
        true: list[FloatArray] = []
        async with Served(state_dir, catalogue or build_catalogue()) as deployment:
            deployment.store.secret = b"tests"  # with ids of our own: the same draws every time
            for step in range(len(episodes[0].expected_reward)):
                for user, episode in enumerate(episodes):
                    candidates = episode.slates.get_candidates(step)
                    request = {
                        "user_id": f"user-{user}",
                        "decision_id": f"{user}/{step}",
                        "context": episode.slates.get_context(step),
                        "candidates": candidates,
                    }
                    deployment.clock.now += 1.0
                    body, policy = json.dumps(request).encode(), policies[len(true) % len(policies)]
                    scored = await score(deployment.deployment, request, body=body, client="tests", policy=policy)
                    assert scored.decision_id is not None
                    pick = [each["id"] for each in candidates].index(scored.tip_id)
                    await deployment.reward(scored.decision_id, episode.get_reaction(step, pick).reward)
                    true.append(episode.expected_reward[step])
        return np.array(true)

    return asyncio.run(serve_world())


def pages_of(state_dir: Path, catalogue: Catalogue | None = None, **bounds: Any) -> list[list[LoggedEvent]]:
    """A whole decision log."""
    with open_read_only(state_dir, catalogue or build_catalogue()) as state:
        return list(decision_log.read_events(state, **bounds))


def replay_log(
    pages: Sequence[list[LoggedEvent]],
    *policies: str,
    catalogue: Catalogue | None = None,
    frozen_since: float | None = None,
    model: bool = False,
) -> list[Chunk]:
    """The whole log under each policy."""
    configured = catalogue or build_catalogue()
    candidates = [CandidatePolicy(configured.get_policy(name)) for name in policies]
    replay = PolicyReplay(candidates, str, model=model, frozen_since=frozen_since)
    chunks = [replay.replay_page(page) for page in pages]
    return [_join_chunks([chunk[index] for chunk in chunks]) for index in range(len(policies))]


def _join_chunks(chunks: Sequence[Chunk]) -> Chunk:
    def all_of(name: str, axis: int = 0) -> Any:
        parts = [getattr(chunk, name) for chunk in chunks]
        parts = [part for part in parts if part is not None and part.size]
        return np.concatenate(parts, axis=axis) if parts else None

    return Chunk(
        reward=all_of("reward"),
        propensity=all_of("propensity"),
        target=all_of("target"),
        model=all_of("model", axis=1),
        supported=all_of("supported"),
    )
