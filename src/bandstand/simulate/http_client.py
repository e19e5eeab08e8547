"""A running service as the one who learns: the product's two calls, ``/score`` and then ``/reward``, over HTTP."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from bandstand.errors import ConfigurationError
from bandstand.simulate.errors import ServiceError
from bandstand.simulate.run.learner import ChatFeedback, Cohort, Learner, ScoredPick
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.world import Episode

_TIMEOUT_S = 30.0
_TRIES = 5
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_OK, _OVERLOADED = 200, 503


class ServicePlayers:
    """Policies of a running service; proxies are ignored, redirects not followed.

    Users are called ``USERS/SEED/NUMBER``. Decisions bring their own ids, so a call that is made again, by a retry or
    by a continued run, changes nothing.

    Args:
        url: where the service is.
        api_key: sent as a bearer token; None sends none.
        users: what the users' ids begin with; no other run's may begin so.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(self, url: str, api_key: str | None, users: str) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        try:
            base = httpx.URL(url)
        except httpx.InvalidURL:
            base = httpx.URL()
        if base.scheme not in {"http", "https"} or not base.host:
            raise ConfigurationError("--url must start with http:// or https:// and name a host")
        self._users = users
        self._http = httpx.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def make_cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:
        """Users of the service, whom its policy has not met."""
        users = enumerate(episodes)
        return _ServiceCohort(
            [_ServiceLearner(self, f"{self._users}/{seed}/{user}", policy, episode) for user, episode in users]
        )

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make one of the product's calls, again where the service is overloaded or its connection breaks.

        Raises:
            ServiceError: it answered with another error, or did not answer.
        """
        wait = _FIRST_WAIT_S
        for tries_left in reversed(range(_TRIES)):
            try:
                response = await self._http.post(path, json=body)
            except httpx.HTTPError as error:
                if not tries_left:
                    raise ServiceError(f"{self._http.base_url} cannot be reached: {type(error).__name__}") from error
            else:
                if response.status_code == _OK:
                    return _parse_object(response)
                if response.status_code != _OVERLOADED or not tries_left:
                    raise ServiceError(f"{path} answered {response.status_code}: {_get_detail(response)}")
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
        raise AssertionError("the last try returns or raises")


class _ServiceCohort:
    def __init__(self, learners: Sequence[Learner]) -> None:
        self.learners = learners

    def end_round(self) -> None:
        """The service refreshes what it learns of all users by itself."""


class _ServiceLearner:
    is_persistent = True

    def __init__(self, service: ServicePlayers, user_id: str, policy: str, episode: Episode) -> None:
        self._service = service
        self._user_id = user_id
        self._policy = quote(policy, safe="")
        self._name = policy
        self._slates = episode.slates

    async def decide(self, step: int) -> ScoredPick:
        """Ask ``/score`` with the policy's name."""
        self._decision_id = f"{self._user_id}/{self._name}/{step}"
        candidates = self._slates.get_candidates(step)
        body = {
            "user_id": self._user_id,
            "decision_id": self._decision_id,
            "context": self._slates.get_context(step),
            "candidates": candidates,
        }
        answer = await self._service.post(f"/score/{self._policy}", body)
        ids = [candidate["id"] for candidate in candidates]
        try:
            return ScoredPick(
                pick=ids.index(answer["tip_id"]),
                score=float(answer["score"]),
                propensity=float(answer["propensity"]),
                exploring=bool(answer["exploring"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ServiceError("/score answered something that is no decision: this is no Bandstand") from error

    async def learn(self, reaction: Reaction, feedback: ChatFeedback | None = None) -> None:  # noqa: ARG002 (where users talk)
        """Tell ``/reward`` what the user did."""
        body = {
            "decision_id": self._decision_id,
            "reaction": {"action": reaction.action, "dwell_ms": reaction.dwell_ms},
        }
        await self._service.post(f"/reward/{self._policy}", body)


def _parse_object(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServiceError("The service answered something that is no JSON object: this is no Bandstand")
    return answer


def _get_detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return "this is no Bandstand"
