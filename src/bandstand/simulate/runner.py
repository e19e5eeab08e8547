"""Plays a plan: every seed's world, every user, every policy; keeps what is done as it goes, and can be stopped."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol

from bandstand.bandit.errors import ConfigurationError
from bandstand.bandit.policies import Policy
from bandstand.simulate.errors import RunTakenError
from bandstand.simulate.judge import Judge
from bandstand.simulate.learner import Learner, LocalLearner
from bandstand.simulate.plan import Plan
from bandstand.simulate.play import PackedPlay, Past, Play, packed, play, unpacked
from bandstand.simulate.tally import Tally
from bandstand.simulate.world import Episode

FLUSH_SECONDS = 1.0
CONCURRENCY = 16
"""Users that play at once where a judge or a service is waited for."""

_WORLDS = 4  # users of a few neighbouring seeds may play at once

Row = tuple[object, ...]
Key = tuple[int, int, str]
"""Seed, user, policy: what names a play."""


class Journal(Protocol):
    """Where a run is written while it is played."""

    def save(self, plays: list[Row], events: list[Row], done: int, summary: str) -> bool:
        """Write what was played since the last time; False where the run is no longer ours."""


class Players(Protocol):
    """Makes the learner of one policy for one user."""

    def learner(self, seed: int, user: int, policy: str, episode: Episode) -> Learner:
        """A learner that knows nothing of the user yet."""


class LocalPlayers:
    """Learners in this process.

    Args:
        policies: by name.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies

    def learner(self, seed: int, user: int, policy: str, episode: Episode) -> Learner:  # noqa: ARG002 (others need them)
        """A learner that knows nothing of the user yet."""
        return LocalLearner(self._policies[policy], episode)


class Runner:
    """One run being played.

    Args:
        plan: what to play.
        players: make the learners.
        judge: decides reactions.
        journal: where it is written; None keeps nothing.
        kept: plays from before, by key, complete or not.
        concurrency: users that play at once; 1 where nothing is ever waited for.
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
        concurrency: int = 1,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.tally = Tally(plan)
        self.seconds = 0.0
        self._plan = plan
        self._players = players
        self._judge = judge
        self._journal = journal
        self._concurrency = concurrency
        self._on_progress = on_progress
        self._world = lru_cache(_WORLDS)(plan.world_of)
        self._kept = dict(kept)
        self._ended = 0
        self._under_way: dict[Key, Play] = {}
        self._plays: list[Row] = []
        self._events: list[Row] = []

    @property
    def done(self) -> int:
        """Decisions so far, those from before included."""
        return self._ended + sum(len(each.steps) for each in self._under_way.values())

    async def run(self, stop: asyncio.Event) -> bool:
        """Play until everything is played, or until ``stop`` is set; what is done is kept either way.

        Returns:
            Whether everything is played.

        Raises:
            RunTakenError: somebody else cancelled, deleted or continued the run.
            BandstandError: a service could not be played against; what was done before is kept.
        """
        started = time.perf_counter()
        users = deque((seed, user) for seed in self._plan.seed_range() for user in range(self._plan.personas))
        workers = [asyncio.create_task(self._work(users)) for _ in range(min(self._concurrency, len(users)))]
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

    async def _work(self, users: deque[tuple[int, int]]) -> None:
        while users:
            seed, user = users.popleft()
            episode = self._world(seed).episode(user)
            for policy in self._plan.policies:
                await self._play((seed, user, policy), episode)
                # Nothing in a run of our own ever waits, and somebody may want to stop it.
                await asyncio.sleep(0)

    async def _play(self, key: Key, episode: Episode) -> None:
        seed, user, policy = key
        kept = self._kept.pop(key, None)
        past = [] if kept is None else unpacked(kept)
        if len(past) == self._plan.decisions:
            self._end(key, episode, past)
            return
        into = self._under_way[key] = Play()
        try:
            await play(episode, self._players.learner(seed, user, policy, episode), self._judge, into, past)
        finally:
            del self._under_way[key]
            done = into.past()
            # Stopped while it was only catching up, the longer past is what stands.
            done += past[len(done) :]
            self._end(key, episode, done)
            if len(done) > len(past):
                self._plays.append((*key, *packed(done)))
                if self._plan.keeps_events(seed):
                    self._events += _events(key, episode, into, len(past))

    def _retell_rest(self) -> None:
        """Count what was played before and not come to this time."""
        for key, kept in self._kept.items():
            seed, user, _ = key
            self._end(key, self._world(seed).episode(user), unpacked(kept))

    def _end(self, key: Key, episode: Episode, past: list[Past]) -> None:
        if past:
            self._ended += len(past)
            self.tally.add(*key, episode, past)

    def _flush(self) -> None:
        self._on_progress(self.done)
        if self._journal is None:
            return
        plays, self._plays = self._plays, []
        events, self._events = self._events, []
        if not self._journal.save(plays, events, self.done, json.dumps(self.tally.summary())):
            raise RunTakenError("The run was cancelled, deleted or continued elsewhere; nothing more is written.")


def retold(plan: Plan, kept: Iterable[tuple[Key, PackedPlay]]) -> Tally:
    """Tally what was kept of a run, without playing."""
    tally = Tally(plan)
    world = lru_cache(_WORLDS)(plan.world_of)
    episode = lru_cache(_WORLDS)(lambda seed, user: world(seed).episode(user))
    for (seed, user, policy), each in kept:
        tally.add(seed, user, policy, episode(seed, user), unpacked(each))
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


def _events(key: Key, episode: Episode, into: Play, start: int) -> Iterator[Row]:
    """Rows of ``sim_events``, without the run, from step ``start`` on."""
    slates, persona = episode.slates, episode.persona.name
    columns = (slates.hour_of_day.tolist(), slates.day_of_week.tolist(), slates.priority.tolist())
    hours, days, priorities = columns
    overdue, ages = slates.is_overdue.tolist(), slates.task_age_days.tolist()
    expected, best = episode.expected_reward.tolist(), episode.oracle_reward.tolist()
    for step, (decided, judged) in enumerate(into.steps[start:], start):
        pick, (action, dwell_ms, reward) = decided.pick, judged.reaction
        yield (
            *key,
            step,
            persona,
            slates.candidate_id(step, pick),
            hours[step],
            days[step],
            priorities[step][pick],
            overdue[step][pick],
            ages[step][pick],
            decided.score,
            decided.propensity,
            decided.exploring,
            action,
            dwell_ms,
            reward,
            expected[step][pick],
            best[step],
            judged.judge,
            judged.fallback,
        )
