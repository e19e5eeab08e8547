"""The client for event loops."""

import asyncio
import ssl
import weakref
from collections.abc import Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import anyio
import httpx

from bandstand_client.aio_areas.evaluations import AsyncEvaluationCalls
from bandstand_client.aio_areas.generation import AsyncGenerationCalls
from bandstand_client.aio_areas.judgements import AsyncJudgementCalls
from bandstand_client.aio_areas.operators import AsyncOperatorCalls
from bandstand_client.aio_areas.opinions import AsyncOpinionCalls
from bandstand_client.aio_areas.sight import AsyncSightCalls
from bandstand_client.aio_areas.simulations import AsyncSimulationCalls
from bandstand_client.aio_decision import AsyncDecision, AsyncDecisionRef
from bandstand_client.breaker import Breaker
from bandstand_client.call import Call
from bandstand_client.candidates import C, Encode, K
from bandstand_client.client import DEADLINE_S, SCORE_DEADLINE_S
from bandstand_client.core import Core, Counts
from bandstand_client.deadline import Deadline
from bandstand_client.events import EventHandler
from bandstand_client.forks import watch_forks
from bandstand_client.outcome import Attempt, Failure, Outcome, Reply, Steps, name_failure
from bandstand_client.retry import Retry
from bandstand_client.transport import KEPT_ALIVE_S, build_context

if TYPE_CHECKING:
    from bandstand_client.aio_outbox import AsyncOutbox
    from bandstand_client.answers import Judgement
    from bandstand_client.learning_answers import Rewarded, TurnTaken
    from bandstand_client.outbox import WhenFull

S = TypeVar("S", bound="AsyncBandstand")
T = TypeVar("T")

_CONNECTIONS = 100


