"""The fake itself: an httpx transport with a service behind it, in memory."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import httpx

from bandstand_client.aio import AsyncBandstand
from bandstand_client.client import Bandstand
from bandstand_client.retry import Retry
from bandstand_client.testing import generation, learning, operators, opinions, runs, sight
from bandstand_client.testing.deployment import FakeDeployment, Picker
from bandstand_client.testing.request import FakeProblem, FakeRequest, Handler

FailureKind = Literal["unreachable", "broken-off", "deadline", "answered-too-late"]

_URL = "http://fake.bandstand"
_OK, _ACCEPTED, _NO_CONTENT = 200, 202, 204


def _route(method: str, path: str, handler: Handler) -> tuple[str, "re.Pattern[str]", Handler]:
    return method, re.compile(re.sub(r"\{\}", "([^/]+)", path)), handler


_ROUTES = [
    _route("POST", "/score", learning.score),
    _route("POST", "/score/{}", learning.score),
    _route("POST", "/reward", learning.reward),
    _route("POST", "/reward/{}", learning.reward),
    _route("GET", "/stats", sight.stats),
    _route("GET", "/features", sight.history),
    _route("GET", "/decisions/{}", sight.receipt),
    _route("POST", "/decisions/{}/activate", learning.activate),
    _route("GET", "/policies", sight.policies),
    _route("GET", "/health", sight.health),
    _route("GET", "/ready", sight.ready),
    _route("POST", "/policies/{}/promote", operators.promote),
    _route("POST", "/policies/{}/demote", operators.demote),
    _route("POST", "/reset", operators.reset),
    _route("DELETE", "/users", operators.erase),
    _route("GET", "/users", operators.list_users),
    _route("POST", "/revocations", operators.revoke),
    _route("GET", "/revocations", operators.list_revocations),
    _route("POST", "/reactions/reapply", operators.reapply_reactions),
    _route("POST", "/generate", generation.generate),
    _route("POST", "/recommend", generation.recommend),
    _route("GET", "/prompts", generation.list_prompts),
    _route("GET", "/prompts/stats", generation.show_stats),
    _route("POST", "/prompts/reload", generation.list_prompts),
    _route("GET", "/prompts/{}/{}", generation.show_prompt),
    _route("POST", "/judge", opinions.judge),
    _route("POST", "/classify/feedback", opinions.classify),
    _route("POST", "/arbitrate", opinions.arbitrate),
    _route("GET", "/judgements", opinions.list_judgements),
    _route("POST", "/judgements/retry", opinions.retry),
    _route("POST", "/judgements/reapply", opinions.reapply),
    _route("GET", "/judgements/{}", opinions.show),
    _route("POST", "/judgements/{}/override", opinions.override),
    _route("POST", "/simulations", runs.start_simulation),
    _route("GET", "/simulations", runs.list_simulations),
    _route("GET", "/simulations/{}", runs.show_simulation),
    _route("POST", "/simulations/{}/cancel", runs.cancel_simulation),
    _route("DELETE", "/simulations/{}", runs.delete_simulation),
    _route("POST", "/evaluations", runs.start_evaluation),
    _route("GET", "/evaluations", runs.list_evaluations),
    _route("GET", "/evaluations/{}", runs.show_evaluation),
    _route("POST", "/evaluations/{}/cancel", runs.cancel_evaluation),
    _route("DELETE", "/evaluations/{}", runs.delete_evaluation),
]


class FakeBandstand(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A Bandstand in memory, for a product's own unit tests.

    It speaks the service's wire and keeps its laws: a decision is made once and rewarded once, a repeated request gets
    its first answer, and what the service refuses it refuses. It learns nothing: it picks by a uniform draw, or as it
    is told. The client in front of it is the real one.

    Args:
        pick: says which candidate's id is picked, of the user's id and the candidates' ids.

    Example:
        >>> from bandstand_client.testing import FakeBandstand
        >>> fake = FakeBandstand(pick=lambda user_id, ids: ids[-1])
        >>> client = fake.build_client()
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.pick, decision.react("done", dwell=45).reward
        ('coffee', 1.0)
        >>> list(fake.rewards.values())
        [1.0]
    """

    def __init__(self, pick: Picker | None = None) -> None:
        self._deployment = FakeDeployment(pick)
        self._fault: Callable[[], httpx.Response] | None = None
        self._late = False

    def build_client(self, **options: Any) -> Bandstand:
        """A client of this service; ``options`` are those of :class:`Bandstand`. It retries without waiting.

        Example:
            >>> FakeBandstand().build_client().health().ok
            True
        """
        return Bandstand(_URL, **{"retry": Retry(first_s=0.0), "transport": self, **options})

    def build_async_client(self, **options: Any) -> AsyncBandstand:
        """A client of this service for an event loop.

        Example:
            >>> (await FakeBandstand().build_async_client().health()).ok
            True
        """
        return AsyncBandstand(_URL, **{"retry": Retry(first_s=0.0), "transport": self, **options})

    @property
    def rewards(self) -> Mapping[str, float]:
        """The reward of each decision that has one, by the decision's id.

        Example:
            >>> FakeBandstand().rewards
            {}
        """
        with self._deployment.lock:
            decisions = self._deployment.decisions.values()
            return {each.id: each.reward.value for each in decisions if each.reward is not None}

    @property
    def picks(self) -> Sequence[tuple[str, str]]:
        """The user and the pick of each decision, in their order; those too that were answered too late.

        Example:
            >>> fake = FakeBandstand()
            >>> fake.build_client().score("ada", ["tea"]).pick
            'tea'
            >>> fake.picks
            [('ada', 'tea')]
        """
        with self._deployment.lock:
            return [(each.user_id, each.tip_id) for each in self._deployment.decisions.values()]

    @contextmanager
    def failing(self, kind: FailureKind) -> Iterator[None]:
        """Give no answers for a while.

        Args:
            kind: ``unreachable``, ``broken-off``, ``deadline``; or ``answered-too-late``: a call happens, and its
                answer comes after the deadline.

        Example:
            >>> fake = FakeBandstand()
            >>> with fake.failing("answered-too-late"):
            ...     decision = fake.build_client().score("ada", ["tea", "coffee"])
            >>> decision.pick, decision.fallback, len(fake.picks)
            ('tea', 'deadline', 1)
        """

        def fail() -> httpx.Response:
            if kind == "unreachable":
                raise httpx.ConnectError("nobody listens")
            if kind == "broken-off":
                raise httpx.ReadError("the connection was closed")
            raise httpx.ReadTimeout("no answer came in time")

        with self._faulty(fail, late=kind == "answered-too-late"):
            yield

    @contextmanager
    def refusing(self, code: str) -> Iterator[None]:
        """Answer with a problem for a while, by its code.

        Example:
            >>> fake = FakeBandstand()
            >>> with fake.refusing("overloaded"):
            ...     fake.build_client().score("ada", ["tea", "coffee"]).fallback
            'overloaded'
        """
        status, content = FakeProblem(code, "the fake refuses").render()
        with self.answering(status, content):
            yield

    @contextmanager
    def answering(self, status: int, content: bytes) -> Iterator[None]:
        """Answer with these bytes for a while, as a proxy may.

        Example:
            >>> fake = FakeBandstand()
            >>> with fake.answering(502, b"Bad Gateway"):
            ...     fake.build_client().score("ada", ["tea", "coffee"]).fallback
            'failed'
        """
        with self._faulty(lambda: httpx.Response(status, content=content), late=False):
            yield

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request; the client calls it.

        Example:
            >>> FakeBandstand().handle_request(httpx.Request("GET", "http://fake/ready")).status_code
            200
        """
        return self._respond(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request in an event loop; the client calls it.

        Example:
            >>> (await FakeBandstand().handle_async_request(httpx.Request("GET", "http://fake/ready"))).status_code
            200
        """
        return self._respond(request, await request.aread())

    @contextmanager
    def _faulty(self, fault: Callable[[], httpx.Response], *, late: bool) -> Iterator[None]:
        self._fault, self._late = fault, late
        try:
            yield
        finally:
            self._fault, self._late = None, False

    def _respond(self, request: httpx.Request, content: bytes) -> httpx.Response:
        fault = self._fault
        if fault is not None and not self._late:
            return fault()
        try:
            status, answer = self._answer(request, content)
        except FakeProblem as problem:
            status, answer = problem.render()
        if fault is not None:
            return fault()
        return httpx.Response(status, content=answer, headers={"content-type": "application/json"})

    def _answer(self, request: httpx.Request, content: bytes) -> tuple[int, bytes]:
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        if (request.method, path) == ("GET", "/metrics"):
            return _OK, b"# the fake counts nothing\nbandstand_decisions 0\n"
        try:
            body = json.loads(content) if content else {}
        except ValueError:
            raise FakeProblem("invalid-request", "body: is not JSON", ("body", "is not JSON")) from None
        for method, pattern, handler in _ROUTES:
            found = pattern.fullmatch(path)
            if found and method == request.method:
                ids = tuple(unquote(each) for each in found.groups())
                asked = FakeRequest(ids, dict(parse_qsl(query)), body, request.headers.get("idempotency-key"))
                with self._deployment.lock:
                    answer = handler(self._deployment, asked)
                if answer is None:
                    return _NO_CONTENT, b""
                accepted = path in ("/simulations", "/evaluations") or (
                    path.startswith("/reward") and "judgement_id" in answer
                )
                status = _ACCEPTED if accepted and method == "POST" and "verdict" not in answer else _OK
                return status, json.dumps(answer).encode()
        raise FakeProblem("not-found", "no such route")
