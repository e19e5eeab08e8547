"""The judge's worker: a queue of turns that wait in the ledger, fed to the pipeline as there is room for them.

Turns that were in the judge's process when it died are tried again one by one in a process of their own, so that the
one at fault is found and the others do not wait for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from bandstand.definition import describe_unknown
from bandstand.errors import FieldError, IdempotencyMismatchError, InvalidRequestError, OverloadedError
from bandstand.judge.cascade import JudgeOffError
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge_worker.budget import LedgerBudget
from bandstand.judge_worker.conclusions import Conclusions
from bandstand.judge_worker.fair_queue import FairQueue
from bandstand.judge_worker.llm_calls import LlmCalls
from bandstand.judge_worker.options import JudgeOptions, JudgeStatus
from bandstand.judge_worker.pipeline import PipelineOutcome, TurnPipeline
from bandstand.judge_worker.priority_limiter import PriorityLimiter
from bandstand.judge_worker.process import JudgeProcess
from bandstand.judge_worker.rest import STORAGE_ERRORS, pause, retry_while_resting
from bandstand.judge_worker.update_rate_limit import UpdateRateLimit
from bandstand.judge_worker.waiters import VerdictWaiters
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.store.protocol import Store
from bandstand.store.tables.judgements import AcceptedTurn, JudgedTurn

_TAKE_OVER_S = 30.0

log = structlog.get_logger("bandstand")


class JudgeWorker:
    """The turns of one deployment.

    Args:
        store: where they wait.
        population: hears of what they teach.
        make_process: makes a process to judge in; one for most, one for those that may have killed it.
        options: how.
        clock: seconds since the epoch.
        shares: the worker of another loop, in whose process, and from whose budget, this one judges.
        name: of this loop, then.

    Attributes:
        store: as above.
        options: as above.
        budget: what the LLM may cost.
        conclusions: concludes judgements, the judge's and other people's.
        calls: calls of the LLM for waiting callers.
    """

    def __init__(
        self,
        store: Store,
        population: PopulationPriorRefresher,
        make_process: Callable[[], JudgeProcess],
        options: JudgeOptions,
        clock: Callable[[], float],
        *,
        shares: "JudgeWorker | None" = None,
        name: str = "",
    ) -> None:
        self.store = store
        self.options = options
        self.budget: LedgerBudget = LedgerBudget(
            store,
            options.caps,
            clock,
            compute_bound=options.compute_bound,
            shares=None if shares is None else shares.budget,
            book=name,
            is_shared=options.shares_caps,
        )
        update_limit = UpdateRateLimit(store, options.max_updates, clock)
        self.conclusions = Conclusions(store, options.gate, update_limit, population)
        self._child: JudgeProcess = make_process() if shares is None else shares._child  # noqa: SLF001 (of the same class)
        self._owns_child = shares is None
        self._isolated = make_process()
        self._wake = asyncio.Event()
        self._limiter = PriorityLimiter(options.max_concurrent, self._wake.set, self._count_ready)
        self.calls = LlmCalls(self.budget, self._child, self._limiter)
        self._queue = FairQueue()
        self._active: set[asyncio.Task[None]] = set()
        self._suspects: deque[JudgedTurn] = deque()
        self._isolation: asyncio.Task[None] | None = None
        self._waiters = VerdictWaiters()
        self._pipeline = TurnPipeline(self.budget, self.conclusions, self._waiters, options.taxonomies)
        self._runner: asyncio.Task[None] | None = None
        self._heir: asyncio.Task[None] | None = None
        self._closing = False

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Begin to judge waiting turns, also after a pause; the store must be open."""
        self._closing, self._queue = False, FairQueue()
        self._suspects.clear()
        await self.budget.open()
        for seq, user_id, _ in await self.store.list_waiting():
            self._queue.push(user_id, seq)
        if self.options.enabled:
            self._runner = asyncio.create_task(self._run())
            self._runner.add_done_callback(_log_crash)
            self._heir = asyncio.create_task(self._run_take_over())

    async def close(self) -> None:
        """Stop judging for good. The store must still be open."""
        await self.pause()
        if self._owns_child:
            await self._child.close()

    async def pause(self) -> None:
        """Stop judging; turns without a verdict stay in the ledger's queue. The store must still be open.

        The judge's process stays for other loops, and for when this one is opened again.
        """
        self._closing = True
        tasks = [task for task in (self._runner, self._heir, self._isolation, *self._active) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.calls.close()
        await self._isolated.close()
        self.budget.close()
        self._waiters.close()

    @property
    def pending_turns(self) -> int:
        """Turns without a verdict yet."""
        return len(self._queue) + len(self._active) + len(self._suspects)

    def _count_ready(self) -> int:
        """Turns that the worker would take now, had it the places."""
        return 0 if self._runner is None or self._runner.done() else len(self._queue)

    def get_status(self) -> JudgeStatus:
        """How it goes."""
        deaths = self._child.deaths + self._isolated.deaths
        spent = self.budget.spent
        return JudgeStatus(
            outcomes=self.conclusions.counts,
            waiting=self.pending_turns,
            tokens=spent.tokens,
            usd=float(spent.usd),
            over_budget=self.budget.rejected,
            deaths=deaths,
        )

    # ── turns that come ───────────────────────────────────────────────────────────────────────────────────────────

    def get_taxonomy(self, name: str | None) -> Taxonomy:
        """The taxonomy of that name, the default one if none is named.

        Raises:
            InvalidRequestError: there is no such taxonomy.
        """
        wanted = self.options.default_taxonomy if name is None else name
        found = self.options.taxonomies.get(wanted)
        if found is None:
            fault = FieldError("turn.taxonomy", describe_unknown(wanted, self.options.taxonomies))
            raise InvalidRequestError(f"{fault.field}: {fault.message}", [fault])
        return found

    async def accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        """Take a turn: it is in the ledger, synced, when this returns.

        Raises:
            JudgeOffError: this deployment judges nothing.
            OverloadedError: too many wait.
            IdempotencyMismatchError: its key came with another body before.
            BandstandError: as :meth:`bandstand.store.protocol.Store.accept`.
        """
        if not self.options.enabled:
            raise JudgeOffError("This deployment judges nothing (JUDGE=off).")
        if self.pending_turns >= self.options.max_waiting:
            raise OverloadedError(f"{self.options.max_waiting} turns wait to be judged; try again shortly")
        accepted = await self.store.accept(judgement)
        if accepted.judgement.body_hash != judgement.body_hash:
            raise IdempotencyMismatchError("this Idempotency-Key came with another body before")
        if accepted.match == "new":
            self.enqueue(accepted.judgement)
        return accepted

    def enqueue(self, judgement: JudgedTurn) -> None:
        """Queue a turn that waits in the ledger."""
        self._queue.push(judgement.user_id, judgement.seq)
        self._wake.set()

    async def wait_for_verdict(self, judgement: JudgedTurn) -> JudgedTurn:
        """Wait for a turn's conclusion, within limits; returns how it stands then."""
        if judgement.state == "waiting":
            with self._waiters.add_waiter(judgement.seq) as told:
                found = await self.store.get_judgement(judgement.judgement_id)  # it may have been concluded just now
                if found.state == "waiting":
                    await asyncio.wait([told], timeout=self.options.wait_s)
        return await self.store.get_judgement(judgement.judgement_id)

    # ── the worker ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while True:
            await retry_while_resting(self._dispatch, "turns")

    async def _run_take_over(self) -> None:
        """Periodically take over the turns that a dead process has left."""
        while True:
            await asyncio.sleep(_TAKE_OVER_S)
            with suppress(*STORAGE_ERRORS):
                for seq, user_id, _ in await self.store.list_abandoned():
                    self._queue.push(user_id, seq)
                self._wake.set()

    async def _dispatch(self) -> None:
        """Hand over as many turns as there is room for, or wait for either."""
        if self._queue or self.options.compute_bound is not None:  # an intent has no time to wait for a start
            await self._child.start()
        room = min(self._limiter.available, len(self._queue))
        if not room:
            self._wake.clear()
            await self._wake.wait()
            return
        seqs = [self._queue.pop() for _ in range(room)]
        for _ in seqs:
            self._limiter.take()
        try:
            taken = await self.store.claim_turns(seqs)
        except STORAGE_ERRORS:
            for seq in seqs:
                self._queue.push("", seq)
                self._limiter.release()
            raise
        for judgement in taken:
            task = asyncio.create_task(self._handle(judgement))
            self._active.add(task)
            task.add_done_callback(self._finish_turn)
        for seq in set(seqs).difference(judgement.seq for judgement in taken):  # erased, or another process's
            self._limiter.release()
            self._waiters.notify(seq)

    def _finish_turn(self, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        self._limiter.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a turn's judgement broke off; it waits for the next start", exc_info=error)

    async def _handle(self, turn: JudgedTurn) -> None:
        try:
            self._follow_up(turn, await self._pipeline.run(turn, self._child))
        except STORAGE_ERRORS as error:
            await pause(error, "a turn")
            self.enqueue(turn)

    def _follow_up(self, turn: JudgedTurn, outcome: PipelineOutcome) -> None:
        """Decide what happens to a turn that is not concluded."""
        if outcome is PipelineOutcome.RETRY:
            self.enqueue(turn)
        elif outcome is PipelineOutcome.ISOLATE:
            self._suspects.append(turn)
            if self._isolation is None and not self._closing:
                self._isolation = asyncio.create_task(self._run_suspects())

    async def _run_suspects(self) -> None:
        """Judge the turns that may have killed a process, one by one in a separate process."""
        try:
            while self._suspects:
                while self._suspects:
                    await retry_while_resting(self._judge_suspect, "a turn that is tried alone")
                await self._isolated.close()  # another may come meanwhile
        finally:
            self._isolation = None

    async def _judge_suspect(self) -> None:
        await self._isolated.start()
        turn = self._suspects[0]
        self._follow_up(turn, await self._pipeline.run(turn, self._isolated, alone=True))
        self._suspects.popleft()


def _log_crash(running: asyncio.Task[None]) -> None:
    """Nobody awaits the worker, and without it turns wait for the next start."""
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("judging has stopped; turns wait for the next start", exc_info=error)