class AsyncBandstand(
    AsyncSightCalls,
    AsyncOperatorCalls,
    AsyncGenerationCalls,
    AsyncOpinionCalls,
    AsyncJudgementCalls,
    AsyncSimulationCalls,
    AsyncEvaluationCalls,
):
    """A client of a Bandstand service, for programs with an event loop: a :class:`Bandstand` whose calls are awaited.

    One client may be used in several event loops, also one after the other: each has connections of its own. Close it,
    or leave its ``async with``, before a loop ends, else Python warns of sockets that nobody closed.

    Args:
        url: where the service is, such as ``https://bandstand.internal``; a path in it goes before every route.
        key: the API key's secret. It is in no repr, no log and no exception.
        score_deadline: seconds for ``score``.
        deadline: seconds for the calls that have none of their own; those that an LLM answers have 90.
        retry: when a call is made again.
        breaker: when it is not made at all.
        on_event: called with an :class:`Event` for each call, retry, fallback and change of the breaker.
        transport: an httpx transport in place of connections of the client's own, such as ``httpx.ASGITransport``.
        verify: whether TLS certificates are checked, or the context that does it, as in httpx.

    Raises:
        ValueError: the URL or the key cannot be used.

    Example:
        >>> async with AsyncBandstand("http://127.0.0.1:8000", "s3cret") as product:
        ...     print(product)
        AsyncBandstand('http://127.0.0.1:8000')
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        score_deadline: float = SCORE_DEADLINE_S,
        deadline: float = DEADLINE_S,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        on_event: EventHandler | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        self._core = Core(
            url,
            key,
            score_deadline_s=score_deadline,
            deadline_s=deadline,
            retry=retry or Retry(),
            breaker=breaker or Breaker(),
            on_event=on_event,
        )
        self._given = transport
        self._context = build_context(self._core.url.scheme, verify) if transport is None else None
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncBaseTransport]
        self._pools = weakref.WeakKeyDictionary()
        watch_forks(self)

    def __repr__(self) -> str:
        return f"AsyncBandstand({str(self._core.url)!r})"

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hang up in this event loop. A call after that connects again.

        Example:
            >>> await AsyncBandstand("http://127.0.0.1:8000").aclose()
        """
        transport = self._pools.pop(asyncio.get_running_loop(), None) or self._given
        if transport is not None:
            await transport.aclose()

    @property
    def counts(self) -> Counts:
        """Calls, retries, fallbacks and withheld rewards so far.

        Example:
            >>> client.counts.withheld
            0
        """
        return self._core.counts

    @property
    def breaker(self) -> Breaker:
        """The circuit breaker.

        Example:
            >>> client.breaker.state
            'closed'
        """
        return self._core.breaker

    @overload
    async def score(
        self,
        user_id: str,
        candidates: Sequence[K],
        *,
        context: Mapping[str, Any] | None = None,
        policy: str | None = None,
        ranking: bool = False,
        exclude: Sequence[str] = (),
        defer: bool = False,
        decision_id: str | None = None,
        deadline: float | None = None,
        encode: None = None,
    ) -> AsyncDecision[K]: ...

    @overload
    async def score(
        self,
        user_id: str,
        candidates: Sequence[C],
        *,
        context: Mapping[str, Any] | None = None,
        policy: str | None = None,
        ranking: bool = False,
        exclude: Sequence[str] = (),
        defer: bool = False,
        decision_id: str | None = None,
        deadline: float | None = None,
        encode: Encode[C],
    ) -> AsyncDecision[C]: ...

    async def score(
        self,
        user_id: str,
        candidates: Sequence[Any],
        *,
        context: Mapping[str, Any] | None = None,
        policy: str | None = None,
        ranking: bool = False,
        exclude: Sequence[str] = (),
        defer: bool = False,
        decision_id: str | None = None,
        deadline: float | None = None,
        encode: Encode[Any] | None = None,
    ) -> AsyncDecision[Any]:
        """Have one of the candidates picked for a user.

        Args:
            user_id: whose model picks.
            candidates: what may be shown, the one to fall back on first: strings, mappings with an ``id``, objects with
                an ``id`` (a :class:`Candidate` is one), or anything with ``encode``.
            context: what the deployment's feature schema reads of the moment.
            policy: a policy's name; the active one if left out.
            ranking: whether to answer with all candidates too.
            exclude: ids of candidates that must not be picked; the first of the others is fallen back on.
            defer: hold the decision back: nothing is taught until ``activate`` says that it was shown.
            decision_id: an id of the product's own; else a new UUIDv7. The same request again under one id gets the
                same answer.
            deadline: seconds, in place of the client's.
            encode: says what the service is to know of a candidate: a mapping with an ``id``.

        Returns:
            The decision. Without an answer in time its ``pick`` is the first candidate, and ``fallback`` says why.

        Raises:
            ProblemError: the service refused, because the request or the key is wrong (4xx).
            ValueError: there is no candidate, or a number that JSON does not have.

        Example:
            >>> decision = await client.score("ada", [{"id": "tea"}, {"id": "coffee"}], context={"hour_of_day": 9})
            >>> decision.pick["id"] in {"tea", "coffee"}
            True
        """
        ends = Deadline(self._core.score_deadline_s if deadline is None else deadline)
        steps = self._core.score(
            user_id,
            candidates,
            context=context,
            policy=policy,
            ranking=ranking,
            exclude=exclude,
            defer=defer,
            decision_id=decision_id,
            encode=encode,
            deadline=ends,
        )
        scored = await self._drive(steps)
        return AsyncDecision(
            scored.id,
            candidates[scored.picked],
            scored.propensity,
            scored.score,
            scored.policy,
            scored.exploring,
            scored.ranking,
            scored.fallback,
            scored.error,
            scored.extra,
            self,
        )

    def decision(self, decision_id: str) -> AsyncDecisionRef:
        """A decision by its id, which went through a page; nothing is sent.

        Example:
            >>> shown = (await client.score("ada", ["tea", "coffee"])).id
            >>> (await client.decision(shown).react("snooze")).reward
            0.1
        """
        return AsyncDecisionRef(decision_id, self)

    def outbox(
        self,
        path: "str | PathLike[str] | None" = None,
        *,
        capacity: int = 10_000,
        when_full: "WhenFull" = "refuse",
        flush_deadline: float = 5.0,
        power_safe: bool = False,
    ) -> "AsyncOutbox":
        """Open an outbox: rewards that are sent in the background, in order, until the service has them.

        A thread sends them, so that nothing of it happens in the event loop, and none is lost with it.

        Args:
            path: a file that survives a crash of the product; what is in it is sent by whoever opens it next. Without
                one, rewards wait in memory.
            capacity: how many may wait.
            when_full: ``refuse`` raises :class:`OutboxFullError`; ``drop`` forgets the new one, and counts it.
            flush_deadline: how long leaving the outbox waits for what is in it, in seconds.
            power_safe: sync the file at each reward, so that it survives a power cut too.

        Raises:
            TypeError: the client was given a transport that only an event loop can use.

        Example:
            >>> decision = await client.score("ada", ["tea", "coffee"])
            >>> async with client.outbox() as outbox:
            ...     await outbox.reward(decision, 0.5)
            >>> outbox.counts.delivered
            1
        """
        from bandstand_client.aio_outbox import AsyncOutbox
        from bandstand_client.outbox import Outbox

        given = self._given
        if given is not None and not isinstance(given, httpx.BaseTransport):
            raise TypeError("an outbox sends from a thread, which this transport cannot")
        return AsyncOutbox(
            Outbox(
                self._core,
                given,
                self._context,
                path,
                capacity=capacity,
                when_full=when_full,
                flush_deadline=flush_deadline,
                power_safe=power_safe,
            )
        )

    async def send(self, call: Call[T]) -> T:
        """Make a call that has no method of its own yet: :func:`build_get` and its like build one.

        Raises:
            ProblemError, NoAnswerError, UnexpectedAnswerError: how it ended.

        Example:
            >>> from bandstand_client.call import build_get
            >>> await client.send(build_get("/ready", lambda answer: answer["ready"]))
            True
        """
        return await self._drive(self._core.exchange(call, self._core.start_deadline(call.seconds)))

    async def send_reward(self, decision_id: str, body: Mapping[str, Any]) -> "Rewarded":
        """Send what a decision was worth, as the wire has it: what ``decision.reward`` and ``decision.react`` call.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> (await client.send_reward(decision.id, {"reward": 0.5})).applied
            True
        """
        return await self._drive(self._core.reward(decision_id, body))

    async def send_turn(self, decision_id: str, body: Mapping[str, Any], *, wait: bool) -> "TurnTaken | Judgement":
        """Send a turn as the wire has it: what ``decision.turn`` calls.

        Example:
            >>> decision = await client.score("ada", ["tea"])
            >>> turn = {"turn": {"query_t": "What now?", "answer_t": "Drink tea.", "query_t1": "Thanks!"}}
            >>> (await client.send_turn(decision.id, turn, wait=False)).ok
            True
        """
        answer: TurnTaken | Judgement = await self._drive(self._core.turn(decision_id, body, wait=wait))
        return answer

    def reset_after_fork(self) -> None:
        """Leave the parent's connections to the parent; the client calls it by itself in a forked process.

        Example:
            >>> AsyncBandstand("http://127.0.0.1:8000").reset_after_fork()
        """
        self._core.reset_after_fork()
        self._pools = weakref.WeakKeyDictionary()

    async def _drive(self, steps: Steps[T]) -> T:
        outcome: Outcome | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Attempt):
                    outcome = await _send_attempt(self._get_transport(), step)
                else:
                    await asyncio.sleep(step)
                    outcome = None
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _get_transport(self) -> httpx.AsyncBaseTransport:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        transport = self._pools.get(loop)
        if transport is None:
            limits = httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=KEPT_ALIVE_S,
            )
            verify = self._context or False  # without TLS, which then has no certificates to load
            transport = self._pools[loop] = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)
        return transport


async def _send_attempt(transport: httpx.AsyncBaseTransport, attempt: Attempt) -> Outcome:
    """Send a request and say what became of it, without the library's exception, which would hold the key."""
    remaining = attempt.deadline.compute_remaining()
    if remaining <= 0:
        return Failure("deadline", "no time was left")
    try:
        with anyio.move_on_after(remaining):
            response = await transport.handle_async_request(attempt.request)
            try:
                content = await response.aread()
            finally:
                await response.aclose()
            return Reply(response.status_code, content, response.headers.get("retry-after"))
    except (httpx.HTTPError, OSError) as error:
        return name_failure(error)
    return Failure("deadline", "no answer came in time")
