"""A running service as the one who learns: the product's two calls, ``/score`` and then ``/reward``, over HTTP."""

import sys
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import quote

from bandstand.errors import ConfigurationError
from bandstand.simulate.errors import ServiceError
from bandstand.simulate.run.learner import ChatFeedback, Cohort, Learner, ScoredPick
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.tasks import TaskCandidate
from bandstand.simulate.world.world import Episode

if TYPE_CHECKING:
    from bandstand_client import AsyncBandstand, AsyncDecision, BandstandError

T = TypeVar("T")

_TIMEOUT_S = 30.0
_TRIES = 5
_FIRST_WAIT_S = 0.4
_LONGEST_WAIT_S = 10.0


class ServicePlayers:
    """Policies of a running service; proxies are ignored, redirects not followed.

    Users are called ``USERS/SEED/NUMBER``. Decisions bring their own ids, so a call that is made again, by a retry or
    by a continued run, changes nothing. A simulation has time and needs no fallbacks: it ends at the first call without
    an answer.

    Args:
        url: where the service is.
        api_key: sent as a bearer token; None sends none.
        users: what the users' ids begin with; no other run's may begin so.

    Raises:
        ConfigurationError: the URL or the key is none, or the Python client is not installed.
    """

    def __init__(self, url: str, api_key: str | None, users: str) -> None:
        self._url = url
        self._users = users
        self._client = build_client(url, api_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def make_cohort(self, seed: int, policy: str, episodes: Sequence[Episode]) -> Cohort:
        """Users of the service, whom its policy has not met."""
        users = enumerate(episodes)
        return _ServiceCohort(
            [
                _ServiceLearner(self._client, self._url, f"{self._users}/{seed}/{user}", policy, episode)
                for user, episode in users
            ]
        )


class _ServiceCohort:
    def __init__(self, learners: Sequence[Learner]) -> None:
        self.learners = learners

    def end_round(self) -> None:
        """The service refreshes what it learns of all users by itself."""


class _ServiceLearner:
    is_persistent = True

    def __init__(self, client: "AsyncBandstand", url: str, user_id: str, policy: str, episode: Episode) -> None:
        self._client = client
        self._url = url
        self._user_id = user_id
        self._policy = policy
        self._slates = episode.slates
        self._decision: AsyncDecision[TaskCandidate] | None = None

    async def decide(self, step: int) -> ScoredPick:
        """Ask ``/score`` with the policy's name."""
        candidates = self._slates.get_candidates(step)
        decision = await call_service(
            f"/score/{quote(self._policy, safe='')}",
            self._url,
            self._client.score(
                self._user_id,
                candidates,
                context=self._slates.get_context(step),
                policy=self._policy,
                decision_id=f"{self._user_id}/{self._policy}/{step}",
            ),
        )
        if decision.propensity is None or decision.score is None:
            raise _to_service_error("/score", self._url, decision.error)
        if decision.fallback is not None:
            raise ServiceError(
                "The service could not log a decision, so that it cannot learn from it: its disk is full"
            )
        self._decision = decision
        return ScoredPick(
            pick=candidates.index(decision.pick),
            score=decision.score,
            propensity=decision.propensity,
            exploring=decision.exploring,
        )

    async def learn(self, reaction: Reaction, feedback: ChatFeedback | None = None) -> None:  # noqa: ARG002 (where users talk)
        """Send what the user did to ``/reward``."""
        if self._decision is None:
            raise RuntimeError("learning comes after a decision")
        told = {"action": reaction.action, "dwell_ms": reaction.dwell_ms}
        await call_service("/reward", self._url, self._client.send_reward(self._decision.id, {"reaction": told}))


def build_client(url: str, api_key: str | None) -> "AsyncBandstand":
    """A client with the patience of a simulation.

    Raises:
        ConfigurationError: the URL or the key is none, or the Python client is not installed.
    """
    try:
        # The service is installed without it: it is needed here alone.
        from bandstand_client import AsyncBandstand, Breaker, Retry  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("--url needs the Python client: pip install ./clients/python") from error
    try:
        return AsyncBandstand(
            url,
            api_key,
            score_deadline=_TIMEOUT_S,
            deadline=_TIMEOUT_S,
            retry=Retry(tries=_TRIES, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S),
            breaker=Breaker(failures=sys.maxsize),
        )
    except ValueError as error:
        raise ConfigurationError(f"--url must start with http:// or https:// and name a host: {error}") from error


async def call_service(path: str, url: str, call: Awaitable[T]) -> T:
    """Make a call of a client.

    Raises:
        ServiceError: it was refused, or stayed without an answer; names the path.
    """
    from bandstand_client import BandstandError  # noqa: PLC0415 (whoever calls has a client)

    try:
        return await call
    except BandstandError as error:
        raise _to_service_error(path, url, error) from error


def _to_service_error(path: str, url: str, error: "BandstandError | None") -> ServiceError:
    from bandstand_client import NoAnswerError, ProblemError  # noqa: PLC0415 (the same)

    if isinstance(error, ProblemError):
        return ServiceError(f"{path} answered {error.status}: {error.detail}")
    if isinstance(error, NoAnswerError):
        return ServiceError(f"{url} cannot be reached: {str(error).partition(':')[0]}")
    return ServiceError(f"{path} answered something that is no decision: {error}")
