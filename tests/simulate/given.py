"""What the tests of simulations are given: policies, a small world, plans, a journal that remembers."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from bandstand.simulate.judges.judge import JudgedReaction, ReactionJudge, RuleJudge
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.play import PackedPlay, PlayKey
from bandstand.simulate.run.runner import LocalPlayers, Runner
from bandstand.simulate.world.persona import load_shipped_personas
from bandstand.simulate.world.world import Episode, World

CATALOGUE = load_catalogue(Settings())
CONTRACT = ("linucb-v1", "egreedy-v1", "linucb-v2")

WORLD = World(personas=load_shipped_personas(), seed=7, days=5)
SMALL = Plan(policies=("linucb-v1", "linucb-v2"), personas=3, days=5, seeds=2, events="all")


class Journal:
    """Keeps what a runner writes; after ``lost_after`` writes the run is somebody else's."""

    def __init__(self, lost_after: int | None = None) -> None:
        self.plays: dict[PlayKey, PackedPlay] = {}
        self.events: list[tuple[Any, ...]] = []
        self.done: list[int] = []
        self.summaries: list[str] = []
        self._lost_after = lost_after

    def save(self, plays: list[tuple[object, ...]], events: list[tuple[object, ...]], done: int, summary: str) -> bool:
        if self._lost_after is not None and len(self.done) >= self._lost_after:
            return False
        rows: Sequence[Any] = plays
        self.plays |= {(seed, user, policy): PackedPlay(*packed) for seed, user, policy, *packed in rows}
        self.events += events
        self.done.append(done)
        self.summaries.append(summary)
        return True


class CountingJudge:
    """The rule, after a moment; sets ``stop`` when it has been asked so often."""

    def __init__(self, stop: asyncio.Event | None = None, after: int = 0, *, seconds: float = 0.0) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.most_at_once = 0
        self._now = 0
        self._stop = stop
        self._after = after
        self._seconds = seconds

    async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
        self.asked.append((episode.persona.name, step, pick))
        if self._stop is not None and len(self.asked) == self._after:
            self._stop.set()
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(self._seconds)
        self._now -= 1
        return JudgedReaction(episode.get_reaction(step, pick), "counting")


def build_runner(plan: Plan, judge: ReactionJudge | None = None, **more: Any) -> Runner:
    return Runner(plan, LocalPlayers(CATALOGUE.policies), judge or RuleJudge(), **more)


async def play_plan(plan: Plan, judge: ReactionJudge | None = None, **more: Any) -> Runner:
    """Play a plan to its end."""
    playing = build_runner(plan, judge, **more)
    assert await playing.run(asyncio.Event())
    return playing


def is_close(one: Any, other: Any) -> bool:
    """Equal but for the order in which floats were added."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_close, one, other))
    return bool(one == pytest.approx(other, abs=1e-12)) if isinstance(one, float) else bool(one == other)
