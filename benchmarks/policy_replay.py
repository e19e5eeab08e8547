"""Decisions a second of `bandstand evaluate` over a ledger, and where the time goes.

    python benchmarks/policy_replay.py [--users 200] [--days 50]

A uniform policy serves the persona world (four decisions a day and user, five candidates, every one rewarded) into a
ledger; then configured policies are replayed over it, one at a time and together. Time is the processor's. The shares
are of the time inside each part's functions under a profiler, which makes parts of many small calls look larger.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bandstand.bandit.catalogue import Catalogue
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import read_settings
from bandstand.evaluate import Formula
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.spec import EvaluationSpec, evaluate_decisions
from bandstand.service.context import ServiceContext
from bandstand.service.reward import reward
from bandstand.service.score import score
from bandstand.simulate.world.persona import make_personas
from bandstand.simulate.world.world import Episode, World
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.maintenance import decision_log
from bandstand.store.maintenance.offline import open_read_only

_CONTESTS = (
    (["uniform-v1"], "snips"),
    (["linucb-v1"], "snips"),
    (["linucb-v1"], "snips,dr"),
    (["squarecb-v1"], "snips"),
    (["thompson-v1"], "snips"),
    (["linucb-v1", "linucb-v2", "squarecb-v1", "thompson-v1"], "snips"),
)
_PARTS = {
    "reading the ledger": [("decision_log.py", "read_events")],
    "parsing requests": [("requests.py", "parse")],
    "encoding features": [("requests.py", "encode_requests")],
    "fitting the population prior": [("candidate.py", "refresh")],
    "learning, but for that": [("replay.py", "_replay_reward")],
    "deciding": [("candidate.py", "distribution")],
    "estimating": [("evaluation.py", "add"), ("evaluation.py", "result")],
}


async def serve_world(state_dir: Path, catalogue: Catalogue, episodes: Sequence[Episode]) -> None:
    """Let a uniform policy serve a world, every decision rewarded."""
    store = EmbeddedStore(state_dir, catalogue, options=StoreOptions(sync=False, retention_days=0))
    deployment = ServiceContext(catalogue, store, active_policy="uniform-v1")

    async def decide(user: int, episode: Episode, step: int) -> None:
        candidates = episode.slates.get_candidates(step)
        request = {"user_id": f"user-{user}", "context": episode.slates.get_context(step), "candidates": candidates}
        scored = await score(deployment, request, body=json.dumps(request).encode(), client="benchmark")
        pick = [candidate["id"] for candidate in candidates].index(scored.tip_id)
        value = {"decision_id": scored.decision_id, "reward": episode.get_reaction(step, pick).reward}
        await reward(deployment, value, client="benchmark")

    await store.open()
    for step in range(len(episodes[0].expected_reward)):
        await asyncio.gather(*(decide(user, episode, step) for user, episode in enumerate(episodes)))
    await store.close()


def _replay(state_dir: Path, catalogue: Catalogue, policies: Sequence[str], estimators: str) -> int:
    question = EvaluationSpec(tuple(map(Formula.parse, estimators.split(","))))
    candidates = [CandidatePolicy(catalogue.get_policy(name)) for name in policies]
    with open_read_only(state_dir, catalogue) as state:
        _, [first, *_] = evaluate_decisions(question, decision_log.read_events(state), candidates, str)
    return first.decisions


def _shares(state_dir: Path, catalogue: Catalogue, policies: Sequence[str]) -> dict[str, float]:
    profile = cProfile.Profile()
    profile.runcall(_replay, state_dir, catalogue, policies, "snips")
    stats = pstats.Stats(profile)
    total: float = stats.total_tt  # type: ignore[attr-defined]  # what print_stats shows first
    spent = {
        part: sum(
            row[3]
            for (file, _, name), row in stats.stats.items()  # type: ignore[attr-defined]  # documented only as a dump
            for ending, function in functions
            if file.endswith(f"/{ending}") and name == function
        )
        for part, functions in _PARTS.items()
    }
    spent["learning, but for that"] -= spent["fitting the population prior"]
    return {part: seconds / total for part, seconds in spent.items()}


def main() -> None:
    """Make a ledger, replay it, print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--days", type=int, default=50)
    options = parser.parse_args()
    catalogue = load_catalogue(read_settings())
    world = World(personas=make_personas("uniform", options.users, 0), seed=0, days=options.days)
    with tempfile.TemporaryDirectory() as folder:
        state_dir = Path(folder)
        asyncio.run(serve_world(state_dir, catalogue, [world.build_episode(user) for user in range(options.users)]))
        print(
            f"{options.users * world.decisions_per_user:,} decisions of {options.users} users; "
            "decisions a processor second"
        )
        for policies, estimators in _CONTESTS:
            start = time.process_time()
            decisions = _replay(state_dir, catalogue, policies, estimators)
            seconds = time.process_time() - start
            print(f"{', '.join(policies)}: {estimators:<12}{decisions / seconds:>12,.0f}")
        print(f"\n{'share of the time':<32}{'linucb-v1':>12}{'thompson-v1':>14}")
        one, other = (_shares(state_dir, catalogue, [name]) for name in ("linucb-v1", "thompson-v1"))
        for part in _PARTS:
            print(f"{part:<32}{one[part]:>12.0%}{other[part]:>14.0%}")


if __name__ == "__main__":
    main()
