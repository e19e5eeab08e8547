"""A network that cuts an answer off, or holds it back, at every byte of it."""

import asyncio
from typing import Any

import pytest
from bandstand_client import AsyncBandstand, Bandstand, Breaker, Retry
from client_support.proxy import Behaviour, Plan, Proxy, start_proxy
from client_support.server import Server

TWO = ["tea", "coffee"]
_PATIENT_S = 30.0
_STALLED_S = 0.02


def find_length(proxy: Proxy, user: str) -> int:
    """How long the answer to a score is, header and body; asked again under its id, it is as long."""
    with Bandstand(proxy.url, score_deadline=_PATIENT_S) as client:
        assert client.score(user, TWO, decision_id=f"{user}-1").fallback is None
    return len(proxy.answer)


def check_fallback(server: Server, decision: Any, before: int, user: str) -> None:
    """What was shown is no pick: it is not rewarded, and what the service logged stays as it is."""
    assert decision.pick == "tea"
    assert decision.id.startswith("fallback-")
    with Bandstand(server.url, deadline=_PATIENT_S) as operator:
        stats = operator.stats(user)
        assert stats.reward_count == before
        assert operator.receipt(decision.id.removeprefix("fallback-")).reward is None


def ask_at(proxy: Proxy, at: int, then: Behaviour, user: str) -> Any:
    proxy.plan = Plan(at, then)
    deadline = _PATIENT_S if then == "cut" else _STALLED_S
    with Bandstand(proxy.url, score_deadline=deadline, retry=Retry(tries=2, first_s=0.0)) as client:
        decision = client.score(user, TWO, decision_id=f"{user}-1")
        if decision.fallback is not None:
            assert decision.reward(1.0).reason == "fallback"
            assert client.counts.withheld == 1
    return decision


def test_cut_at_every_byte_the_caller_gets_the_first_candidate(server: Server, user: str) -> None:
    with start_proxy(server.port) as proxy:
        length = find_length(proxy, user)
        for at in range(length):
            decision = ask_at(proxy, at, "cut", user)
            assert decision.fallback == "broken-off", at
            check_fallback(server, decision, 0, user)
        assert ask_at(proxy, length, "cut", user).fallback is None


@pytest.mark.parametrize("step", [pytest.param(23, id="some"), pytest.param(1, id="every", marks=pytest.mark.slow)])
def test_held_back_at_every_byte_the_caller_gets_the_first_candidate(server: Server, user: str, step: int) -> None:
    with start_proxy(server.port) as proxy:
        length = find_length(proxy, user)
        for at in range(0, length, step):
            decision = ask_at(proxy, at, "stall", user)
            assert decision.fallback == "deadline", at
            check_fallback(server, decision, 0, user)


def test_the_same_in_an_event_loop(server: Server, user: str) -> None:
    async def ask(at: int, then: Behaviour) -> Any:
        proxy.plan = Plan(at, then)
        deadline = _PATIENT_S if then == "cut" else _STALLED_S
        async with AsyncBandstand(proxy.url, score_deadline=deadline, retry=Retry(tries=2, first_s=0.0)) as client:
            decision = await client.score(user, TWO, decision_id=f"{user}-1")
            assert (await decision.reward(1.0)).reason == "fallback"
            return decision

    async def ask_all() -> None:
        for at in range(0, length, 7):
            assert (await ask(at, "cut")).fallback == "broken-off"
        for at in range(0, length, 43):
            decision = await ask(at, "stall")
            assert decision.fallback == "deadline"
            check_fallback(server, decision, 0, user)

    with start_proxy(server.port) as proxy:
        length = find_length(proxy, user)
        asyncio.run(ask_all())


def test_an_answer_that_came_too_late_is_left_unrewarded(server: Server, user: str) -> None:
    """The service decided, and nobody saw it: the log must not say that somebody did."""
    with start_proxy(server.port) as proxy, Bandstand(server.url, deadline=_PATIENT_S) as direct:
        proxy.plan = Plan(0, "stall")
        with Bandstand(proxy.url, score_deadline=1.0, breaker=Breaker(failures=99)) as client:
            decision = client.score(user, TWO)
            assert decision.fallback == "deadline"
            (logged,) = direct.history(user).history
            assert logged.decision_id == decision.id.removeprefix("fallback-")
            with client.outbox(flush_deadline=_PATIENT_S) as outbox:
                outbox.reward(decision, 1.0)
                outbox.reward(decision.id, 1.0)
            assert client.decision(decision.id).react("done", dwell=30).reason == "fallback"
            assert client.counts.withheld == 3
        assert direct.receipt(logged.decision_id).reward is None
        assert direct.stats(user).reward_count == 0


def test_a_cut_answer_is_made_up_for_by_a_retry_with_the_same_pick(server: Server, user: str) -> None:
    with start_proxy(server.port) as proxy:
        length = find_length(proxy, user)

        def heal() -> float:
            proxy.plan = Plan()
            return 0.0

        for at in range(0, length, 50):
            proxy.plan = Plan(at, "cut")
            retry = Retry(tries=2, draw=lambda _low, _high: heal())
            with Bandstand(proxy.url, score_deadline=_PATIENT_S, deadline=_PATIENT_S, retry=retry) as client:
                decision = client.score(user, TWO, decision_id=f"{user}-1")
                assert decision.fallback is None
                assert client.counts.retries == 1
                assert decision.get_receipt().tip_id == decision.pick


def test_rewards_are_kept_once_wherever_their_answers_are_cut(server: Server, user: str) -> None:
    with start_proxy(server.port) as proxy, Bandstand(server.url, score_deadline=_PATIENT_S) as direct:
        decisions = [direct.score(f"{user}-{at}", TWO) for at in range(0, 200, 20)]
        with Bandstand(proxy.url, deadline=_PATIENT_S).outbox(flush_deadline=_PATIENT_S) as outbox:
            for at, decision in zip(range(0, 200, 20), decisions, strict=True):
                proxy.plan = Plan(at, "cut")
                outbox.reward(decision, 0.5)
                assert not outbox.flush(0.05)
                proxy.plan = Plan()
                assert outbox.flush(_PATIENT_S)
        assert outbox.counts.delivered == len(decisions)
        for at in range(0, 200, 20):
            assert direct.stats(f"{user}-{at}").cumulative_reward == 0.5
