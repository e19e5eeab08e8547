"""What the judge's LLM may cost in a UTC day: reserved in the ledger before it may be asked, settled after.

A reservation is the most that a turn, or a call, can cost, so the caps hold while these are under way; one that a crash
has left unsettled stays, since nobody knows what was spent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bandstand.store.protocol import Store
from bandstand.store.tables.judgements import Settlement, TurnTexts

_SECONDS_PER_DAY = 86_400


class TokenBound(NamedTuple):
    """The most tokens that judging a turn, or a call, can read and write."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCaps:
    """What may be spent, and by what.

    Attributes:
        bound: the most that a turn under a taxonomy can cost; ``None`` where no LLM is ever asked.
        tokens: a day, ``None`` for no cap.
        usd: a day, ``None`` for no cap.
        price: US dollars a million tokens, read and written; ``None`` where nobody knows.
    """

    bound: Callable[[TurnTexts, str], TokenBound] | None = None
    tokens: int | None = None
    usd: float | None = None
    price: tuple[float, float] | None = None


class JudgeBudget:
    """Reserves and settles.

    Args:
        store: where reservations are kept.
        caps: of a day.
        clock: seconds since the epoch.

    Attributes:
        rejected: turns and calls for which there was no budget.
    """

    def __init__(self, store: Store, caps: BudgetCaps, clock: Callable[[], float]) -> None:
        self.rejected = 0
        self._store = store
        self._caps = caps
        self._clock = clock
        self._day = -1
        self._tokens = 0
        self._usd = 0.0
        self._open_reservations: dict[int, tuple[int, int, float]] = {}  # by number: day, tokens, dollars under way
        self._settled = asyncio.Event()
        self._day_lock = asyncio.Lock()

    @property
    def spent(self) -> tuple[int, float]:
        """Tokens and US dollars of the day, with what is reserved."""
        return (self._tokens, self._usd) if self._day == self._get_day() else (0, 0.0)

    async def start(self) -> None:
        """Read what the day has cost before this process; the store must be open."""
        await self._refresh_day()

    async def reserve_turn(self, texts: TurnTexts, taxonomy: str) -> tuple[Settlement | None, int]:
        """Set aside what a turn may cost, as :meth:`reserve_tokens`; nothing where no LLM is ever asked."""
        if self._caps.bound is None:
            await self._refresh_day()
            return None, self._day
        return await self.reserve_tokens(self._caps.bound(texts, taxonomy))

    async def reserve_tokens(self, bound: TokenBound) -> tuple[Settlement | None, int]:
        """Set aside what a turn or a call may cost, once there is room; the caller writes it down.

        Returns:
            The reservation, and its day; ``None`` where the LLM must not be asked.
        """
        await self._refresh_day()
        caps = self._caps
        if caps.usd is not None and caps.price is None:  # what a model costs that has no price, nobody knows
            self.rejected += 1
            return None, self._day
        tokens, usd = bound.prompt + bound.completion, _compute_cost(caps.price, bound.prompt, bound.completion)
        while not self._has_room(tokens, usd):
            under_way = [each for each in self._open_reservations.values() if each[0] == self._day]
            freed = sum(each[1] for each in under_way), sum(each[2] for each in under_way)
            if not under_way or not self._has_room(tokens - freed[0], usd - freed[1]):
                self.rejected += 1
                return None, self._day
            self._settled.clear()  # what is under way will hardly cost all that was set aside for it
            await self._settled.wait()
            await self._refresh_day()
        seq = self._store.next_seq(self._clock())
        self._tokens, self._usd = self._tokens + tokens, self._usd + usd
        self._open_reservations[seq] = (self._day, tokens, usd)
        return Settlement(seq, tokens, usd), self._day

    def settle(self, reserved: Settlement, prompt_tokens: int, completion_tokens: int) -> Settlement:
        """What a reservation came to; the caller writes it down."""
        tokens, usd = (
            prompt_tokens + completion_tokens,
            _compute_cost(self._caps.price, prompt_tokens, completion_tokens),
        )
        day, _, _ = self._open_reservations.pop(reserved.seq, (-1, 0, 0.0))
        if day == self._day:
            self._tokens += tokens - reserved.tokens
            self._usd += usd - reserved.usd
        self._settled.set()
        return Settlement(reserved.seq, tokens, usd)

    def close_unsettled(self, reserved: Settlement) -> None:
        """Let a reservation stand whose turn did not come back."""
        self._open_reservations.pop(reserved.seq, None)
        self._settled.set()

    def _has_room(self, tokens: int, usd: float) -> bool:
        caps = self._caps
        return (caps.tokens is None or self._tokens + tokens <= caps.tokens) and (
            caps.usd is None or self._usd + usd <= caps.usd
        )

    def _get_day(self) -> int:
        return int(self._clock() // _SECONDS_PER_DAY)

    async def _refresh_day(self) -> None:
        async with self._day_lock:
            day = self._get_day()
            if day != self._day:
                tokens, usd = await self._store.load_spending(day)
                self._day, self._tokens, self._usd = day, tokens, usd


def _compute_cost(price: tuple[float, float] | None, prompt: int, completion: int) -> float:
    return 0.0 if price is None else (price[0] * prompt + price[1] * completion) / 1e6
