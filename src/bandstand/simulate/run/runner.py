"""Plays a plan: every seed's world, every policy, all users; keeps what is done as it goes, and can be stopped."""

import asyncio
import gc
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from bandstand.bandit.policies import Policy
from bandstand.errors import ConfigurationError
from bandstand.simulate.errors import RunTakenError
from bandstand.simulate.judges.judge import Judge
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.learner import Cohort, LocalCohort
from bandstand.simulate.run.play import Key, PackedPlay, Play, packed, play, unpacked
from bandstand.simulate.run.tally import Tally
from bandstand.simulate.world.world import Episode

FLUSH_SECONDS = 1.0
AT_ONCE = 16
"""Users that are waited for at once, where a judge or a service is."""

_YOUNG_OBJECTS, _YOUNG_ROUNDS, _OLD_ROUNDS = 50_000, 20, 100
_MANY = 1000  # users: more are counted at the end of their run only
_WORLDS = 2  # neighbouring seeds may play at once

Row = tuple[object, ...]


class Journal(Protocol):
    """Where a run is written while it is played."""

    def save(self, plays: list[Row], events: list[Row], done: int, summary: str) -> bool:
        """Write what was played since the last time; False where the run is no longer ours."""


class Players(Protocol):
    """Makes policies that know nobody yet."""

    def cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:
        """One policy for all users of a world."""


class LocalPlayers:
    """Policies in this process.

    Args:
        policies: by name.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies

    def cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:  # noqa: ARG002 (others need it)
        """One policy for all users of a world."""
        return LocalCohort(self._policies[policy], episodes)


@dataclass(slots=True)
class _UnderWay:
    """A play, and how many of its steps are counted and written."""

    play: Play
    episode: Episode
    counted: int
    written: int


class Runner:
    """One run being played.

    Args:
        plan: what to play.
        players: make the policies.
        judge: decides reactions.
        journal: where it is written; None keeps nothing.
        kept: plays from before, by key, complete or not.
        at_once: users that are waited for at once; None where nothing is ever waited for.
        on_progress: called with the decisions so far.
    """

    def __init__(
        self,
        plan: Plan,
        players: Players,
        judge: Judge,
        *,
        journal: Journal | None = None,
        kept: Iterable[tuple[Key, PackedPlay]] = (),
        at_once: int | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.tally = Tally(plan)
        self.seconds = 0.0
        self._plan = plan
        self._players = players
        self._judge = judge
        self._journal = journal
        self._at_once = at_once
        self._on_progress = on_progress
        self._episodes = lru_cache(_WORLDS)(lambda seed: _episodes(plan, seed))
        self._kept = dict(kept)
        self._ended = 0
        self._under_way: dict[Key, _UnderWay] = {}
        self._plays: list[Row] = []
        self._events: list[Row] = []

    @property
    def done(self) -> int:
        """Decisions so far, those from before included."""
        return self._ended + sum(len(each.play.past) for each in self._under_way.values())

    async def run(self, stop: asyncio.Event) -> bool:
        """Play until everything is played, or until ``stop`` is set; what is done is kept either way.

        Returns:
            Whether everything is played.

        Raises:
            RunTakenError: somebody else cancelled, deleted or continued the run.
            BandstandError: a service could not be played against; what was done before is kept.
        """
        started = time.perf_counter()
        cohorts = deque((seed, policy) for seed in self._plan.seed_range() for policy in self._plan.contestants)
        held = None if self._at_once is None else asyncio.Semaphore(self._at_once)
        # One cohort more than is needed, for when only the slowest of a round is waited for.
        side_by_side = 1 if self._at_once is None else 1 + -(-self._at_once // self._plan.personas)
        workers = [asyncio.create_task(self._work(cohorts, held)) for _ in range(min(side_by_side, len(cohorts)))]
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set() and any(not worker.done() for worker in workers):
                waited = {*(worker for worker in workers if not worker.done()), stopping}
                done, _ = await asyncio.wait(waited, timeout=FLUSH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for worker in done - {stopping}:
                    worker.result()  # raises what it raised
                if not done:
                    self._flush()
        finally:
            for task in (*workers, stopping):
                task.cancel()
            await asyncio.gather(*workers, stopping, return_exceptions=True)
            self._retell_rest()
            self.seconds = time.perf_counter() - started
            self._flush()
        return self.done == self._plan.total

    async def _work(self, cohorts: deque[tuple[int, str]], held: asyncio.Semaphore | None) -> None:
        while cohorts:
            await self._play(*cohorts.popleft(), held)

    async def _play(self, seed: int, policy: str, held: asyncio.Semaphore | None) -> None:
        episodes = self._episodes(seed)
        keys = [(seed, user, policy) for user in range(len(episodes))]
        plays = [self._begun(key, episode) for key, episode in zip(keys, episodes, strict=True)]
        try:
            if any(len(each.past) < self._plan.decisions for each in plays):
                cohort = self._players.cohort(seed, policy, episodes)
                await play(episodes, cohort, self._judge, plays, at_once=held)
        finally:
            for key in keys:
                self._count(key)
                self._write(key)
                self._ended += len(self._under_way.pop(key).play.past)

    def _begun(self, key: Key, episode: Episode) -> Play:
        kept = self._kept.pop(key, None)
        past = [] if kept is None else unpacked(kept)
        begun = Play(past, start=len(past))
        self._under_way[key] = _UnderWay(begun, episode, counted=0, written=len(past))
        return begun

    def _count(self, key: Key) -> None:
        """Count the steps of a play that are new."""
        each = self._under_way[key]
        past = each.play.past
        if len(past) > each.counted:
            self.tally.add(key, each.episode, past, each.counted)
            each.counted = len(past)

    def _write(self, key: Key) -> None:
        """Have the steps of a play that are new written with the next flush."""
        each = self._under_way[key]
        past = each.play.past
        if len(past) > each.written:
            self._plays.append((*key, *packed(past)))
            if self._plan.keeps_events(key[0]):
                self._events += _events(key, each.episode, each.play, each.written)
            each.written = len(past)

    def _retell_rest(self) -> None:
        """Count what was played before and not come to this time."""
        for key, kept in self._kept.items():
            past = unpacked(kept)
            self.tally.add(key, self._episodes(key[0])[key[1]], past)
            self._ended += len(past)

    def _flush(self) -> None:
        for key in self._under_way:
            if len(self._under_way) <= _MANY:
                self._count(key)
            if self._at_once is not None:  # what was waited for is not to be lost with the process
                self._write(key)
        self._on_progress(self.done)
        if self._journal is None:
            return
        plays, self._plays = self._plays, []
        events, self._events = self._events, []
        if not self._journal.save(plays, events, self.done, json.dumps(self.tally.summary())):
            raise RunTakenError("The run was cancelled, deleted or continued elsewhere; nothing more is written.")


def calm_collector() -> None:
    """Keep the cycle collector from walking over every step again and again: for a process that only simulates.

    Steps are small tuples in great number and make no cycles; this is worth a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_ROUNDS, _OLD_ROUNDS)


