"""What the two clients share: everything about a call but the waiting for it.

A call is a generator. It yields an :class:`Attempt` to have a request sent, and is sent what became of it; it yields
seconds to have them pass; it returns the answer. Threads and event loops drive the same generators, so that retries,
deadlines, the circuit breaker and the fallback are written once.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from bandstand_client.breaker import Breaker
from bandstand_client.call import LONG_S, Call, build_parser, encode_json, quote_id
from bandstand_client.candidates import Encode, encode_candidates, find_first_eligible
from bandstand_client.deadline import Deadline
from bandstand_client.errors import (
    BandstandError,
    BrokenOffError,
    CircuitOpenError,
    NoAnswerError,
    ProblemError,
    UnexpectedAnswerError,
    UnreachableError,
)
from bandstand_client.events import Event, EventHandler, send_event
from bandstand_client.ids import make_id
from bandstand_client.learning import FallbackReason, Scored, find_withheld_reason
from bandstand_client.outcome import ERRORS, Attempt, Failure, Outcome, Reply, Steps, name_outcome
from bandstand_client.retry import Retry, parse_retry_after
from bandstand_client.scoring import find_fallback_reason, parse_scored
from bandstand_client.secret import Secret
from bandstand_client.tracing import build_trace_headers
from bandstand_client.version import __version__

if TYPE_CHECKING:
    from bandstand_client.learning_answers import Rewarded

T = TypeVar("T")

_LOG = logging.getLogger("bandstand_client")
_OK, _REDIRECT, _TOO_SLOW, _TOO_MANY, _UNAVAILABLE, _BROKEN = 200, 300, 408, 429, 503, 500
_GATEWAY = frozenset({502, 504})
_URLS_KEPT = 64


@dataclass(frozen=True)
class Counts:
    """What a client has done since it was made.

    Attributes:
        calls: that ended, well or not.
        retries: tries beyond the first.
        fallbacks: decisions that are the caller's first candidate.
        withheld: rewards and turns of such decisions, which went nowhere.

    Example:
        >>> before = client.counts
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.counts.calls - before.calls
        1
    """

    calls: int = 0
    retries: int = 0
    fallbacks: int = 0
    withheld: int = 0


class Core:
    """The settings of a client, its circuit breaker and its counts.

    Args:
        url: where the service is; a path in it goes before every route.
        key: the API key's secret.
        score_deadline_s: for ``score``.
        deadline_s: for everything else that has none of its own.
        retry: when calls are made again.
        breaker: when they are not made at all.
        on_event: hears of everything.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        score_deadline_s: float,
        deadline_s: float,
        retry: Retry,
        breaker: Breaker,
        on_event: EventHandler | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = _parse_url(url)
        self.score_deadline_s = score_deadline_s
        self.deadline_s = deadline_s
        self.breaker = breaker
        self.on_event = on_event
        self._retry = retry
        self._clock = clock
        self._secret = Secret(key)
        self._path = self.url.raw_path.decode("ascii").rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        python = ".".join(map(str, sys.version_info[:3]))
        agent = f"bandstand-client/{__version__} python/{python} httpx/{httpx.__version__}"
        self._headers = ((b"accept", b"application/json"), (b"user-agent", agent.encode()))
        self._lock = threading.Lock()
        self._counted = dict.fromkeys(("calls", "retries", "fallbacks", "withheld"), 0)

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        with self._lock:
            return Counts(**self._counted)

    def reset_after_fork(self) -> None:
        """Take locks that nobody holds."""
        self._lock = threading.Lock()
        self.breaker.reset_after_fork()

    def start_deadline(self, seconds: float | None) -> Deadline:
        """Begin a call."""
        return Deadline(self.deadline_s if seconds is None else seconds)

    def _build_request(self, call: Call[Any], deadline: Deadline) -> httpx.Request:
        """Build what is sent; every step of it has the deadline as its timeout."""
        headers = [*self._headers, *self._secret.build_headers()]
        if call.content is not None:
            headers.append((b"content-type", b"application/json"))
        if call.idempotency_key is not None:
            headers.append((b"idempotency-key", call.idempotency_key.encode()))
        headers.extend(build_trace_headers())
        timeout = {"connect": deadline, "read": deadline, "write": deadline, "pool": deadline}
        return httpx.Request(
            call.method, self._build_url(call), headers=headers, content=call.content, extensions={"timeout": timeout}
        )

    def exchange(self, call: Call[T], deadline: Deadline) -> Steps[T]:
        """Make a call, again where that may help, until it is answered or its deadline has passed.

        Raises:
            ProblemError, NoAnswerError, UnexpectedAnswerError: how it ended.
        """
        started = self._clock()
        tries = 0
        while True:
            tries += 1
            outcome = yield Attempt(self._build_request(call, deadline), deadline)
            try:
                answer = self._read(call, outcome)
            except BandstandError as caught:
                error = caught
            else:
                self._end(call, "ok", started, tries)
                return answer
            wait = self._decide_wait(call, error, tries, deadline)
            if wait is None:
                self._end(call, name_outcome(error), started, tries)
                raise error
            self._count("retries")
            if self.on_event is not None:
                send_event(self.on_event, Event("retry", call.name, name_outcome(error), wait, tries))
            _LOG.debug("%s: %s; again in %.3f s", call.name, error, wait)
            yield wait

    def score(
        self,
        user_id: str,
        candidates: Sequence[Any],
        *,
        context: Mapping[str, Any] | None,
        policy: str | None,
        ranking: bool,
        exclude: Sequence[str],
        defer: bool,
        decision_id: str | None,
        encode: Encode[Any] | None,
        deadline: Deadline,
    ) -> Steps[Scored]:
        """Have one of the candidates picked; the first of them, if the service does not say which in time.

        Raises:
            ProblemError: the service refused the request: it, or the key, is wrong, and will be again.
        """
        if not candidates or isinstance(candidates, str):
            raise ValueError("score needs a list of at least one candidate")
        chosen_id = decision_id or make_id()
        first = find_first_eligible(candidates, encode, exclude) if exclude else 0
        if not self.breaker.admit():
            return self._fall_back(chosen_id, "circuit-open", None, first)
        offered = encode_candidates(candidates, encode)
        body: dict[str, Any] = {"user_id": user_id, "decision_id": chosen_id, "candidates": offered}
        if context is not None:
            body["context"] = dict(context)
        if ranking:
            body["ranking"] = True
        if exclude:
            body["exclude"] = list(exclude)
        if defer:
            body["defer"] = True

        def parse(answer: Any) -> Scored:
            return parse_scored(answer, [candidate["id"] for candidate in offered], chosen_id)

        route, target = ("/score", "/score") if policy is None else ("/score/{policy}", f"/score/{quote_id(policy)}")
        call = Call("POST", route, target, parse, encode_json(body), counted=True)
        try:
            scored = yield from self.exchange(call, deadline)
        except (NoAnswerError, UnexpectedAnswerError, ProblemError) as error:
            reason = find_fallback_reason(error)
            if reason is None:
                raise
            return self._fall_back(chosen_id, reason, error, first)
        return scored

    def reward(self, decision_id: str, body: Mapping[str, Any], key: str | None = None) -> "Steps[Rewarded]":
        """Send a reward or a reaction, unless it is of a fallback.

        Raises:
            CircuitOpenError: the service is left alone for now.
            ProblemError, NoAnswerError: how it ended.
        """
        from bandstand_client.learning_answers import Rewarded

        withheld = find_withheld_reason(decision_id)
        if withheld is not None:
            self.withhold(withheld)
            return Rewarded(applied=False, reason=withheld, decision_id=decision_id)
        call = build_reward(decision_id, body, build_parser(Rewarded), key)
        return (yield from self._send_counted(call))

    def turn(self, decision_id: str, body: Mapping[str, Any], *, wait: bool) -> Steps[Any]:
        """Send a turn, unless it is of a fallback.

        Raises:
            CircuitOpenError: the service is left alone for now.
            ProblemError, NoAnswerError: how it ended.
        """
        withheld = find_withheld_reason(decision_id)
        if withheld is not None:
            self.withhold(withheld)
            from bandstand_client.learning_answers import TurnTaken

            return TurnTaken(reason=withheld, decision_id=decision_id)
        call = build_reward(decision_id, {**body, "wait": True} if wait else body, _parse_turn_answer)
        if wait:  # an LLM may take its time, and that says nothing of the service
            call.seconds, call.counted = LONG_S, False
        return (yield from self._send_counted(call))

    def _send_counted(self, call: Call[T]) -> Steps[T]:
        if call.counted and not self.breaker.admit():
            raise CircuitOpenError("the service did not answer lately, and was not asked")
        return (yield from self.exchange(call, self.start_deadline(call.seconds)))

    def _read(self, call: Call[T], outcome: Outcome | None) -> T:
        """Read what a call was answered; the breaker hears how that went."""
        if not isinstance(outcome, Reply):
            failure = outcome or Failure("broken-off", "nothing was sent")
            self._record_failure(call, 0.0)
            raise ERRORS[failure.kind](failure.text)
        if not _OK <= outcome.status < _REDIRECT:
            retry_after_s = parse_retry_after(outcome.retry_after, time.time)
            if outcome.status >= _BROKEN or outcome.status == _TOO_MANY:
                self._record_failure(call, retry_after_s)
            else:
                self._record_success(call)
            from bandstand_client.problems import parse_problem

            raise parse_problem(outcome.status, outcome.content, retry_after_s)
        self._record_success(call)
        try:
            return call.parse(_parse_content(call, outcome))
        except (KeyError, TypeError, ValueError) as fault:
            raise UnexpectedAnswerError(f"{call.name} answered something else: {fault!r}") from None

    def _decide_wait(self, call: Call[Any], error: BandstandError, tries: int, deadline: Deadline) -> float | None:
        if call.counted and self.breaker.state != "closed":
            return None
        retry_after_s = 0.0
        if isinstance(error, ProblemError):
            # An error that came back did nothing, so that every call may be repeated; a proxy's own word is no such
            # promise.
            asked_again = error.status in {_UNAVAILABLE, _TOO_MANY, _TOO_SLOW}
            if not asked_again and not (error.status in _GATEWAY and not error.code and call.repeatable):
                return None
            retry_after_s = error.retry_after_s
        elif isinstance(error, BrokenOffError):
            if not call.repeatable:
                return None
        elif not isinstance(error, UnreachableError):
            return None
        return self._retry.compute_wait(tries, retry_after_s, deadline.compute_remaining())

    def _record_success(self, call: Call[Any]) -> None:
        if call.counted and self.breaker.record_success():
            self._announce("closed", logging.INFO, "the service answers again")

    def _record_failure(self, call: Call[Any], retry_after_s: float) -> None:
        if call.counted and self.breaker.record_failure(retry_after_s):
            self._announce("open", logging.WARNING, "the service does not answer, and is left alone for a while")

    def _announce(self, state: str, level: int, text: str) -> None:
        _LOG.log(level, "%s: %s", self.url, text)
        send_event(self.on_event, Event("breaker", outcome=state))

    def _end(self, call: Call[Any], outcome: str, started: float, tries: int) -> None:
        self._count("calls")
        if self.on_event is not None:
            send_event(self.on_event, Event("call", call.name, outcome, self._clock() - started, tries))

    def _fall_back(self, decision_id: str, reason: FallbackReason, error: BandstandError | None, picked: int) -> Scored:
        self._count("fallbacks")
        _LOG.debug("score fell back: %s", reason)
        if self.on_event is not None:
            send_event(self.on_event, Event("fallback", "POST /score", reason))
        return Scored(id=f"fallback-{decision_id}", picked=picked, fallback=reason, error=error)

    def withhold(self, reason: str) -> None:
        """Let a reward go nowhere, and count it."""
        self._count("withheld")
        send_event(self.on_event, Event("withheld", "POST /reward", reason))

    def _count(self, name: str) -> None:
        with self._lock:
            self._counted[name] += 1

    def _build_url(self, call: Call[Any]) -> httpx.URL:
        url = self._urls.get(call.target)
        if url is None:
            url = self.url.copy_with(raw_path=f"{self._path}{call.target}".encode())
            if call.target == call.route and len(self._urls) < _URLS_KEPT:
                self._urls[call.target] = url
        return url


def build_reward(
    decision_id: str, body: Mapping[str, Any], parse: Callable[[Any], T], key: str | None = None
) -> Call[T]:
    """Build a reward, a reaction or a turn of a decision."""
    content = encode_json({"decision_id": decision_id, **body})
    return Call("POST", "/reward", "/reward", parse, content, idempotency_key=key or make_id(), counted=True)


def _parse_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError("the URL must begin with http:// or https:// and name a host")
    if parsed.userinfo:
        raise ValueError("the URL must hold no password: give the key as an argument of its own")
    return parsed


def _parse_content(call: Call[Any], reply: Reply) -> Any:
    if call.text:
        return reply.content.decode("utf-8", "replace")
    if not reply.content:
        return None
    try:
        return json.loads(reply.content)
    except ValueError:
        message = f"{call.name} answered {reply.status} with something that is not JSON"
        raise UnexpectedAnswerError(message) from None


def _parse_turn_answer(answer: Any) -> Any:
    if isinstance(answer, dict) and "status" in answer:
        from bandstand_client.answers import Judgement

        return build_parser(Judgement)(answer)
    from bandstand_client.learning_answers import TurnTaken

    return build_parser(TurnTaken)(answer)
