"""Calls of the LLM for somebody who waits: paid from the ledger, made in the judge's process, and never left behind."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import StorageFullError
from bandstand.judge.llm.llm_judge import to_unscored_reason
from bandstand.judge.verdict import UnscoredReason
from bandstand.judge_worker.budget import LedgerBudget
from bandstand.judge_worker.llm_calls import LlmCalls
from bandstand.judge_worker.priority_limiter import PriorityLimiter
from bandstand.judge_worker.process import JudgeProcess, JudgeProcessNotStartedError, PendingQuestion
from bandstand.judge_worker.protocol import RelayedChatError
from bandstand.llm.chat import ChatReply, TokenUsage
from bandstand.llm.errors import BudgetExceededError, ChatTimeoutError, ChatUnreachableError
from bandstand.llm.middleware.budget import DailyCaps, Price
from bandstand.store.embedded.store import EmbeddedStore
from tests.llm.given import request_of
from tests.store.given import CATALOGUE, QUICK, Clock, ledger_of, wait_until_settled

ROOM = 50


class Line:
    """Calls over a directory's ledger, with the odd judge's process."""

    def __init__(
        self, directory: Path, caps: DailyCaps, *, places: int = 8, command: Sequence[str] | None = None
    ) -> None:
        self.state_dir = directory / "state"
        self.asked_file = directory / "asked"
        clock = Clock()
        script = Path(__file__).with_name("odd_judge.py")
        self.store = EmbeddedStore(self.state_dir, CATALOGUE, options=QUICK, clock=clock)
        self.budget = LedgerBudget(self.store, caps, clock)
        self.child = JudgeProcess(
            command or [sys.executable, str(script), str(self.asked_file)], os.environ, timeout_s=20
        )
        self.places = PriorityLimiter(places, lambda: None, lambda: 0)
        self.calls = LlmCalls(self.budget, self.child, self.places)

    async def open(self) -> "Line":
        """Start, the process too: on a busy machine one of its priority takes its time."""
        await self.store.open()
        with suppress(JudgeProcessNotStartedError):
            await self.child.start()
        return self

    async def close(self) -> None:
        """Stop."""
        await self.calls.close()
        await self.child.close()
        await self.store.close()

    async def call(self, word: str, *, seconds: float = 30, tries: int = 1) -> ChatReply:
        """Ask."""
        client = self.calls.build_client("odd", tries=tries)
        assert client.model == "odd"
        return await client.complete(
            request_of([{"role": "user", "content": word}], max_tokens=ROOM, deadline=time.monotonic() + seconds)
        )

    def read_asked(self) -> str:
        """What the process was asked."""
        return self.asked_file.read_text() if self.asked_file.exists() else ""

    def rows(self) -> list[tuple[int, int]]:
        """Tokens, and whether they are settled, of every reservation."""
        with ledger_of(self.state_dir) as ledger:
            return ledger.execute("SELECT tokens, settled FROM judge_spending ORDER BY seq").fetchall()


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    line = await Line(tmp_path, DailyCaps()).open()
    yield line
    await line.close()


async def test_a_call_is_reserved_before_it_is_made_and_settled_after(line: Line) -> None:
    call = asyncio.create_task(line.call("slow", tries=3))
    await wait_until_settled(lambda: "slow" in line.read_asked())
    ((tokens, done),) = line.rows()
    assert tokens > 3 * ROOM, "every try may cost its all"
    assert not done
    assert (await call).text == "pos_praise", "the odd judge says so"
    assert line.budget.spent.tokens == 110
    await wait_until_settled(lambda: line.rows() == [(110, 1)])


async def test_past_the_day_s_budget_nothing_is_asked(tmp_path: Path) -> None:
    line = await Line(tmp_path, DailyCaps(tokens=150)).open()
    await line.call("fine")
    with pytest.raises(BudgetExceededError):
        await line.call("more")
    assert "more" not in line.read_asked()
    assert line.budget.rejected == 1
    again = LedgerBudget(line.store, DailyCaps(tokens=150), Clock())
    with pytest.raises(BudgetExceededError):  # nobody else has more left, after a restart either
        await again.reserve_call(TokenUsage(80, 20))
    await line.close()


async def test_without_a_price_no_call_passes_a_cap_of_money(tmp_path: Path) -> None:
    line = await Line(tmp_path, DailyCaps(usd=Decimal(100))).open()
    with pytest.raises(BudgetExceededError):
        await line.call("fine")
    assert line.read_asked() == ""
    await line.close()


async def test_money_is_settled_at_the_price(tmp_path: Path) -> None:
    line = await Line(tmp_path, DailyCaps(usd=Decimal(1), price=Price(Decimal(10), Decimal(20)))).open()
    await line.call("fine")
    assert line.budget.spent.tokens == 110
    assert line.budget.spent.usd == Decimal("0.0012")
    await line.close()


async def test_a_fault_says_what_it_said_in_the_process(line: Line) -> None:
    with pytest.raises(RelayedChatError) as caught:
        await line.call("refuse")
    assert (caught.value.code, caught.value.reached, caught.value.retryable) == ("llm-status", True, False)
    assert to_unscored_reason(caught.value) is UnscoredReason.REJECTED
    await wait_until_settled(lambda: line.rows() == [(0, 1)])


async def test_a_process_that_dies_leaves_the_call_unavailable_and_what_it_may_have_cost(line: Line) -> None:
    with pytest.raises(ChatUnreachableError) as caught:
        await line.call("die")
    assert to_unscored_reason(caught.value) is UnscoredReason.UNAVAILABLE
    ((tokens, done),) = line.rows()
    assert (tokens > ROOM, done) == (True, 0), "nobody knows"
    assert (await line.call("fine")).text == "fine", "it is started again"


async def test_a_process_that_fails_over_the_call_leaves_it_unavailable_and_says_what_it_has_cost(line: Line) -> None:
    with pytest.raises(ChatUnreachableError) as caught:
        await line.call("fail")
    assert to_unscored_reason(caught.value) is UnscoredReason.UNAVAILABLE
    await wait_until_settled(lambda: line.rows() == [(110, 1)])


async def test_a_process_that_does_not_start_costs_nothing(tmp_path: Path) -> None:
    line = await Line(tmp_path, DailyCaps(), command=[sys.executable, "-c", "pass"]).open()
    with pytest.raises(ChatUnreachableError):
        await line.call("fine")
    assert line.budget.spent.tokens == 0
    await wait_until_settled(lambda: line.rows() == [(0, 1)])
    await line.close()


async def test_who_leaves_takes_the_call_along_and_pays_what_it_has_cost(line: Line) -> None:
    call = asyncio.create_task(line.call("hang"))
    await wait_until_settled(lambda: "hang" in line.read_asked())
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()
    await wait_until_settled(lambda: line.rows() == [(33, 1)])
    assert line.places.available == 8


async def test_one_deadline_bounds_everything(line: Line) -> None:
    with pytest.raises(ChatTimeoutError):
        await line.call("hang", seconds=1)
    await wait_until_settled(lambda: '"let"' in line.read_asked())


async def test_who_waits_for_a_place_has_asked_and_paid_nothing(tmp_path: Path) -> None:
    line = await Line(tmp_path, DailyCaps(), places=1).open()
    first = asyncio.create_task(line.call("hang"))
    await wait_until_settled(lambda: "hang" in line.read_asked())
    with pytest.raises(ChatTimeoutError):
        await line.call("fine", seconds=0.05)
    assert len(line.rows()) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await line.call("fine")).text == "fine"
    await line.close()


async def test_what_cannot_be_written_down_is_not_asked(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    async def raise_full(*_: Any) -> None:
        raise StorageFullError("no space left")

    monkeypatch.setattr(line.store, "reserve", raise_full)
    with pytest.raises(ChatUnreachableError):
        await line.call("fine")
    assert (line.read_asked(), line.budget.spent.tokens) == ("", 0)


async def test_a_call_without_a_last_word_stays_as_it_was_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = await Line(tmp_path, DailyCaps(tokens=150)).open()

    async def none(_: PendingQuestion) -> None:
        return None

    monkeypatch.setattr(line.child, "final_usage", none)
    call = asyncio.create_task(line.call("hang"))
    await wait_until_settled(lambda: "hang" in line.read_asked())
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    ((tokens, done),) = line.rows()
    assert (tokens > 75, done) == (True, 0)
    with pytest.raises(BudgetExceededError):  # rather than wait for it
        await line.call("fine")
    await line.close()


async def test_closing_writes_down_what_calls_came_to(line: Line) -> None:
    await line.call("fine")
    await line.calls.close()
    assert line.rows() == [(110, 1)]


async def test_closing_waits_for_no_last_word(line: Line) -> None:
    call = asyncio.create_task(line.call("slow"))
    await wait_until_settled(lambda: "slow" in line.read_asked())
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await line.calls.close()
    assert len(line.rows()) == 1
