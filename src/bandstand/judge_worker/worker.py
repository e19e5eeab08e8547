"""Judging: turns that wait in the ledger go through the judge's process, and what comes back is applied, once each.

A turn's verdict and what it teaches are committed together, so a crash on either side means at most that a turn is
judged again. Turns that were in the process when it died are tried again one by one in a process of their own, so that
the one at fault is found and nobody waits for it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

import structlog

from bandstand.definition import describe_unknown
from bandstand.errors import (
    BandstandError,
    FieldError,
    IdempotencyMismatchError,
    InvalidRequestError,
    OverloadedError,
    StorageFullError,
    StorageUnavailableError,
)
from bandstand.judge.cascade import JudgeOffError
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.verdict import Judged, Unscored
from bandstand.judge_worker.budget import JudgeBudget
from bandstand.judge_worker.fair_queue import FairQueue
from bandstand.judge_worker.llm_calls import LlmCalls
from bandstand.judge_worker.options import JudgeOptions, JudgeStatus
from bandstand.judge_worker.priority_limiter import PriorityLimiter
from bandstand.judge_worker.process import (
    JudgeProcess,
    JudgeProcessDiedError,
    JudgeProcessNotStartedError,
    TurnFailedError,
)
from bandstand.judge_worker.update_rate_limit import UpdateRateLimit
from bandstand.judge_worker.waiters import VerdictWaiters
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.store.protocol import Store
from bandstand.store.records import Reward
from bandstand.store.tables.judgements import AcceptedTurn, Cause, Conclusion, JudgedTurn, Settlement, TurnOutcome

_MAX_DEATHS = 2
"""Processes that a turn may take with it, alone in them, before it is given up."""
_MAX_FAILURES = 3
_SUSPECT_TRIES = 2
"""Tries that did not come back, by the ledger, after which a turn is tried alone: the service may have died of it."""
_MAX_TRIES = 6
_PAUSE_S = 1.0
_LONG_PAUSE_S = 5.0
_STORAGE_ERRORS = (StorageFullError, StorageUnavailableError, OverloadedError)

log = structlog.get_logger("bandstand")


class JudgeWorker:
    """The turns of one deployment.

    Args:
        store: where they wait.
        population: hears of what they teach.
        make_process: makes a process to judge in; one for most, one for those that may have killed it.
        options: how.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        population: PopulationPriorRefresher,
        make_process: Callable[[], JudgeProcess],
        options: JudgeOptions,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.options = options
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self.budget = JudgeBudget(store, options.caps, clock)
        self.update_limit = UpdateRateLimit(store, options.max_updates, clock)
        self._population = population
        self._child, self._isolated = make_process(), make_process()
        self._wake = asyncio.Event()
        self._limiter = PriorityLimiter(options.max_concurrent, self._wake.set, self._count_ready)
        self.calls = LlmCalls(store, self.budget, self._child, self._limiter)
        self._queue = FairQueue()
        self._active: set[asyncio.Task[None]] = set()
        self._suspects: deque[JudgedTurn] = deque()
        self._deaths: Counter[int] = Counter()
        self._isolation: asyncio.Task[None] | None = None
        self._waiters = VerdictWaiters()
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._runner: asyncio.Task[None] | None = None
        self._closing = False

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Take up what waits; the store must be open."""
        await self.budget.start()
        for seq, user_id, _ in await self.store.list_waiting():
            self._queue.push(user_id, seq)
        if self.options.enabled:
            self._runner = asyncio.create_task(self._run())
            self._runner.add_done_callback(_log_crash)

    async def close(self) -> None:
        """Stop judging; what has no verdict yet goes on waiting in the ledger. The store must still be open."""
        self._closing = True
        tasks = [task for task in (self._runner, self._isolation, *self._active) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.calls.close()
        await asyncio.gather(self._child.close(), self._isolated.close())
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
        return JudgeStatus(self._outcomes, self.pending_turns, *self.budget.spent, self.budget.rejected, deaths)

    # ── turns that come ───────────────────────────────────────────────────────────────────────────────────────────

    def get_taxonomy(self, name: str | None) -> Taxonomy:
        """The taxonomy of that name, the default one where none is named.

        Raises:
            InvalidRequestError: there is none.
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

    # ── what comes of them ────────────────────────────────────────────────────────────────────────────────────────

    def get_lock(self, seq: int) -> asyncio.Lock:
        """Held by whoever concludes a judgement."""
        lock = self._locks.get(seq)
        if lock is None:
            lock = self._locks[seq] = asyncio.Lock()
        return lock

    def build_conclusion(self, judged: Judged, taxonomy: Taxonomy, *, cause: Cause, client: str) -> Conclusion:
        """What the gate makes of a verdict."""
        applied = self.options.gate.apply(judged, taxonomy)
        conclusion = Conclusion(
            cause=cause, client=client, verdict=judged.as_json(), applied=applied.as_json(), reason=applied.withheld
        )
        if isinstance(judged, Unscored):
            return replace(conclusion, state="unscored", reason=judged.reason.value, applied=None)
        return replace(conclusion, teach=applied.reward) if applied.should_update else conclusion

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, capped: bool = True
    ) -> TurnOutcome | None:
        """Commit what is made of a judgement, and let the population know; its lock is held.

        Args:
            judgement: as it stands in the ledger.
            conclusion: what is made of it.
            capped: a user's influence counts.

        Raises:
            BandstandError: as :meth:`bandstand.store.protocol.Store.apply_conclusion`.
        """
        may_teach: Callable[[], bool] = lambda: True  # noqa: E731 (the other one needs its user)
        if capped:
            await self.update_limit.load_user(judgement.user_id)
            may_teach = partial(self.update_limit.allow_update, judgement.user_id)
        outcome = await self.store.apply_conclusion(judgement, conclusion, allow_update=may_teach)
        if outcome is None:
            return None
        for each in outcome.revoked:  # the population takes in the sums as they are now
            self._population.apply_reward(
                Reward(
                    each.user_id,
                    each.policy,
                    "",
                    each.value,
                    "",
                    each.ts,
                    b"",
                    each.x,
                    seq=each.seq,
                    shadow_updates=each.shadow_updates,
                )
            )
        if outcome.reward is not None:
            self._population.apply_reward(outcome.reward)
        return outcome

    # ── the worker ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while True:
            try:
                await self._dispatch()
            except _STORAGE_ERRORS as error:
                log.warning("turns wait for the ledger", reason=error.detail)
                await asyncio.sleep(_PAUSE_S)
            except JudgeProcessNotStartedError as error:
                log.error("turns wait for the judge's process", reason=error.detail)  # noqa: TRY400 (the reason says all)
                await asyncio.sleep(_LONG_PAUSE_S)

    async def _dispatch(self) -> None:
        """Hand over as many turns as there is room for, or wait for either."""
        if self._queue or self.options.caps.bound is not None:  # an intent has no time to wait for a start
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
            taken = await self.store.load_waiting(seqs)
        except _STORAGE_ERRORS:
            for seq in seqs:
                self._queue.push("", seq)
                self._limiter.release()
            raise
        for judgement in taken:
            task = asyncio.create_task(self._handle(judgement))
            self._active.add(task)
            task.add_done_callback(self._finish_turn)
        for seq in set(seqs).difference(judgement.seq for judgement in taken):  # they were erased
            self._limiter.release()
            self._waiters.notify(seq)

    def _finish_turn(self, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        self._limiter.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a turn's judgement broke off; it waits for the next start", exc_info=error)

    async def _handle(self, judgement: JudgedTurn) -> None:
        try:
            if judgement.texts is None:
                await self._fail_turn(judgement, "expired")
            elif judgement.taxonomy not in self.options.taxonomies:
                await self._fail_turn(judgement, "unknown_taxonomy")
            elif judgement.tries >= _MAX_TRIES:
                await self._fail_turn(judgement, "crashed")
            elif judgement.tries >= _SUSPECT_TRIES:
                self._enqueue_suspect(judgement)
            else:
                await self._try_judge(judgement, self._child)
        except _STORAGE_ERRORS as error:
            log.warning("a turn waits for the ledger", reason=error.detail)
            await asyncio.sleep(_PAUSE_S)
            self.enqueue(judgement)

    async def _try_judge(self, judgement: JudgedTurn, process: JudgeProcess) -> None:
        texts = judgement.texts or ("", "", "")
        reserved, day = await self.budget.reserve_turn(texts, judgement.taxonomy)
        settlement = None
        try:
            await self._record_attempt(judgement, reserved, day)
            judged, spent = await process.judge(texts, judgement.taxonomy, allow_llm=reserved is not None)
            settlement = reserved and self.budget.settle(reserved, *spent)
        except (JudgeProcessDiedError, JudgeProcessNotStartedError):
            self._deaths[judgement.seq] += process is self._isolated
            if self._deaths[judgement.seq] < _MAX_DEATHS:
                self._enqueue_suspect(judgement)
            else:
                await self._fail_turn(judgement, "crashed")
        except TurnFailedError as error:
            log.error("a turn could not be judged", judgement=judgement.judgement_id, fault=error.detail)  # noqa: TRY400 (its traceback is the child's)
            if judgement.tries >= _MAX_FAILURES:
                await self._fail_turn(judgement, "failed")
            else:
                self.enqueue(judgement)
        else:
            taxonomy = self.options.taxonomies[judgement.taxonomy]
            conclusion = self.build_conclusion(judged, taxonomy, cause="judge", client=judgement.client)
            await self._apply_until_stored(judgement, replace(conclusion, settlement=settlement))
        finally:
            if reserved is not None and settlement is None:
                self.budget.close_unsettled(reserved)

    async def _record_attempt(self, judgement: JudgedTurn, reserved: Settlement | None, day: int) -> None:
        """Before the process has the turn, the ledger knows that it is tried, and what that may cost."""
        try:
            await self.store.record_attempt(judgement, reserved, day)
        except _STORAGE_ERRORS:
            if reserved is not None:
                self.budget.settle(reserved, 0, 0)
            raise
        judgement.tries += 1

    def _enqueue_suspect(self, judgement: JudgedTurn) -> None:
        """Try a turn again by itself: it may be what a process died of."""
        self._suspects.append(judgement)
        if self._isolation is None and not self._closing:
            self._isolation = asyncio.create_task(self._run_suspects())

    async def _run_suspects(self) -> None:
        try:
            while self._suspects:
                try:
                    await self._isolated.start()
                    await self._try_judge(self._suspects[0], self._isolated)
                except (*_STORAGE_ERRORS, JudgeProcessNotStartedError):
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._suspects.popleft()
            await self._isolated.close()
        finally:
            self._isolation = None

    async def _fail_turn(self, judgement: JudgedTurn, reason: str) -> None:
        conclusion = Conclusion(cause="judge", client=judgement.client, state="unscored", reason=reason)
        await self._apply_until_stored(judgement, conclusion)

    async def _apply_until_stored(self, judgement: JudgedTurn, conclusion: Conclusion) -> None:
        """Commit a conclusion, however long the ledger takes: it may have been paid for."""
        self._deaths.pop(judgement.seq, None)
        outcome = None
        async with self.get_lock(judgement.seq):
            while True:
                try:
                    outcome = await self.apply_conclusion(judgement, conclusion)
                except _STORAGE_ERRORS as error:
                    log.warning("a verdict waits for the ledger", reason=error.detail)
                    await asyncio.sleep(_PAUSE_S)
                except BandstandError as error:
                    conclusion = replace(conclusion, teach=None, state="withheld", reason=error.code)
                else:
                    break
        if outcome is not None:
            after = outcome.judgement
            self._outcomes[after.policy.name, after.state, after.reason or ""] += 1
        self._waiters.notify(judgement.seq)


def _log_crash(running: asyncio.Task[None]) -> None:
    """Nobody awaits the worker, and without it turns wait for the next start."""
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("judging has stopped; turns wait for the next start", exc_info=error)
