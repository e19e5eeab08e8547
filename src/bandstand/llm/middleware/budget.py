"""What may be spent in a day: tokens and money are reserved before a call and settled after it.

A reservation is an upper bound, so the caps hold even while calls are under way. What a call cost that ended without an
answer (timed out, cut off, cancelled) is unknown; it counts in full.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from json import dumps
from typing import Protocol

from bandstand.llm.chat import ChatClient, ChatReply, Message
from bandstand.llm.errors import BudgetExceededError, ChatError

_TOKENS_PER_PRICE = Decimal(1_000_000)
_TOKENS_PER_MESSAGE = 16


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars a million tokens."""

    prompt_usd: Decimal
    completion_usd: Decimal

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """The price of one call."""
        return (self.prompt_usd * prompt_tokens + self.completion_usd * completion_tokens) / _TOKENS_PER_PRICE


@dataclass(frozen=True, slots=True)
class Spending:
    """So many tokens and US dollars."""

    tokens: int = 0
    usd: Decimal = Decimal(0)

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: "Spending") -> "Spending":
        return Spending(self.tokens - other.tokens, self.usd - other.usd)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one call, on the day it was."""

    day: date
    spending: Spending


class Budget(Protocol):
    """Something that lets calls through as long as the day's caps allow."""

    def reserve_tokens(self, model: str, prompt_tokens: int, completion_tokens: int) -> Reservation:
        """Set aside what a call may cost at most.

        Raises:
            BudgetExceededError: a cap would be passed, or money is capped and the model has no price.
        """

    def settle(self, reservation: Reservation, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Replace a reservation with what the call did cost."""


class DailyBudget:
    """Caps for one UTC day, kept in memory.

    Args:
        today: the current UTC day.
        tokens: the most tokens a day, None for no cap.
        usd: the most US dollars a day, None for no cap.
        prices: by model; needed for every model that is called while money is capped.
    """

    def __init__(
        self,
        *,
        today: Callable[[], date],
        tokens: int | None = None,
        usd: Decimal | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self._today = today
        self._tokens = tokens
        self._usd = usd
        self._prices = dict(prices or {})
        self._day = today()
        self._spent = Spending()

    @property
    def spent(self) -> Spending:
        """Today's spending, with what is reserved for calls under way."""
        self._refresh_day()
        return self._spent

    def reserve_tokens(self, model: str, prompt_tokens: int, completion_tokens: int) -> Reservation:
        """Set aside what a call may cost at most; see :class:`Budget`."""
        if self._usd is not None and model not in self._prices:
            raise BudgetExceededError("Money is capped and this model has no price: set one to use it.")
        wanted = self._compute_spending(model, prompt_tokens, completion_tokens)
        after = self.spent + wanted
        if self._tokens is not None and after.tokens > self._tokens:
            raise BudgetExceededError("The day's tokens are spent.")
        if self._usd is not None and after.usd > self._usd:
            raise BudgetExceededError("The day's money is spent.")
        self._spent = after
        return Reservation(self._day, wanted)

    def settle(self, reservation: Reservation, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Replace a reservation with what the call did cost; one of an earlier day no longer matters."""
        self._refresh_day()
        if reservation.day == self._day:
            actual = self._compute_spending(model, prompt_tokens, completion_tokens)
            self._spent = self._spent - reservation.spending + actual

    def _compute_spending(self, model: str, prompt_tokens: int, completion_tokens: int) -> Spending:
        price = self._prices.get(model)
        usd = price.cost_usd(prompt_tokens, completion_tokens) if price else Decimal(0)
        return Spending(prompt_tokens + completion_tokens, usd)

    def _refresh_day(self) -> None:
        day = self._today()
        if day != self._day:
            self._day = day
            self._spent = Spending()


class BudgetedClient:
    """Asks ``inner`` only for what ``budget`` has set aside.

    Args:
        inner: the client to ask.
        budget: shared by every client that spends from it.
    """

    def __init__(self, inner: ChatClient, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._inner.model

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        deadline: float,
        temperature: float | None = None,
        schema: Mapping[str, object] | None = None,
    ) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`.

        Raises:
            BudgetExceededError: nothing was sent.
            ChatError: the call failed.
        """
        prompt_bound = compute_max_prompt_tokens(messages, schema)
        reservation = self._budget.reserve_tokens(self.model, prompt_bound, max_tokens)
        try:
            reply = await self._inner.complete(
                messages, max_tokens=max_tokens, deadline=deadline, temperature=temperature, schema=schema
            )
        except ChatError as error:
            if not error.sent:
                self._budget.settle(reservation, self.model, 0, 0)
            raise
        prompt = prompt_bound if reply.prompt_tokens is None else reply.prompt_tokens
        completion = max_tokens if reply.completion_tokens is None else reply.completion_tokens
        self._budget.settle(reservation, self.model, prompt, completion)
        return reply


def compute_max_prompt_tokens(messages: Sequence[Message], schema: Mapping[str, object] | None) -> int:
    """An upper bound of the tokens a provider reads.

    Byte-level tokenizers make at most one token of each byte; each message adds a few that mark its borders.
    """
    text = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
    shape = len(dumps(dict(schema)).encode()) if schema is not None else 0
    return text + shape + _TOKENS_PER_MESSAGE * (len(messages) + 1)
