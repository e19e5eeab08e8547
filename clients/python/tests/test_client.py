"""Retries, fallbacks and the breaker, with a service that fails as it is told to."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from bandstand_client import (
    AsyncBandstand,
    Bandstand,
    Breaker,
    BrokenOffError,
    CircuitOpenError,
    Event,
    OverloadedError,
    ProblemError,
    Retry,
    UnauthorizedError,
)
from bandstand_client.decision import build_turn
from bandstand_client.testing import FakeBandstand

TWO = ["tea", "coffee"]
OVERLOADED = httpx.Response(503, json={"type": "urn:bandstand:problem:overloaded", "detail": "d"})


class Flaky(httpx.BaseTransport):
    """Fails a number of times before it answers; what was sent is kept."""

    def __init__(self, *faults: Exception | httpx.Response, behind: FakeBandstand | None = None) -> None:
        self.sent: list[httpx.Request] = []
        self._faults = list(faults)
        self._behind = behind or FakeBandstand()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if not self._faults:
            return self._behind.handle_request(request)
        fault = self._faults.pop(0)
        if isinstance(fault, httpx.Response):
            return httpx.Response(fault.status_code, content=fault.content, headers=fault.headers)
        self._behind.handle_request(request)  # it happened, and nobody heard of it
        raise fault


def build(transport: httpx.BaseTransport, **options: Any) -> Bandstand:
    return Bandstand("http://fake", transport=transport, **{"retry": Retry(first_s=0.0), **options})


def test_a_retry_sends_the_same_bytes_under_the_same_ids() -> None:
    flaky = Flaky(httpx.ReadError("lost"), OVERLOADED, httpx.ConnectError("gone"))
    client = build(flaky)
    decision = client.score("ada", TWO)
    assert decision.fallback is None
    assert len({request.read() for request in flaky.sent}) == 1
    assert len(flaky.sent) == 4
    assert client.counts.retries == 3
    flaky._faults = [httpx.ReadError("lost"), httpx.ReadError("lost")]  # noqa: SLF001 (ours)
    assert decision.reward(0.5).applied
    rewards = flaky.sent[4:]
    assert len({(request.read(), request.headers["idempotency-key"]) for request in rewards}) == 1
    assert client.stats("ada").reward_count == 1


@pytest.mark.parametrize(
    "call",
    [lambda c: c.generate("ada"), lambda c: c.start_simulation(["first-v1"])],
    ids=["generate", "start_simulation"],
)
def test_what_may_not_happen_twice_is_not_sent_twice(call: Callable[[Bandstand], Any]) -> None:
    flaky = Flaky(httpx.ReadError("lost"))
    with pytest.raises(BrokenOffError):
        call(build(flaky))
    assert len(flaky.sent) == 1


def test_what_did_not_happen_is_sent_again() -> None:
    flaky = Flaky(OVERLOADED, httpx.ConnectError("gone"))
    assert build(flaky).generate("ada").candidates == ()
    assert len(flaky.sent) == 3


@pytest.mark.parametrize(("status", "tries"), [(502, 4), (504, 4), (503, 4), (429, 4), (500, 1), (507, 1), (501, 1)])
def test_a_proxy_s_answers_are_retried_where_that_may_help(status: int, tries: int) -> None:
    flaky = Flaky(*[httpx.Response(status, text="a proxy")] * 9)
    decision = build(flaky).score("ada", TWO)
    assert decision.pick == "tea"
    assert len(flaky.sent) == tries


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (httpx.ConnectError(""), "unreachable"),
        (httpx.ReadError(""), "broken-off"),
        (httpx.RemoteProtocolError(""), "broken-off"),
        (httpx.WriteError(""), "broken-off"),
        (httpx.ReadTimeout(""), "deadline"),
        (httpx.ConnectTimeout(""), "deadline"),
        (httpx.PoolTimeout(""), "deadline"),
        (OVERLOADED, "overloaded"),
        (httpx.Response(429), "overloaded"),
        (httpx.Response(500), "failed"),
        (httpx.Response(507), "failed"),
    ],
)
def test_every_want_of_an_answer_is_a_fallback_with_its_reason(fault: Any, reason: str) -> None:
    client = build(Flaky(*[fault] * 9))
    decision = client.score("ada", [{"id": "tea"}, {"id": "coffee"}])
    assert (decision.pick, decision.fallback) == ({"id": "tea"}, reason)
    assert (decision.propensity, decision.score, decision.policy) == (None, None, None)
    assert client.counts.fallbacks == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 302])
def test_what_the_caller_did_wrong_is_raised(status: int) -> None:
    with pytest.raises(ProblemError) as raised:
        build(Flaky(httpx.Response(status))).score("ada", TWO)
    assert raised.value.status == status


def test_rewards_of_a_fallback_go_nowhere_and_are_counted() -> None:
    fake = FakeBandstand()
    events: list[Event] = []
    client = fake.build_client(on_event=events.append)
    with fake.failing("answered-too-late"):
        decision = client.score("ada", TWO)
    assert decision.fallback == "deadline"
    for shown in (decision, client.decision(decision.id)):
        rewarded = shown.reward(1.0)
        assert (rewarded.applied, rewarded.reason, rewarded.reward) == (False, "fallback", None)
        assert shown.react("snooze").reason == "fallback"
        assert shown.turn("a", "b", "c").reason == "fallback"
    with client.outbox() as outbox:
        outbox.reward(decision, 1.0)
        outbox.turn(decision.id, "a", "b", "c")
    assert outbox.counts.withheld == 2
    assert client.counts.withheld == 8
    assert [event.kind for event in events].count("withheld") == 8
    assert fake.rewards == {}
    assert len(fake.picks) == 1


def test_a_pick_that_could_not_be_logged_is_shown_and_not_rewarded() -> None:
    fake = FakeBandstand()

    def answer(request: httpx.Request) -> httpx.Response:
        full = fake.handle_request(request).json()
        return httpx.Response(200, json={**full, "tip_id": "coffee", "decision_id": None})

    client = Bandstand("http://fake", transport=httpx.MockTransport(answer))
    decision = client.score("ada", TWO)
    assert (decision.pick, decision.fallback) == ("coffee", "unlogged")
    assert decision.propensity is not None
    assert decision.reward(1.0).reason == "unlogged"


def test_after_a_few_failures_nothing_is_sent_until_a_trial_succeeds() -> None:
    fake = FakeBandstand()
    now = [0.0]
    events: list[Event] = []
    breaker = Breaker(failures=3, clock=lambda: now[0], draw=lambda: 0.0)
    client = fake.build_client(breaker=breaker, on_event=events.append)
    before = client.score("ada", TWO)
    with fake.failing("unreachable"):
        assert client.score("ada", TWO).fallback == "unreachable"
        assert breaker.state == "open"
        sent = client.counts.calls
        assert [client.score("ada", TWO).fallback for _ in range(100)] == ["circuit-open"] * 100
        assert client.counts.calls == sent
        with pytest.raises(CircuitOpenError):
            before.reward(1.0)
        now[0] += 1.0
        assert client.score("ada", TWO).fallback == "unreachable"
        assert client.score("ada", TWO).fallback == "circuit-open"
    now[0] += 2.0
    assert client.score("ada", TWO).fallback is None
    assert [event.outcome for event in events if event.kind == "breaker"] == ["open", "open", "closed"]
    assert before.reward(1.0).applied


def test_an_operator_s_call_is_made_whatever_the_breaker_says() -> None:
    fake = FakeBandstand()
    client = fake.build_client(breaker=Breaker(failures=1))
    with fake.failing("unreachable"):
        client.score("ada", TWO)
    assert client.health().ok
    assert client.breaker.state == "open"


@pytest.mark.parametrize("code", ["gateway-error", "gateway-unreachable", "unscored"])
def test_a_slow_or_broken_llm_does_not_open_the_breaker(code: str) -> None:
    fake = FakeBandstand()
    client = fake.build_client(breaker=Breaker(failures=1))
    with fake.refusing(code), pytest.raises(ProblemError):
        client.generate("ada")
    with fake.failing("deadline"), pytest.raises(Exception, match="ReadTimeout"):
        client.judge("a", "b", "c")
    assert client.breaker.state == "closed"


def test_what_was_chosen_goes_with_a_turn_where_it_is_said() -> None:
    assert build_turn("q", "a", "m", "hints first", None) == {
        "turn": {"query_t": "q", "answer_t": "a", "query_t1": "m", "about": "hints first"}
    }
    assert build_turn("q", "a", "m", None, "mood-v1")["turn"].keys() == {"query_t", "answer_t", "query_t1", "taxonomy"}


def test_a_refusal_is_an_answer_and_closes_the_breaker() -> None:
    fake = FakeBandstand()
    client = fake.build_client(breaker=Breaker(failures=2))
    for _ in range(5):
        with fake.refusing("storage-full"):
            assert client.score("ada", TWO).fallback == "failed"
        with fake.refusing("unauthorized"), pytest.raises(UnauthorizedError):
            client.score("ada", TWO)
    assert client.breaker.state == "closed"


def test_an_overloaded_service_is_asked_for_as_long_as_the_deadline_lasts() -> None:
    flaky = Flaky(*[OVERLOADED] * 9)
    with pytest.raises(OverloadedError):
        build(flaky).health()
    assert len(flaky.sent) == 4


def test_what_on_event_raises_harms_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError(event.kind)

    assert FakeBandstand().build_client(on_event=fail).score("ada", ["tea"]).pick == "tea"
    assert "on_event failed" in caplog.text


def test_threads_share_a_client() -> None:
    fake = FakeBandstand()
    client = fake.build_client()

    def work(number: int) -> None:
        for _ in range(50):
            client.score(f"user-{number}", TWO).reward(0.5)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.counts.calls == 800
    assert len(fake.rewards) == 400


def test_a_cancelled_call_is_cancelled() -> None:
    class Never(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError(request)

    async def cancel() -> None:
        client = AsyncBandstand("http://fake", transport=Never(), score_deadline=60.0)
        task = asyncio.create_task(client.score("ada", TWO))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.counts.fallbacks == 0

    reached = asyncio.Event()
    asyncio.run(cancel())


def test_a_transport_that_never_answers_is_left_at_the_deadline() -> None:
    class Never(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError(request)

    async def ask() -> Any:
        client = AsyncBandstand("http://fake", transport=Never(), score_deadline=0.01)
        return await client.score("ada", TWO)

    assert asyncio.run(ask()).fallback == "deadline"
