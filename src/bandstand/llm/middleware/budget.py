"""What may be spent in a UTC day: tokens and money are reserved before a call and settled after it.

A reservation is an upper bound, so the caps hold even while calls are under way. What a call cost that ended without an
answer (timed out, cut off, cancelled) is unknown, so it counts in full.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest, TokenUsage
from bandstand.llm.errors import BudgetExceededError, ChatError

_SECONDS_PER_DAY = 86_400
_TOKENS_PER_PRICE = Decimal(1_000_000)
_NO_MONEY = Decimal(0)


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars a million tokens."""

    prompt_usd: Decimal
    completion_usd: Decimal

    def compute_cost(self, usage: TokenUsage) -> Decimal:
        """The price of a number of tokens, in US dollars."""
        prompt, completion = self.prompt_usd * usage.prompt_tokens, self.completion_usd * usage.completion_tokens
        return (prompt + completion) / _TOKENS_PER_PRICE


@dataclass(frozen=True, slots=True)
class Spending:
    """An amount of tokens and US dollars."""

    tokens: int = 0
    usd: Decimal = _NO_MONEY

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: "Spending") -> "Spending":
        return Spending(self.tokens - other.tokens, self.usd - other.usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCaps:
    """What may be spent in a UTC day.

    Attributes:
        tokens: None for no cap.
        usd: None for no cap.
        price: what the model costs; needed while money is capped.
    """

    tokens: int | None = None
    usd: Decimal | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one piece of work.

    Attributes:
        number: its own.
        day: days since the epoch, in UTC.
        spending: the most that it can cost.
    """

    number: int
    day: int
    spending: Spending


async def _load_nothing(_day: int) -> Spending:
    return Spending()


class DailyBudget:
    """The spending of the current UTC day, of one event loop. It is in memory; a ledger may keep it besides.

    Args:
        caps: of a day.
        clock: seconds since the epoch.
        load_spending: what a day has cost before this process; nothing if left out.
        next_number: numbers reservations.
        is_shared: whether others spend from the same books at the same time: these are read before each reservation.

    Attributes:
        rejected: pieces of work for which there was no budget.
    """

    def __init__(
        self,
        caps: DailyCaps,
        *,
        clock: Callable[[], float] = time.time,
        load_spending: Callable[[int], Awaitable[Spending]] = _load_nothing,
        next_number: Callable[[], int] | None = None,
        is_shared: bool = False,
    ) -> None:
        self.rejected = 0
        self._caps = caps
        self._clock = clock
        self._loaders = {"": load_spending}  # of every book that is kept, by its name
        self._included = {""}
        self._next_number = next_number or itertools.count().__next__
        self._day = -1
        self._spent = Spending()
        self._is_shared = is_shared
        self._open: dict[int, Reservation] = {}  # by number
        self._booked: set[int] = set()  # of these, those that a book says
        self._said: dict[str, Spending] = {}  # what each book said last, of one day
        self._said_day = -1
        self._released = asyncio.Event()
        self._day_lock = asyncio.Lock()

    @property
    def spent(self) -> Spending:
        """The day's spending, with what is reserved."""
        return self._spent if self._day == self._get_day() else Spending()

    async def refresh_day(self) -> None:
        """Load what the day has cost before this process, once a day."""
        async with self._day_lock:
            day = self._get_day()
            if day != self._day:
                self._spent = sum([await load(day) for load in self._loaders.values()], Spending())
                self._day = day

    async def include(self, book: str, load_spending: Callable[[int], Awaitable[Spending]]) -> None:
        """Let what another book says of the day count too, once for each name of a book."""
        async with self._day_lock:
            self._loaders[book] = load_spending
            if book not in self._included and self._day == self._get_day():
                self._spent += await load_spending(self._day)
            self._included.add(book)

    def exclude(self, book: str) -> None:
        """Ask a book no more, which is being closed; what it said counts."""
        self._loaders.pop(book, None)

    async def reserve(self, bound: TokenUsage, *, wait: bool = False) -> Reservation:
        """Set aside the most that a piece of work can cost.

        Args:
            bound: that most.
            wait: if there is no room, wait for work under way as long as it may leave enough: it will hardly cost all
                that was set aside for it.

        Raises:
            BudgetExceededError: a cap would be passed, or money is capped and the model has no price.
        """
        await self.refresh_day()
        wanted = self._compute_spending(bound)
        await self._reread()
        while (fault := self._find_fault(wanted)) is not None:
            under_way = [each.spending for each in self._open.values() if each.day == self._day]
            if not wait or not under_way or self._find_fault(wanted - sum(under_way, Spending())) is not None:
                self.rejected += 1
                raise BudgetExceededError(fault)
            self._released.clear()
            await self._released.wait()
            await self.refresh_day()
            await self._reread()
        reservation = Reservation(self._next_number(), self._day, wanted)
        self._spent += wanted
        self._open[reservation.number] = reservation
        return reservation

    def record_reservation(self, reservation: Reservation) -> None:
        """Take note that a book says what was set aside."""
        if reservation.number in self._open:
            self._booked.add(reservation.number)

    async def _reread(self) -> None:
        """Read what all have spent, and add what was set aside here and is in no book yet."""
        if not self._is_shared or (self._caps.tokens is None and self._caps.usd is None):
            return
        day, unsaid = self._day, self._list_unbooked()
        said = self._said if self._said_day == day else {}
        said |= {book: await load(day) for book, load in self._loaders.items()}
        self._said, self._said_day = said, day  # with what books said that are closed by now
        # What was set aside or written down meanwhile may count twice until the next look, and never not at all.
        unsaid |= self._list_unbooked()
        if day == self._day:
            self._spent = sum(
                (each.spending for each in unsaid.values() if each.day == day), sum(said.values(), Spending())
            )

    def _list_unbooked(self) -> dict[int, Reservation]:
        return {number: each for number, each in self._open.items() if number not in self._booked}

    def settle(self, reservation: Reservation, usage: TokenUsage) -> Spending:
        """Replace a reservation by what the work did cost; one of an earlier day no longer matters.

        Returns:
            What it did cost.
        """
        actual = self._compute_spending(usage)
        if self._open.pop(reservation.number, None) is not None and reservation.day == self._day:
            self._spent += actual - reservation.spending
        self._booked.discard(reservation.number)
        self._released.set()
        return actual

    def keep(self, reservation: Reservation) -> None:
        """Let a reservation stand, since nobody knows what the work did cost; one that is settled stays so."""
        self._open.pop(reservation.number, None)
        self._booked.discard(reservation.number)
        self._released.set()

    def _compute_spending(self, usage: TokenUsage) -> Spending:
        price = self._caps.price
        return Spending(usage.total, _NO_MONEY if price is None else price.compute_cost(usage))

    def _find_fault(self, wanted: Spending) -> str | None:
        """Why so much cannot be spent now, if it cannot."""
        caps, after = self._caps, self._spent + wanted
        if caps.usd is not None and caps.price is None:
            return "Money is capped and this model has no price: set one to use it."
        if caps.tokens is not None and after.tokens > caps.tokens:
            return "The day's tokens are spent."
        if caps.usd is not None and after.usd > caps.usd:
            return "The day's money is spent."
        return None

    def _get_day(self) -> int:
        return int(self._clock() // _SECONDS_PER_DAY)


class BudgetedClient:
    """Asks ``inner`` only for what ``budget`` has set aside.

    Args:
        inner: the client to ask.
        budget: shared by every client that spends from it.
    """

    def __init__(self, inner: ChatClient, budget: DailyBudget) -> None:
        self._inner = inner
        self._budget = budget

    @property
    def model(self) -> str:
        """The model that this client asks."""
        return self._inner.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`.

        Raises:
            BudgetExceededError: nothing was sent.
            ChatError: the call failed.
        """
        bound = request.compute_token_bound()
        reservation = await self._budget.reserve(bound)
        try:
            reply = await self._inner.complete(request)
            self._budget.settle(reservation, reply.compute_usage(bound))
        except ChatError as error:
            if not error.sent:
                self._budget.settle(reservation, TokenUsage())
            raise
        finally:
            self._budget.keep(reservation)
        return reply
