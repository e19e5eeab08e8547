"""The judge's LLM budget of a UTC day, kept in the ledger: a reservation is a row written before any call.

It is the most that a turn, or a call, can cost, so the caps hold while these are under way. One that a crash has left
unsettled stays, since nobody knows what was spent.
"""

from collections.abc import Callable
from decimal import Decimal

from bandstand.judge_worker.options import TurnBound
from bandstand.judge_worker.rest import STORAGE_ERRORS
from bandstand.llm.chat import TokenUsage
from bandstand.llm.errors import BudgetExceededError
from bandstand.llm.middleware.budget import DailyBudget, DailyCaps, Reservation, Spending
from bandstand.store.protocol import Store
from bandstand.store.tables.judgements import JudgedTurn, Settlement, TurnTexts


class LedgerBudget:
    """Reserves and settles, in memory and in the ledger.

    Args:
        store: where reservations are kept.
        caps: of a day.
        clock: seconds since the epoch.
        compute_bound: the most that a turn can cost; ``None`` if no LLM is ever asked about turns.
        shares: the budget of another ledger, whose caps are for both.
        book: the name of this ledger in it.
        is_shared: whether other processes spend by the same ledgers.
    """

    def __init__(
        self,
        store: Store,
        caps: DailyCaps,
        clock: Callable[[], float],
        *,
        compute_bound: TurnBound | None = None,
        shares: "LedgerBudget | None" = None,
        book: str = "",
        is_shared: bool = False,
    ) -> None:
        self._store = store
        self._compute_bound = compute_bound
        self._book = None if shares is None else book
        self._daily: DailyBudget = (
            DailyBudget(
                caps,
                clock=clock,
                load_spending=self._load_spending,
                next_number=lambda: store.next_seq(clock()),
                is_shared=is_shared,
            )
            if shares is None
            else shares._daily  # noqa: SLF001 (of the same class)
        )

    @property
    def spent(self) -> Spending:
        """The day's spending, with what is reserved."""
        return self._daily.spent

    @property
    def rejected(self) -> int:
        """Turns and calls for which there was no budget."""
        return self._daily.rejected

    async def open(self) -> None:
        """Read what the day has cost before this process; the store must be open."""
        if self._book is not None:
            await self._daily.include(self._book, self._load_spending)
        await self._daily.refresh_day()

    def close(self) -> None:
        """Read this ledger no more."""
        if self._book is not None:
            self._daily.exclude(self._book)

    async def reserve_turn(self, texts: TurnTexts, taxonomy: str) -> Reservation | None:
        """Reserve the most that a turn can cost, once there is room; ``None`` if the LLM must not be asked."""
        if self._compute_bound is None:
            return None
        try:
            return await self._daily.reserve(self._compute_bound(texts, taxonomy), wait=True)
        except BudgetExceededError:
            return None

    async def record_attempt(self, turn: JudgedTurn, reservation: Reservation | None) -> None:
        """Write down that a turn is about to be judged, and what that may cost.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: it could not be, and nothing is reserved.
        """
        try:
            if reservation is None:
                await self._store.record_attempt(turn, None, 0)
            else:
                row = _to_settlement(reservation, reservation.spending)
                await self._store.record_attempt(turn, row, reservation.day)
                self._daily.record_reservation(reservation)
        except STORAGE_ERRORS:
            self.settle(reservation, TokenUsage())
            raise
        turn.tries += 1

    async def reserve_call(self, bound: TokenUsage) -> Reservation:
        """Set aside the most that a call can cost, once there is room; :meth:`record_call` writes it down.

        Raises:
            BudgetExceededError: the day's budget is spent.
        """
        return await self._daily.reserve(bound, wait=True)

    async def record_call(self, reservation: Reservation) -> None:
        """Write down what a call may cost.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: it could not be, and nothing is reserved.
        """
        try:
            await self._store.reserve(_to_settlement(reservation, reservation.spending), reservation.day)
            self._daily.record_reservation(reservation)
        except STORAGE_ERRORS:
            self.settle(reservation, TokenUsage())
            raise

    def settle(self, reservation: Reservation | None, usage: TokenUsage) -> Settlement | None:
        """The actual cost of a reservation, for the caller to write; ``None`` if nothing was reserved."""
        return None if reservation is None else _to_settlement(reservation, self._daily.settle(reservation, usage))

    async def record_settlement(self, settlement: Settlement) -> None:
        """Write down what a call did cost."""
        await self._store.settle(settlement)

    def keep(self, reservation: Reservation | None) -> None:
        """Let a reservation stand, unless it is settled: nobody knows what the work did cost."""
        if reservation is not None:
            self._daily.keep(reservation)

    async def _load_spending(self, day: int) -> Spending:
        tokens, usd = await self._store.load_spending(day)
        return Spending(tokens, Decimal(repr(usd)))


def _to_settlement(reservation: Reservation, spending: Spending) -> Settlement:
    return Settlement(reservation.number, spending.tokens, float(spending.usd))
