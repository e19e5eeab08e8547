"""Calls of the judge's LLM for waiting callers: made in the judge's process, paid from the ledger's budget."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from bandstand.judge_worker.budget import LedgerBudget
from bandstand.judge_worker.priority_limiter import PriorityLimiter
from bandstand.judge_worker.process import (
    JudgeProcess,
    JudgeProcessDiedError,
    JudgeProcessNotStartedError,
    PendingQuestion,
)
from bandstand.judge_worker.protocol import CallQuestion
from bandstand.judge_worker.rest import STORAGE_ERRORS
from bandstand.llm.chat import ChatReply, ChatRequest, TokenUsage
from bandstand.llm.errors import ChatError, ChatTimeoutError, ChatUnreachableError
from bandstand.llm.middleware.budget import Reservation
from bandstand.store.tables.judgements import Settlement

_STOP_TIMEOUT_S = 5.0

log = structlog.get_logger("bandstand")


class LlmCalls:
    """Makes calls, each with a slot of the limiter, once its cost is reserved. Of one event loop.

    Args:
        budget: of a day.
        process: the process.
        limiter: how many calls there may be at once.
    """

    def __init__(self, budget: LedgerBudget, process: JudgeProcess, limiter: PriorityLimiter) -> None:
        self._budget = budget
        self._process = process
        self._limiter = limiter
        self._cancelled: set[asyncio.Task[None]] = set()
        self._settlements: set[asyncio.Task[None]] = set()

    def build_client(self, model: str, *, tries: int, urgent: bool = False) -> "JudgeProcessClient":
        """A client of the model whose every call goes this way.

        Args:
            model: its name.
            tries: at most, of one call.
            urgent: its calls come before others that wait for a place.
        """
        return JudgeProcessClient(self, model, tries=tries, urgent=urgent)

    async def close(self) -> None:
        """Write down the costs of calls. The store must still be open.

        Cancelled calls that have not reported their cost are not waited for: their reservations stand.
        """
        for task in self._cancelled:
            task.cancel()
        await asyncio.gather(*self._cancelled, return_exceptions=True)
        if self._settlements:  # they are in the store's hands then, whose own stop is bounded too
            await asyncio.wait(self._settlements, timeout=_STOP_TIMEOUT_S)

    async def make_call(self, question: CallQuestion, *, urgent: bool) -> ChatReply:
        """Make a call: wait for a place and for the budget, and ask the process, all before the request's deadline.

        Args:
            question: the request, and how often it may be tried.
            urgent: it goes before others that wait for a place.

        Raises:
            BudgetExceededError: the day's budget is spent; nothing was sent.
            ChatTimeoutError: the deadline passed.
            ChatUnreachableError: the process, or the ledger, could not be used.
            RelayedChatError: the call failed.
        """
        try:
            async with asyncio.timeout(question.request.deadline - time.monotonic()):
                async with self._limiter.acquire(urgent=urgent):
                    return await self._send_call(question, await self._reserve(question))
        except TimeoutError:
            raise ChatTimeoutError("The model did not answer before the deadline.") from None

    async def _reserve(self, question: CallQuestion) -> Reservation:
        """Set aside what a call may cost, in the ledger too."""
        reserved = await self._budget.reserve_call(question.request.compute_token_bound() * question.tries)
        try:
            await self._budget.record_call(reserved)
        except asyncio.CancelledError:
            self._settle(reserved, TokenUsage())
            raise
        except STORAGE_ERRORS as error:
            log.warning("the judge's model is not asked: the ledger cannot keep what it costs", reason=error.detail)
            raise ChatUnreachableError("What the call may cost could not be written down.", sent=False) from None
        return reserved

    async def _send_call(self, question: CallQuestion, reserved: Reservation) -> ChatReply:
        """Make a call that is paid for."""
        pending: PendingQuestion | None = None
        try:
            pending = await self._process.send_question(question)
            answer = await self._process.wait_for_answer(pending)
        except JudgeProcessNotStartedError as error:
            log.error("the judge's model is not asked", reason=error.detail)  # noqa: TRY400 (the reason says all)
            self._settle(reserved, TokenUsage())
            raise ChatUnreachableError("The judge's process does not start.", sent=False) from None
        except JudgeProcessDiedError:
            self._budget.keep(reserved)
            raise ChatUnreachableError("The judge's process ended.") from None
        except asyncio.CancelledError:
            if pending is None:
                self._settle(reserved, TokenUsage())
            else:
                self._process.cancel(pending)
                _start_task(self._settle_cancelled(pending, reserved), self._cancelled)
            raise
        self._settle(reserved, answer.usage)
        if isinstance(answer.result, ChatReply):
            return answer.result
        if isinstance(answer.result, ChatError):
            raise answer.result
        raise ChatUnreachableError("The judge's process failed over the call.")

    async def _settle_cancelled(self, pending: PendingQuestion, reserved: Reservation) -> None:
        """Settle a call that was cancelled by what it has cost."""
        usage = await self._process.final_usage(pending)
        if usage is None:
            self._budget.keep(reserved)
        else:
            self._settle(reserved, usage)

    def _settle(self, reserved: Reservation, usage: TokenUsage) -> None:
        """Settle a reservation; nobody waits until that is written down."""
        settlement = self._budget.settle(reserved, usage)
        if settlement is not None:
            _start_task(self._write_settlement(settlement), self._settlements)

    async def _write_settlement(self, settlement: Settlement) -> None:
        try:
            await self._budget.record_settlement(settlement)
        except STORAGE_ERRORS as error:
            log.warning("what a call cost stays as it was reserved", reason=error.detail)


def _start_task(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


class JudgeProcessClient:
    """A chat client whose calls are made by :class:`LlmCalls`; its retries are the process's.

    Args:
        calls: makes them.
        model: that it asks.
        tries: at most, of one call.
        urgent: its calls come before others.
    """

    def __init__(self, calls: LlmCalls, model: str, *, tries: int, urgent: bool) -> None:
        self._calls = calls
        self._model = model
        self._tries = tries
        self._urgent = urgent

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`.

        Raises:
            BudgetExceededError, ChatError: as :meth:`LlmCalls.make_call`.
        """
        return await self._calls.make_call(CallQuestion(request, self._tries), urgent=self._urgent)
