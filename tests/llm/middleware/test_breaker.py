"""Laws of the circuit breaker; no test here waits for real."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.llm.errors import (
    BudgetExceededError,
    ChatError,
    ChatMalformedError,
    ChatStatusError,
    ChatTimeoutError,
    ChatUnreachableError,
    CircuitOpenError,
)
from bandstand.llm.middleware.breaker import BreakerClient, CircuitBreaker
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.llm.given import Clock, request_of

BROKEN = ChatStatusError(500)


def breaker_of(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(threshold=3, rest_s=30, clock=clock)


def state_of(breaker: CircuitBreaker) -> str:
    return breaker.state


async def call_model(breaker: CircuitBreaker, line: Line) -> None:
    await BreakerClient(ScriptedClient([line]), breaker).complete(request_of(max_tokens=9))


async def break_it(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        with pytest.raises(ChatStatusError):
            await call_model(breaker, BROKEN)


async def test_opens_after_failures_in_a_row_and_then_sends_nothing() -> None:
    breaker = breaker_of(Clock())
    await break_it(breaker)
    inner = ScriptedClient(["never"])
    with pytest.raises(CircuitOpenError) as caught:
        await BreakerClient(inner, breaker).complete(request_of(max_tokens=9))
    assert inner.calls == []
    assert caught.value.retry_after_s == 30
    assert (caught.value.retryable, caught.value.reached, caught.value.sent) == (False, False, False)


async def test_one_success_forgives_earlier_failures() -> None:
    breaker = breaker_of(Clock())
    for line in (BROKEN, BROKEN, "fine", BROKEN, BROKEN):
        try:
            await call_model(breaker, line)
        except ChatStatusError:
            assert line is BROKEN
    assert state_of(breaker) == "closed"


@pytest.mark.parametrize("error", [ChatStatusError(400), ChatStatusError(401), ChatStatusError(429)])
async def test_an_answer_shows_that_the_provider_is_alive(error: ChatError) -> None:
    breaker = breaker_of(Clock())
    for _ in range(5):
        with pytest.raises(ChatStatusError):
            await call_model(breaker, error)
    assert state_of(breaker) == "closed"


@pytest.mark.parametrize(
    "error",
    [ChatUnreachableError("gone"), ChatTimeoutError("slow"), ChatStatusError(503), ChatMalformedError("<html>")],
)
async def test_silence_and_server_errors_are_failures(error: ChatError) -> None:
    breaker = breaker_of(Clock())
    for _ in range(3):
        with pytest.raises(type(error)):
            await call_model(breaker, error)
    assert state_of(breaker) == "open"


async def test_a_good_probe_closes_it() -> None:
    clock = Clock()
    breaker = breaker_of(clock)
    await break_it(breaker)
    clock.now += 30
    assert state_of(breaker) == "half_open"
    await call_model(breaker, "fine")
    assert state_of(breaker) == "closed"
    with pytest.raises(ChatStatusError):
        await call_model(breaker, BROKEN)
    assert state_of(breaker) == "closed"


async def test_a_bad_probe_opens_it_again_for_as_long() -> None:
    clock = Clock()
    breaker = breaker_of(clock)
    await break_it(breaker)
    clock.now += 30
    with pytest.raises(ChatStatusError):
        await call_model(breaker, BROKEN)
    clock.now += 29
    with pytest.raises(CircuitOpenError):
        await call_model(breaker, "never")
    clock.now += 1
    await call_model(breaker, "fine")


async def test_there_is_one_probe_at_a_time_and_a_cancelled_one_makes_room() -> None:
    clock = Clock()
    breaker = breaker_of(clock)
    await break_it(breaker)
    clock.now += 30
    probe = asyncio.create_task(
        BreakerClient(_Stuck(), breaker).complete(request_of(max_tokens=9)),
    )
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpenError):
        await call_model(breaker, "never")
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    await call_model(breaker, "fine")
    assert state_of(breaker) == "closed"


async def test_a_probe_that_was_never_sent_proves_nothing() -> None:
    clock = Clock()
    breaker = breaker_of(clock)
    await break_it(breaker)
    clock.now += 30
    with pytest.raises(BudgetExceededError):
        await call_model(breaker, BudgetExceededError("spent"))
    assert state_of(breaker) == "half_open"
    await call_model(breaker, "fine")


async def test_old_news_changes_nothing() -> None:
    clock = Clock()
    breaker = breaker_of(clock)
    old = breaker.acquire_ticket()
    await break_it(breaker)
    breaker.record_success(old)
    assert state_of(breaker) == "open"
    clock.now += 30
    probe = breaker.acquire_ticket()
    breaker.record_failure(old)
    breaker.record_abandoned(old)
    with pytest.raises(CircuitOpenError):
        breaker.acquire_ticket()
    breaker.record_success(probe)
    assert state_of(breaker) == "closed"


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"rest_s": 0.0}])
def test_impossible_breakers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="threshold"):
        CircuitBreaker(**wrong)  # type: ignore[arg-type]  # the table holds ints and floats alike


def test_the_model_is_the_inner_one() -> None:
    assert BreakerClient(ScriptedClient([], model="m"), CircuitBreaker()).model == "m"


class _Stuck(ScriptedClient):
    def __init__(self) -> None:
        super().__init__([])

    async def complete(self, _request: ChatRequest) -> ChatReply:
        await asyncio.Event().wait()
        return ChatReply(text="never", model=self.model)


class _AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order, the breaker keeps these promises."""

    @initialize()
    def begin_history(self) -> None:
        self.clock = Clock()
        self.breaker = breaker_of(self.clock)
        self.under_way: list[int] = []
        self.probes: list[int] = []

    @rule()
    def enter(self) -> None:
        state = self.breaker.state
        if state == "open" or self.probes:
            with pytest.raises(CircuitOpenError):
                self.breaker.acquire_ticket()
        else:
            self.under_way.append(self.breaker.acquire_ticket())
            if state == "half_open":
                self.probes.append(self.under_way[-1])

    @precondition(lambda self: self.under_way)
    @rule()
    def end_well(self) -> None:
        self._end(self.breaker.record_success)

    @precondition(lambda self: self.under_way)
    @rule()
    def fail(self) -> None:
        self._end(self.breaker.record_failure)

    @precondition(lambda self: self.under_way)
    @rule()
    def end_abandoned(self) -> None:
        self._end(self.breaker.record_abandoned)

    @rule()
    def wait(self) -> None:
        self.clock.now += 11

    @invariant()
    def a_probe_means_half_open(self) -> None:
        assert not self.probes or self.breaker.state == "half_open"

    def _end(self, outcome: Callable[[int], None]) -> None:
        ticket = self.under_way.pop(0)
        outcome(ticket)
        if ticket in self.probes:
            self.probes.remove(ticket)


TestAnyHistory = _AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
