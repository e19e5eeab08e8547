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
from bandstand.simulate.judges.judge import ReactionJudge
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.learner import Cohort, LocalCohort
from bandstand.simulate.run.play import PackedPlay, Play, PlayKey, decode_steps, encode_steps, play_cohort
from bandstand.simulate.run.tally import SimulationTally
from bandstand.simulate.world.world import Episode

FLUSH_SECONDS = 1.0
AT_ONCE = 16
"""Users that are waited for at once, where a judge or a service is."""

_YOUNG_OBJECTS, _YOUNG_ROUNDS, _OLD_ROUNDS = 50_000, 20, 100
_MAX_LIVE_COUNTED = 1000  # users: more are counted at the end of their run only
_MAX_WORLDS = 2  # neighbouring seeds may play at once

Row = tuple[object, ...]


class Journal(Protocol):
    """Where a run is written while it is played."""

    def save(self, plays: list[Row], events: list[Row], done: int, summary: str) -> bool:
        """Write what was played since the last time; False where the run is no longer ours."""


class Players(Protocol):
    """Makes policies that know nobody yet."""

    def make_cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:
        """One policy for all users of a world."""


class LocalPlayers:
    """Policies in this process.

    Args:
        policies: by name.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies

    def make_cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:  # noqa: ARG002 (others need it)
        """One policy for all users of a world."""
        return LocalCohort(self._policies[policy], episodes)


@dataclass(slots=True)
class _RunningPlay:
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
        stored_plays: plays from before, by key, complete or not.
        at_once: users that are waited for at once; None if nothing is ever waited for.
        on_progress: called with the decisions so far.
    """

    def __init__(
        self,
        plan: Plan,
        players: Players,
        judge: ReactionJudge,
        *,
        journal: Journal | None = None,
        kept: Iterable[tuple[PlayKey, PackedPlay]] = (),
        at_once: int | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.tally = SimulationTally(plan)
        self.seconds = 0.0
        self._plan = plan
        self._players = players
        self._judge = judge
        self._journal = journal
        self._at_once = at_once
        self._on_progress = on_progress
        self._episodes = lru_cache(_MAX_WORLDS)(lambda seed: _build_episodes(plan, seed))
        self._stored_plays = dict(kept)
        self._finished_decisions = 0
        self._running: dict[PlayKey, _RunningPlay] = {}
        self._plays: list[Row] = []
        self._events: list[Row] = []

    @property
    def decisions_done(self) -> int:
        """Decisions so far, those from before included."""
        return self._finished_decisions + sum(len(each.play.steps) for each in self._running.values())

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
        limiter = None if self._at_once is None else asyncio.Semaphore(self._at_once)
        # One cohort more than is needed, for when only the slowest of a round is waited for.
        side_by_side = 1 if self._at_once is None else 1 + -(-self._at_once // self._plan.personas)
        workers = [
            asyncio.create_task(self._run_worker(cohorts, limiter)) for _ in range(min(side_by_side, len(cohorts)))
        ]
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
            self._count_remaining()
            self.seconds = time.perf_counter() - started
            self._flush()
        return self.decisions_done == self._plan.total

    async def _run_worker(self, cohorts: deque[tuple[int, str]], limiter: asyncio.Semaphore | None) -> None:
        while cohorts:
            await self._play_cohort(*cohorts.popleft(), limiter)

    async def _play_cohort(self, seed: int, policy: str, limiter: asyncio.Semaphore | None) -> None:
        episodes = self._episodes(seed)
        keys = [(seed, user, policy) for user in range(len(episodes))]
        plays = [self._start_play(key, episode) for key, episode in zip(keys, episodes, strict=True)]
        try:
            if any(len(each.steps) < self._plan.decisions_per_user for each in plays):
                cohort = self._players.make_cohort(seed, policy, episodes)
                await play_cohort(episodes, cohort, self._judge, plays, at_once=limiter)
        finally:
            for key in keys:
                self._count(key)
                self._write(key)
                self._finished_decisions += len(self._running.pop(key).play.steps)

    def _start_play(self, key: PlayKey, episode: Episode) -> Play:
        kept = self._stored_plays.pop(key, None)
        past = [] if kept is None else decode_steps(kept)
        play = Play(past, start=len(past))
        self._running[key] = _RunningPlay(play, episode, counted=0, written=len(past))
        return play

    def _count(self, key: PlayKey) -> None:
        """Count the steps of a play that are new."""
        each = self._running[key]
        past = each.play.steps
        if len(past) > each.counted:
            self.tally.add(key, each.episode, past, each.counted)
            each.counted = len(past)

    def _write(self, key: PlayKey) -> None:
        """Queue the new steps of a play for the next flush."""
        each = self._running[key]
        past = each.play.steps
        if len(past) > each.written:
            self._plays.append((*key, *encode_steps(past)))
            if self._plan.should_keep_events(key[0]):
                self._events += _build_event_rows(key, each.episode, each.play, each.written)
            each.written = len(past)

    def _count_remaining(self) -> None:
        """Count the steps that were played before and have not been reached this time."""
        for key, kept in self._stored_plays.items():
            past = decode_steps(kept)
            self.tally.add(key, self._episodes(key[0])[key[1]], past)
            self._finished_decisions += len(past)

    def _flush(self) -> None:
        for key in self._running:
            if len(self._running) <= _MAX_LIVE_COUNTED:
                self._count(key)
            if self._at_once is not None:  # what was waited for is not to be lost with the process
                self._write(key)
        self._on_progress(self.decisions_done)
        if self._journal is None:
            return
        plays, self._plays = self._plays, []
        events, self._events = self._events, []
        if not self._journal.save(plays, events, self.decisions_done, json.dumps(self.tally.build_summary())):
            raise RunTakenError("The run was cancelled, deleted or continued elsewhere; nothing more is written.")


def configure_gc() -> None:
    """Keep the cycle collector from walking over every step again and again: for a process that only simulates.

    Steps are small tuples in great number and make no cycles; this is worth a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_ROUNDS, _OLD_ROUNDS)


def build_tally(plan: Plan, stored_plays: Iterable[tuple[PlayKey, PackedPlay]]) -> SimulationTally:
    """Tally what was kept of a run, without playing."""
    tally = SimulationTally(plan)
    episodes = lru_cache(1)(lambda seed: _build_episodes(plan, seed))
    for key, each in stored_plays:
        tally.add(key, episodes(key[0])[key[1]], decode_steps(each))
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
    return plan.with_definitions(definitions)


def _build_episodes(plan: Plan, seed: int) -> list[Episode]:
    world = plan.build_world(seed)
    return [world.build_episode(user) for user in range(plan.personas)]


def _build_event_rows(key: PlayKey, episode: Episode, into: Play, start: int) -> Iterator[Row]:
    """Rows of ``sim_events``, without the run, from step ``start`` on."""
    slates, persona = episode.slates, episode.persona.name
    expected, best = episode.expected_reward, episode.oracle_reward
    for step in range(start, len(into.steps)):
        decided = into.decisions[step - into.start]
        pick, ((action, dwell_ms, reward), judge, fallback), heard = into.steps[step]
        yield (
            *key,
            step,
            persona,
            slates.get_candidate_id(step, pick),
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
