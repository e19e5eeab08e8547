"""Laws of the budget: the caps hold while calls are under way, and what is settled is exact."""

import asyncio
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.llm.chat import ChatReply
from bandstand.llm.errors import (
    BudgetExceededError,
    ChatMalformedError,
    ChatStatusError,
    ChatTimeoutError,
    CircuitOpenError,
)
from bandstand.llm.middleware.budget import (
    BudgetedClient,
    DailyBudget,
    Price,
    Reservation,
    Spending,
    compute_max_prompt_tokens,
)
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.llm.given import CONVERSATION, SCHEMA, soon

PRICES = {"scripted": Price(prompt_usd=Decimal("0.05"), completion_usd=Decimal("0.40"))}
BOUND = compute_max_prompt_tokens(CONVERSATION, None)


class Calendar:
    def __init__(self) -> None:
        self.day = date(2026, 1, 1)

    def __call__(self) -> date:
        return self.day


def budget_of(tokens: int | None = None, usd: str | None = None, *, priced: bool = True) -> DailyBudget:
    cap = None if usd is None else Decimal(usd)
    return DailyBudget(today=Calendar(), tokens=tokens, usd=cap, prices=PRICES if priced else None)


async def ask(budget: DailyBudget, line: Line) -> ChatReply:
    client = BudgetedClient(ScriptedClient([line]), budget)
    return await client.complete(CONVERSATION, max_tokens=100, deadline=soon())


def test_a_price_is_for_a_million_tokens() -> None:
    assert PRICES["scripted"].cost_usd(1_000_000, 500_000) == Decimal("0.25")


async def test_an_answer_costs_what_it_cost() -> None:
    budget = budget_of(tokens=10_000, usd="1")
    await ask(budget, ChatReply(text="", model="m", prompt_tokens=7, completion_tokens=2))
    assert budget.spent == Spending(9, Decimal("0.00000115"))


async def test_an_answer_without_counts_costs_all_that_was_reserved() -> None:
    budget = budget_of(tokens=10_000)
    await ask(budget, ChatReply(text="", model="m"))
    assert budget.spent.tokens == BOUND + 100


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (ChatStatusError(500), 0),
        (CircuitOpenError(retry_after_s=1), 0),
        (ChatTimeoutError("no time", sent=False), 0),
        (ChatTimeoutError("slow"), BOUND + 100),
        (ChatMalformedError("nonsense"), BOUND + 100),
        (asyncio.CancelledError(), BOUND + 100),
    ],
)
async def test_what_may_have_been_charged_counts_in_full(error: BaseException, spent: int) -> None:
    class Failing(ScriptedClient):
        async def complete(self, *args: object, **kwargs: object) -> ChatReply:
            raise error

    budget = budget_of(tokens=10_000)
    with pytest.raises(type(error)):
        await BudgetedClient(Failing([]), budget).complete(CONVERSATION, max_tokens=100, deadline=soon())
    assert budget.spent.tokens == spent


@pytest.mark.parametrize("budget", [budget_of(tokens=BOUND + 99), budget_of(usd="0.00000001")])
async def test_past_a_cap_nothing_is_sent(budget: DailyBudget) -> None:
    inner = ScriptedClient(["never"])
    with pytest.raises(BudgetExceededError):
        await BudgetedClient(inner, budget).complete(CONVERSATION, max_tokens=100, deadline=soon())
    assert inner.calls == []
    assert budget.spent == Spending()


async def test_a_model_without_a_price_never_passes_a_money_cap() -> None:
    with pytest.raises(BudgetExceededError, match="price"):
        await ask(budget_of(usd="1000000", priced=False), "never")
    assert (await ask(budget_of(tokens=10_000, priced=False), "fine")).text == "fine"


async def test_without_caps_everything_passes() -> None:
    budget = budget_of(priced=False)
    await ask(budget, "fine")
    assert budget.spent.tokens > 0


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 400), st.floats(0, 1), st.booleans()),
        max_size=30,
    )
)
def test_the_caps_hold_whatever_is_under_way(calls: list[tuple[int, int, float, bool]]) -> None:
    budget = budget_of(tokens=1000, usd="0.0002")
    settled = Spending()
    held: list[Reservation] = []
    for prompt, completion, used, ends in calls:
        try:
            reservation = budget.reserve_tokens("scripted", prompt, completion)
        except BudgetExceededError:
            continue
        if ends:
            actual = (int(prompt * used), int(completion * used))
            budget.settle(reservation, "scripted", *actual)
            settled += Spending(sum(actual), PRICES["scripted"].cost_usd(*actual))
        else:
            held.append(reservation)
        assert budget.spent.tokens <= 1000
        assert budget.spent.usd <= Decimal("0.0002")
    for reservation in held:
        budget.settle(reservation, "scripted", 0, 0)
    assert budget.spent == settled


def test_a_new_day_begins_at_nothing_and_forgets_yesterdays_calls() -> None:
    calendar = Calendar()
    budget = DailyBudget(today=calendar, tokens=100)
    reservation = budget.reserve_tokens("m", 60, 40)
    calendar.day = date(2026, 1, 2)
    assert budget.spent == Spending()
    budget.reserve_tokens("m", 10, 0)
    budget.settle(reservation, "m", 1, 1)
    assert budget.spent.tokens == 10


@given(st.text(max_size=300))
def test_the_bound_is_at_least_a_token_a_byte(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert compute_max_prompt_tokens([{"role": "user", "content": text}], None) > len(text.encode())
    assert compute_max_prompt_tokens(CONVERSATION, SCHEMA) > compute_max_prompt_tokens(CONVERSATION, None)


def test_the_model_is_the_inner_one() -> None:
    assert BudgetedClient(ScriptedClient([], model="m"), budget_of()).model == "m"
