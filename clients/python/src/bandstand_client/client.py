"""The client for threads."""

import ssl
import threading
from collections.abc import Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import httpx

from bandstand_client.areas.evaluations import EvaluationCalls
from bandstand_client.areas.generation import GenerationCalls
from bandstand_client.areas.judgements import JudgementCalls
from bandstand_client.areas.operators import OperatorCalls
from bandstand_client.areas.opinions import OpinionCalls
from bandstand_client.areas.sight import SightCalls
from bandstand_client.areas.simulations import SimulationCalls
from bandstand_client.breaker import Breaker
from bandstand_client.call import Call
from bandstand_client.candidates import C, Encode, K
from bandstand_client.core import Core, Counts
from bandstand_client.deadline import Deadline
from bandstand_client.decision import Decision, DecisionRef
from bandstand_client.events import EventHandler
from bandstand_client.forks import watch_forks
from bandstand_client.outcome import Steps
from bandstand_client.retry import Retry
from bandstand_client.sending import drive

if TYPE_CHECKING:
    from bandstand_client.answers import Judgement
    from bandstand_client.learning_answers import Rewarded, TurnTaken
    from bandstand_client.outbox import Outbox, WhenFull

S = TypeVar("S", bound="Bandstand")
T = TypeVar("T")

SCORE_DEADLINE_S = 0.25
DEADLINE_S = 10.0


class Bandstand(
    SightCalls, OperatorCalls, GenerationCalls, OpinionCalls, JudgementCalls, SimulationCalls, EvaluationCalls
):
    """A client of a Bandstand service, for programs without an event loop; threads may share it, and forks keep it.

    Every call has one deadline, over all its tries. Calls bring their own ids, so that they may be repeated.
    ``score`` never waits longer than its deadline and raises nothing for want of an answer: the caller's first
    candidate comes back. After a few calls without an answer the service is left alone, and a call costs microseconds.

    Args:
        url: where the service is, such as ``https://bandstand.internal``; a path in it goes before every route.
        key: the API key's secret. It is in no repr, no log and no exception.
        score_deadline: seconds for ``score``.
        deadline: seconds for the calls that have none of their own; those that an LLM answers have 90.
        retry: when a call is made again.
        breaker: when it is not made at all.
        on_event: called with an :class:`Event` for each call, retry, fallback and change of the breaker.
        transport: an httpx transport in place of connections of the client's own; one that forks must not be shared by
            processes, and its timeouts are its own.
        verify: whether TLS certificates are checked, or the context that does it, as in httpx.

    Raises:
        ValueError: the URL or the key cannot be used.

    Example:
        >>> with Bandstand("http://127.0.0.1:8000", "s3cret") as product:
        ...     print(product)
        Bandstand('http://127.0.0.1:8000')
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
        transport: httpx.BaseTransport | None = None,
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
        # Made here, for its imports and certificates would take most of the first call's deadline.
        from bandstand_client.transport import DeadlineTransport, build_context

        self._given = transport
        self._context = build_context(self._core.url.scheme, verify) if transport is None else None
        self._own = DeadlineTransport(self._context) if transport is None else None
        self._lock = threading.Lock()
        watch_forks(self)

    def __repr__(self) -> str:
        return f"Bandstand({str(self._core.url)!r})"

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. A call after that connects again.

        Example:
            >>> Bandstand("http://127.0.0.1:8000").close()
        """
        with self._lock:
            own, self._own = self._own, None
        for transport in (own, self._given):
            if transport is not None:
                transport.close()

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
    def score(
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
    ) -> Decision[K]: ...

    @overload
    def score(
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
    ) -> Decision[C]: ...

    def score(
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
    ) -> Decision[Any]:
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
            >>> decision = client.score("ada", [{"id": "tea"}, {"id": "coffee"}], context={"hour_of_day": 9})
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
        scored = self._drive(steps)
        return Decision(
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

    def decision(self, decision_id: str) -> DecisionRef:
        """A decision by its id, which went through a page; nothing is sent.

        Example:
            >>> shown = client.score("ada", ["tea", "coffee"]).id
            >>> client.decision(shown).react("snooze").reward
            0.1
        """
        return DecisionRef(decision_id, self)

    def outbox(
        self,
        path: "str | PathLike[str] | None" = None,
        *,
        capacity: int = 10_000,
        when_full: "WhenFull" = "refuse",
        flush_deadline: float = 5.0,
        power_safe: bool = False,
    ) -> "Outbox":
        """Open an outbox: rewards that are sent in the background, in order, until the service has them.

        Args:
            path: a file that survives a crash of the product; what is in it is sent by whoever opens it next. Without
                one, rewards wait in memory.
            capacity: how many may wait.
            when_full: ``refuse`` raises :class:`OutboxFullError`; ``drop`` forgets the new one, and counts it.
            flush_deadline: how long leaving the outbox waits for what is in it, in seconds.
            power_safe: sync the file at each reward, so that it survives a power cut too; a reward then costs
                milliseconds in place of microseconds.

        Example:
            >>> decision = client.score("ada", ["tea", "coffee"])
            >>> with client.outbox() as outbox:
            ...     outbox.reward(decision, 0.5)
            >>> outbox.counts.delivered
            1
        """
        from bandstand_client.outbox import Outbox

        return Outbox(
            self._core,
            self._given,
            self._context,
            path,
            capacity=capacity,
            when_full=when_full,
            flush_deadline=flush_deadline,
            power_safe=power_safe,
        )

    def send(self, call: Call[T]) -> T:
        """Make a call that has no method of its own yet: :func:`build_get` and its like build one.

        Raises:
            ProblemError, NoAnswerError, UnexpectedAnswerError: how it ended.

        Example:
            >>> from bandstand_client.call import build_get
            >>> client.send(build_get("/ready", lambda answer: answer["ready"]))
            True
        """
        return self._drive(self._core.exchange(call, self._core.start_deadline(call.seconds)))

    def send_reward(self, decision_id: str, body: Mapping[str, Any]) -> "Rewarded":
        """Send what a decision was worth, as the wire has it: what ``decision.reward`` and ``decision.react`` call.

        Example:
            >>> client.send_reward(client.score("ada", ["tea"]).id, {"reward": 0.5}).applied
            True
        """
        return self._drive(self._core.reward(decision_id, body))

    def send_turn(self, decision_id: str, body: Mapping[str, Any], *, wait: bool) -> "TurnTaken | Judgement":
        """Send a turn as the wire has it: what ``decision.turn`` calls.

        Example:
            >>> turn = {"turn": {"query_t": "What now?", "answer_t": "Drink tea.", "query_t1": "Thanks!"}}
            >>> client.send_turn(client.score("ada", ["tea"]).id, turn, wait=False).ok
            True
        """
        answer: TurnTaken | Judgement = self._drive(self._core.turn(decision_id, body, wait=wait))
        return answer

    def reset_after_fork(self) -> None:
        """Leave the parent's connections to the parent; the client calls it by itself in a forked process.

        Example:
            >>> client.reset_after_fork()
            >>> client.health().ok
            True
        """
        self._core.reset_after_fork()
        self._lock = threading.Lock()
        own, self._own = self._own, None
        if own is not None:
            own.abandon()

    def _drive(self, steps: Steps[T]) -> T:
        return drive(steps, self._get_transport)

    def _get_transport(self) -> httpx.BaseTransport:
        transport = self._given or self._own
        if transport is not None:
            return transport
        from bandstand_client.transport import DeadlineTransport

        with self._lock:
            if self._own is None:
                self._own = DeadlineTransport(self._context)
            return self._own
