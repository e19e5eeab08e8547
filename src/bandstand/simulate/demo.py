"""People who use a service for show: they are offered tasks, act or talk, and every page of the console fills."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from bandstand.simulate.errors import ServiceError
from bandstand.simulate.http_client import build_client, call_service
from bandstand.simulate.world.persona import make_personas
from bandstand.simulate.world.streams import Stream, make_generator
from bandstand.simulate.world.tasks import TaskCandidate
from bandstand.simulate.world.world import Episode, World

if TYPE_CHECKING:
    from bandstand_client import AsyncBandstand

T = TypeVar("T")

USERS = 40
DECISIONS_PER_SECOND = 10.0

_DAYS = 365
_ANSWERED_SHARE = 0.9
_RECOMMEND_EVERY = 20
_FIRST_RUNS_AT = 5
_EVALUATE_EVERY = 300
_READY_TRIES = 5  # each with the client's own retries
_POLICIES = ("linucb-v1", "linucb-v2", "thompson-v1", "first-v1")


@dataclass(slots=True)
class _DemoUser:
    """A simulated user whose next step is ``step``; half of them talk."""

    user_id: str
    episode: Episode
    step: int = 0


class DemoUsers:
    """The people of a demonstration.

    Args:
        url: of the service.
        api_key: sent as a bearer token; None sends none.
        users: how many; even ones act, odd ones talk.
        seed: what they do follows from it, and from what they are shown.

    Raises:
        ConfigurationError: the URL or the key is none, or the Python client is not installed.
    """

    def __init__(self, url: str, api_key: str | None, *, users: int = USERS, seed: int = 0) -> None:
        self._url = url
        self._client = build_client(url, api_key)
        personas = make_personas("shipped", users, seed)
        worlds = [World(personas=personas, seed=seed, days=_DAYS, conversations=talk) for talk in (False, True)]
        self._users = [
            _DemoUser(f"{personas[user].name.lower()}-{user}", worlds[user % 2].build_episode(user))
            for user in range(users)
        ]
        self._random = make_generator(seed, Stream.POLICY)
        self._decisions = 0

    async def play(self, decisions: int, per_second: float = DECISIONS_PER_SECOND) -> None:
        """Make a number of decisions, about so many a second, and from time to time the calls that operators make.

        Raises:
            ServiceError: the service is gone, or refuses.
        """
        async with self._client as client:
            await self._wait_until_ready(client)
            for _ in range(decisions):
                await self._play_step(client, self._users[int(self._random.integers(len(self._users)))])
                self._decisions += 1
                await self._play_operator(client)
                await asyncio.sleep(self._random.exponential(1.0 / per_second))

    async def _wait_until_ready(self, client: "AsyncBandstand") -> None:
        """Wait for a service that is only starting."""
        for left in reversed(range(_READY_TRIES)):
            try:
                await self._call("/ready", client.ready())
            except ServiceError:
                if not left:
                    raise
            else:
                return

    async def _play_step(self, client: "AsyncBandstand", user: _DemoUser) -> None:
        step = user.step % len(user.episode.times)
        user.step += 1
        candidates = user.episode.slates.get_candidates(step)
        context = user.episode.slates.get_context(step)
        if user.step % _RECOMMEND_EVERY == 0:
            await self._play_recommendation(client, user, candidates)
            return
        decision = await self._call("/score", client.score(user.user_id, candidates, context=context))
        if decision.fallback is not None or self._random.random() > _ANSWERED_SHARE:
            return
        pick = candidates.index(decision.pick)
        if user.episode.conversation is None:
            reaction = user.episode.get_reaction(step, pick)
            told = {"action": reaction.action, "dwell_ms": reaction.dwell_ms}
            await self._call("/reward", client.send_reward(decision.id, {"reaction": told}))
        else:
            turn = user.episode.get_turn(step, pick)
            await self._call("/reward", decision.turn(turn.query_t, turn.answer_t, turn.query_t1))

    async def _play_recommendation(
        self, client: "AsyncBandstand", user: _DemoUser, candidates: list[TaskCandidate]
    ) -> None:
        tasks = [{"id": each["id"], "title": each["content"], **each["features"]} for each in candidates]
        best = await self._call("/recommend", client.recommend(user.user_id, tasks))
        if best.decision_id is not None:
            value = float(self._random.choice([-0.5, 0.0, 1.0]))
            await self._call("/reward", client.decision(best.decision_id).reward(value))

    async def _play_operator(self, client: "AsyncBandstand") -> None:
        if self._decisions == _FIRST_RUNS_AT:
            plan = {"personas": 14, "days": 10, "seeds": 4}
            await self._call("/simulations", client.start_simulation(list(_POLICIES), **plan))
        if self._decisions % _EVALUATE_EVERY == _EVALUATE_EVERY // 2:
            await self._call("/evaluations", client.start_evaluation(list(_POLICIES)))

    async def _call(self, path: str, call: Awaitable[T]) -> T:
        return await call_service(path, self._url, call)
