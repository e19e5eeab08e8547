"""Laws of trying again; no test here waits for real."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.llm.chat import ChatReply
from bandstand.llm.errors import (
    BudgetExceededError,
    ChatStatusError,
    ChatUnreachableError,
    CircuitOpenError,
)
from bandstand.llm.middleware.breaker import BreakerClient, CircuitBreaker
from bandstand.llm.middleware.retry import Backoff, RetryingClient
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.llm.given import SCHEMA, Clock, request_of


async def call_model(
    clock: Clock, *script: Line, u: float = 0.0, tries: int = 3, seconds: float = 60.0
) -> ScriptedClient:
    inner = ScriptedClient(script)
    retrying = RetryingClient(inner, backoff=Backoff(tries=tries), rng=lambda: u, clock=clock, sleep=clock.sleep)
    await retrying.complete(request_of(max_tokens=9, deadline=clock() + seconds, temperature=0.5, schema=SCHEMA))
    return inner


@given(failures=st.integers(1, 60), u=st.floats(0, 1, exclude_max=True), asked=st.none() | st.floats(0, 1e6))
def test_waits_grow_from_the_first_and_never_undercut_the_provider(
    failures: int, u: float, asked: float | None
) -> None:
    backoff = Backoff(first_s=1.0, longest_s=30.0)
    own = backoff.wait_s(failures, u)
    assert 1.0 <= own <= 30.0
    assert min(2.0 ** (failures - 1), 30.0) <= own < max(1.5 * 2.0 ** (failures - 1), 30.0 + 1e-9)
    assert backoff.wait_s(failures, u, asked) == max(own, asked or 0.0)


async def test_backs_off_exponentially_from_one_second() -> None:
    clock = Clock()
    await call_model(clock, ChatStatusError(500), ChatUnreachableError("gone"), "at last")
    assert clock.naps == [1.0, 2.0]


async def test_jitter_comes_from_the_generator() -> None:
    clock = Clock()
    await call_model(clock, ChatStatusError(503), "at last", u=0.5)
    assert clock.naps == [1.25]


async def test_retry_after_is_kept() -> None:
    clock = Clock()
    await call_model(clock, ChatStatusError(429, retry_after_s=17), "at last")
    assert clock.naps == [17.0]


async def test_the_last_error_is_raised_when_the_tries_are_used_up() -> None:
    clock = Clock()
    with pytest.raises(ChatStatusError) as caught:
        await call_model(clock, ChatStatusError(500), ChatStatusError(502), ChatStatusError(503), "never")
    assert caught.value.status == 503
    assert len(clock.naps) == 2


@pytest.mark.parametrize(
    "error",
    [ChatStatusError(400), ChatStatusError(401), BudgetExceededError("spent")],
)
async def test_what_will_not_pass_is_not_tried_again(error: Exception) -> None:
    clock = Clock()
    with pytest.raises(type(error)) as caught:
        await call_model(clock, error, "never")
    assert caught.value is error
    assert clock.naps == []


async def test_a_breaker_that_opens_between_two_tries_hides_no_answer() -> None:
    clock = Clock()
    inner = ScriptedClient([ChatStatusError(500), ChatStatusError(502), "never"])
    breaker = BreakerClient(inner, CircuitBreaker(threshold=2, rest_s=30, clock=clock))
    retrying = RetryingClient(breaker, rng=lambda: 0.0, clock=clock, sleep=clock.sleep)
    with pytest.raises(ChatStatusError) as caught:
        await retrying.complete(request_of(max_tokens=9, deadline=clock() + 60))
    assert caught.value.status == 502
    assert len(inner.calls) == 2
    with pytest.raises(CircuitOpenError):
        await retrying.complete(request_of(max_tokens=9, deadline=clock() + 60))


async def test_a_wait_past_the_deadline_is_not_begun() -> None:
    clock = Clock()
    with pytest.raises(ChatStatusError):
        await call_model(clock, ChatStatusError(429, retry_after_s=60), "never", seconds=60)
    assert clock.naps == []


async def test_one_deadline_goes_to_every_try_and_so_does_the_request() -> None:
    clock = Clock()
    inner = await call_model(clock, ChatStatusError(500), ChatReply(text="at last", model="m"))
    first, second = inner.calls
    assert first == second
    assert first.deadline == 1060.0
    assert (first.temperature, first.schema, first.max_tokens) == (0.5, SCHEMA, 9)


def test_the_model_is_the_inner_one() -> None:
    assert RetryingClient(ScriptedClient([], model="m")).model == "m"


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"first_s": -1.0}, {"first_s": 5.0, "longest_s": 4.0}])
def test_impossible_backoffs_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(**wrong)  # type: ignore[arg-type]  # the table holds ints and floats alike
