"""Laws of the day's budget: the caps hold whatever is under way, and what may have been charged counts."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.llm.chat import ChatReply, ChatRequest, TokenUsage
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
    DailyCaps,
    Price,
    Reservation,
    Spending,
)
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.llm.given import Clock, request_of

PRICE = Price(prompt_usd=Decimal("0.05"), completion_usd=Decimal("0.40"))
REQUEST = request_of(max_tokens=100)
BOUND = REQUEST.compute_token_bound().prompt_tokens
DAY_S = 86_400


def budget_of(
    tokens: int | None = None, usd: str | None = None, *, priced: bool = True, clock: Clock | None = None
) -> DailyBudget:
    cap = None if usd is None else Decimal(usd)
    caps = DailyCaps(tokens=tokens, usd=cap, price=PRICE if priced else None)
    return DailyBudget(caps, clock=clock or Clock())


async def call_model(budget: DailyBudget, line: Line) -> ChatReply:
    return await BudgetedClient(ScriptedClient([line]), budget).complete(REQUEST)


def test_a_price_is_for_a_million_tokens() -> None:
    assert PRICE.compute_cost(TokenUsage(1_000_000, 500_000)) == Decimal("0.25")


async def test_an_answer_costs_what_it_cost() -> None:
    budget = budget_of(tokens=10_000, usd="1")
    await call_model(budget, ChatReply(text="", model="m", prompt_tokens=7, completion_tokens=2))
    assert budget.spent == Spending(9, Decimal("0.00000115"))


async def test_an_answer_without_counts_costs_all_that_was_reserved() -> None:
    budget = budget_of(tokens=10_000)
    await call_model(budget, ChatReply(text="", model="m"))
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
        async def complete(self, _request: ChatRequest) -> ChatReply:
            raise error

    budget = budget_of(tokens=10_000)
    with pytest.raises(type(error)):
        await BudgetedClient(Failing([]), budget).complete(REQUEST)
    assert budget.spent.tokens == spent


@pytest.mark.parametrize("budget", [budget_of(tokens=BOUND + 99), budget_of(usd="0.00000001")])
async def test_past_a_cap_nothing_is_sent(budget: DailyBudget) -> None:
    inner = ScriptedClient(["never"])
    with pytest.raises(BudgetExceededError):
        await BudgetedClient(inner, budget).complete(REQUEST)
    assert inner.calls == []
    assert budget.spent == Spending()


async def test_a_model_without_a_price_never_passes_a_money_cap() -> None:
    with pytest.raises(BudgetExceededError, match="price"):
        await call_model(budget_of(usd="1000000", priced=False), "never")
    assert (await call_model(budget_of(tokens=10_000, priced=False), "fine")).text == "fine"


async def test_without_caps_everything_passes() -> None:
    budget = budget_of(priced=False)
    await call_model(budget, "fine")
    assert budget.spent.tokens > 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 400), st.integers(0, 400), st.floats(0, 1), st.sampled_from(("settled", "held", "kept"))
        ),
        max_size=30,
    )
)
def test_the_caps_hold_whatever_is_under_way(calls: list[tuple[int, int, float, str]]) -> None:
    async def run() -> None:
        budget = budget_of(tokens=1000, usd="0.0002")
        stays = Spending()
        held: list[Reservation] = []
        for prompt, completion, used, end in calls:
            try:
                reservation = await budget.reserve(TokenUsage(prompt, completion))
            except BudgetExceededError:
                continue
            if end == "settled":
                stays += budget.settle(reservation, TokenUsage(int(prompt * used), int(completion * used)))
            elif end == "kept":
                budget.keep(reservation)
                stays += reservation.spending
            else:
                held.append(reservation)
            assert budget.spent.tokens <= 1000
            assert budget.spent.usd <= Decimal("0.0002")
        for reservation in held:
            assert budget.settle(reservation, TokenUsage()) == Spending()
        assert budget.spent == stays

    asyncio.run(run())


async def test_who_may_wait_waits_for_work_under_way_as_long_as_that_may_leave_enough() -> None:
    budget = budget_of(tokens=100)
    first = await budget.reserve(TokenUsage(80, 0))
    waiting = asyncio.create_task(budget.reserve(TokenUsage(50, 0), wait=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.settle(first, TokenUsage(40, 0))
    second = await waiting
    assert (budget.spent.tokens, budget.rejected) == (90, 0)
    with pytest.raises(BudgetExceededError):
        await budget.reserve(TokenUsage(61, 0), wait=True)  # it would not fit were the second to cost nothing
    waiting = asyncio.create_task(budget.reserve(TokenUsage(50, 0), wait=True))
    await asyncio.sleep(0)
    budget.keep(second)
    with pytest.raises(BudgetExceededError):
        await waiting
    assert (budget.spent.tokens, budget.rejected) == (90, 2)


async def test_a_reservation_is_settled_once() -> None:
    budget = budget_of(tokens=100)
    reservation = await budget.reserve(TokenUsage(80, 0))
    budget.settle(reservation, TokenUsage(40, 0))
    budget.settle(reservation, TokenUsage(40, 0))
    budget.keep(reservation)
    assert budget.spent.tokens == 40


async def test_a_new_day_begins_with_what_it_has_cost_already_and_forgets_yesterdays_calls() -> None:
    clock = Clock()
    known = {0: Spending(30), 1: Spending(20)}

    async def load(day: int) -> Spending:
        return known[day]

    budget = DailyBudget(DailyCaps(tokens=100), clock=clock, load_spending=load)
    reservation = await budget.reserve(TokenUsage(60, 10))
    assert budget.spent.tokens == 100
    clock.now += DAY_S
    assert budget.spent == Spending(), "until somebody asks for some of it"
    await budget.reserve(TokenUsage(10, 0))
    budget.settle(reservation, TokenUsage(1, 1))
    assert budget.spent.tokens == 30


async def test_books_count_together_and_each_once() -> None:
    clock, asked = Clock(), list[str]()
    budget = budget_of(1000, clock=clock)

    def read_book(name: str, tokens: int) -> Callable[[int], Awaitable[Spending]]:
        async def load(_: int) -> Spending:
            asked.append(name)
            return Spending(tokens)

        return load

    await budget.refresh_day()
    await budget.include("menu", read_book("menu", 300))
    await budget.include("shelf", read_book("shelf", 200))
    assert budget.spent.tokens == 500
    budget.exclude("menu")
    await budget.include("menu", read_book("menu again", 999))
    assert budget.spent.tokens == 500, "what it said counts already"
    with pytest.raises(BudgetExceededError):
        await budget.reserve(TokenUsage(501, 0))
    budget.exclude("shelf")
    clock.now += DAY_S
    await budget.refresh_day()
    assert asked == ["menu", "shelf", "menu again"], "of a new day, those that are open are asked"
    assert budget.spent.tokens == 999


async def test_processes_that_spend_by_one_book_keep_its_caps_together() -> None:
    book: dict[int, Spending] = {}
    numbers = itertools.count()

    async def load(_: int) -> Spending:
        await asyncio.sleep(0)
        return sum(book.values(), Spending())

    def make() -> DailyBudget:
        caps = DailyCaps(tokens=100)
        return DailyBudget(caps, load_spending=load, next_number=numbers.__next__, is_shared=True)

    one, other = make(), make()
    reservations = []
    for number in range(20):
        budget = (one, other)[number % 2]
        with contextlib.suppress(BudgetExceededError):
            reservation = await budget.reserve(TokenUsage(10, 0))
            book[reservation.number] = reservation.spending
            budget.record_reservation(reservation)
            reservations.append((budget, reservation))
    assert len(reservations) == 10
    budget, reservation = reservations[0]
    book[reservation.number] = budget.settle(reservation, TokenUsage(2, 0))
    with pytest.raises(BudgetExceededError):
        await other.reserve(TokenUsage(9, 0))
    await other.reserve(TokenUsage(8, 0))
    with pytest.raises(BudgetExceededError):  # the eight are set aside, and in no book yet
        await other.reserve(TokenUsage(1, 0))


def test_the_model_is_the_inner_one() -> None:
    assert BudgetedClient(ScriptedClient([], model="m"), budget_of()).model == "m"