def retold(plan: Plan, kept: Iterable[tuple[Key, PackedPlay]]) -> Tally:
    """Tally what was kept of a run, without playing."""
    tally = Tally(plan)
    episodes = lru_cache(1)(lambda seed: _episodes(plan, seed))
    for key, each in kept:
        tally.add(key, episodes(key[0])[key[1]], unpacked(each))
    return tally


def require_policies(plan: Plan, policies: Mapping[str, Policy]) -> Plan:
    """Note the definitions of a plan's policies, or hold them against those noted before.

    Raises:
        ConfigurationError: a definition has changed since the run was begun.
    """
    definitions = {name: policies[name].hash for name in plan.policies}
    if plan.definitions and dict(plan.definitions) != definitions:
        changed = ", ".join(name for name in plan.policies if plan.definitions.get(name) != definitions[name])
        raise ConfigurationError(f"The run cannot be continued: the definition of {changed} has changed since.")
    return plan.defined(definitions)


def _episodes(plan: Plan, seed: int) -> list[Episode]:
    world = plan.world_of(seed)
    return [world.episode(user) for user in range(plan.personas)]


def _events(key: Key, episode: Episode, into: Play, start: int) -> Iterator[Row]:
    """Rows of ``sim_events``, without the run, from step ``start`` on."""
    slates, persona = episode.slates, episode.persona.name
    expected, best = episode.expected_reward, episode.oracle_reward
    for step in range(start, len(into.past)):
        decided = into.decided[step - into.start]
        pick, ((action, dwell_ms, reward), judge, fallback), heard = into.past[step]
        yield (
            *key,
            step,
            persona,
            slates.candidate_id(step, pick),
            slates.hour_of_day[step].item(),
            slates.day_of_week[step].item(),
            slates.priority[step, pick].item(),
            slates.is_overdue[step, pick].item(),
            slates.task_age_days[step, pick].item(),
            decided.score,
            decided.propensity,
            decided.exploring,
            action,
            dwell_ms,
            reward,
            expected[step, pick].item(),
            best[step].item(),
            judge,
            fallback,
            *((None, None) if heard is None else heard),
        )
