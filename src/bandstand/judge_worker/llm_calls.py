"""Calls of the judge's LLM for somebody who waits: made in the judge's process, paid from the ledger's budget."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import structlog

from bandstand.errors import BandstandError, OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.judge_worker.budget import JudgeBudget, TokenBound
from bandstand.judge_worker.priority_limiter import PriorityLimiter
from bandstand.judge_worker.process import (
    JudgeProcess,
    JudgeProcessDiedError,
    JudgeProcessNotStartedError,
    PendingQuestion,
)
from bandstand.llm.chat import ChatReply
from bandstand.llm.errors import BudgetExceededError, ChatTimeoutError, ChatUnreachableError
from bandstand.llm.gateway import Message
from bandstand.llm.middleware.budget import compute_max_prompt_tokens
from bandstand.store.protocol import Store
from bandstand.store.tables.judgements import Settlement

_STOP_TIMEOUT_S = 5.0

log = structlog.get_logger("bandstand")


class CallFailedError(BandstandError):
    """A call failed in the judge's process; it says of the gateway what the client's own error said there."""

    def __init__(self, fault: Mapping[str, Any]) -> None:
        super().__init__(fault["detail"])
        self.code = fault["code"]  # type: ignore[misc]  # one class stands for every error of a client
        self.reached: bool = fault["reached"]
        self.retryable: bool = fault["retryable"]
        self.retry_after_s: float | None = fault["retry_after_s"]
        self.sent: bool = fault["sent"]


class LlmCalls:
    """Makes calls, each in a place of its own, once it is paid for. Of one event loop.

    Args:
        store: where reservations are kept.
        budget: of a day.
        process: the process.
        limiter: how many calls there may be at once.
    """

    def __init__(self, store: Store, budget: JudgeBudget, process: JudgeProcess, limiter: PriorityLimiter) -> None:
        self._store = store
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
        """Write down what calls came to. The store must still be open.

        Those that were let go and have not said what they cost are not waited for: their reservations stand.
        """
        for task in self._cancelled:
            task.cancel()
        await asyncio.gather(*self._cancelled, return_exceptions=True)
        if self._settlements:  # they are in the store's hands then, whose own stop is bounded too
            await asyncio.wait(self._settlements, timeout=_STOP_TIMEOUT_S)

    async def make_call(
        self, call: Mapping[str, object], bound: TokenBound, *, deadline: float, urgent: bool
    ) -> dict[str, Any]:
        """What the process answers to a call.

        Args:
            call: as :mod:`bandstand.wiring.judge_child` reads it, but for the time.
            bound: the most that it can cost.
            deadline: of everything, waiting for a place and for the budget included; in monotonic seconds.
            urgent: it goes before others that wait for a place.

        Raises:
            BudgetExceededError: the day's budget is spent; nothing was sent.
            ChatTimeoutError: the deadline passed.
            ChatUnreachableError: the process, or the ledger, could not be used.
        """
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._limiter.acquire(urgent=urgent):
                return await self._send_call(call, await self._reserve_tokens(bound), deadline)
        except TimeoutError:
            raise ChatTimeoutError("The model did not answer before the deadline.") from None

    async def _reserve_tokens(self, bound: TokenBound) -> Settlement:
        """Set aside what a call may cost, in the ledger too."""
        reserved, day = await self._budget.reserve_tokens(bound)
        if reserved is None:
            raise BudgetExceededError("The day's tokens or money are spent, or the model has no price.")
        try:
            await self._store.reserve(reserved, day)
        except asyncio.CancelledError:
            self._settle(reserved, 0, 0)
            raise
        except (StorageFullError, StorageUnavailableError, OverloadedError) as error:
            self._budget.settle(reserved, 0, 0)
            log.warning("the judge's model is not asked: the ledger cannot keep what it costs", reason=error.detail)
            raise ChatUnreachableError("What the call may cost could not be written down.", sent=False) from None
        return reserved

    async def _send_call(self, call: Mapping[str, object], reserved: Settlement, deadline: float) -> dict[str, Any]:
        """Make a call that is paid for."""
        question: PendingQuestion | None = None
        try:
            question = await self._process.send_question({"call": {**call, "seconds": deadline - time.monotonic()}})
            answer = await self._process.wait_for_answer(question)
        except JudgeProcessNotStartedError as error:
            log.error("the judge's model is not asked", reason=error.detail)  # noqa: TRY400 (the reason says all)
            self._settle(reserved, 0, 0)
            raise ChatUnreachableError("The judge's process does not start.", sent=False) from None
        except JudgeProcessDiedError:
            self._budget.close_unsettled(reserved)
            raise ChatUnreachableError("The judge's process ended.") from None
        except asyncio.CancelledError:
            if question is None:
                self._settle(reserved, 0, 0)
            else:
                self._process.cancel(question)
                _start_task(self._settle_cancelled(question, reserved), self._cancelled)
            raise
        self._settle_from_answer(answer, reserved)
        return answer

    async def _settle_cancelled(self, question: PendingQuestion, reserved: Settlement) -> None:
        """Settle a call that was let go by what it has cost."""
        self._settle_from_answer(await self._process.final_usage(question), reserved)

    def _settle_from_answer(self, answer: Mapping[str, Any] | None, reserved: Settlement) -> None:
        if answer is not None and "spent" in answer:
            self._settle(reserved, *answer["spent"])
        else:
            self._budget.close_unsettled(reserved)

    def _settle(self, reserved: Settlement, prompt_tokens: int, completion_tokens: int) -> None:
        """Settle a reservation; nobody waits until that is written down."""
        settlement = self._budget.settle(reserved, prompt_tokens, completion_tokens)
        _start_task(self._write_settlement(settlement), self._settlements)

    async def _write_settlement(self, settlement: Settlement) -> None:
        try:
            await self._store.settle(settlement)
        except (StorageFullError, StorageUnavailableError, OverloadedError) as error:
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

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        deadline: float,
        temperature: float | None,
        schema: Mapping[str, object] | None,
    ) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.gateway.ChatClient`.

        Raises:
            BudgetExceededError: the day's budget is spent; nothing was sent.
            ChatTimeoutError, ChatUnreachableError: as :meth:`LlmCalls.make_call`.
            CallFailedError: the call failed.
        """
        call = {
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "schema": schema,
            "tries": self._tries,
        }
        bound = TokenBound(self._tries * compute_max_prompt_tokens([*messages], schema), self._tries * max_tokens)
        answer = await self._calls.make_call(call, bound, deadline=deadline, urgent=self._urgent)
        if "reply" in answer:
            return ChatReply(**answer["reply"])
        if "fault" in answer:
            raise CallFailedError(answer["fault"])
        raise ChatUnreachableError("The judge's process failed over the call.")
