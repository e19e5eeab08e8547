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

from bandstand.definition import unknown
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
from bandstand.judge_worker.options import JudgeStanding, JudgingOptions
from bandstand.judge_worker.priority_limiter import Places
from bandstand.judge_worker.process import ChildDiedError, ChildNotStartedError, JudgeChild, TurnFailedError
from bandstand.judge_worker.update_rate_limit import Influence
from bandstand.judge_worker.waiters import Waiters
from bandstand.learning.population import Population
from bandstand.store.records import Reward
from bandstand.store.tables.judgements import Accepted, Cause, Conclusion, Judgement, Settlement
from bandstand.store.turn_store import Concluded, TurnStore

_MOST_DEATHS = 2
"""Processes that a turn may take with it, alone in them, before it is given up."""
_MOST_FAILURES = 3
_SUSPECT = 2
"""Tries that did not come back, by the ledger, after which a turn is tried alone: the service may have died of it."""
_MOST_TRIES = 6
_PAUSE_S = 1.0
_LONG_PAUSE_S = 5.0
_KEEPING = (StorageFullError, StorageUnavailableError, OverloadedError)

log = structlog.get_logger("bandstand")


class Judging:
    """The turns of one deployment.

    Args:
        store: where they wait.
        population: hears of what they teach.
        child: makes a process to judge in; one for most, one for those that may have killed it.
        options: how.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: TurnStore,
        population: Population,
        child: Callable[[], JudgeChild],
        options: JudgingOptions,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.options = options
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self.budget = JudgeBudget(store, options.caps, clock)
        self.influence = Influence(store, options.most_updates, clock)
        self._population = population
        self._child, self._isolated = child(), child()
        self._wake = asyncio.Event()
        self._places = Places(options.most_at_once, self._wake.set, self._wanted)
        self.calls = LlmCalls(store, self.budget, self._child, self._places)
        self._queue = FairQueue()
        self._active: set[asyncio.Task[None]] = set()
        self._suspects: deque[Judgement] = deque()
        self._died: Counter[int] = Counter()
        self._isolating: asyncio.Task[None] | None = None
        self._waiters = Waiters()
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._running: asyncio.Task[None] | None = None
        self._closing = False

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Take up what waits; the store must be open."""
        await self.budget.take_up()
        for seq, user_id, _ in await self.store.waiting():
            self._queue.push(user_id, seq)
        if self.options.on:
            self._running = asyncio.create_task(self._run())
            self._running.add_done_callback(_say_why)

    async def close(self) -> None:
        """Stop judging; what has no verdict yet goes on waiting in the ledger. The store must still be open."""
        self._closing = True
        tasks = [task for task in (self._running, self._isolating, *self._active) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.calls.close()
        await asyncio.gather(self._child.close(), self._isolated.close())
        self._waiters.close()

    @property
    def waiting(self) -> int:
        """Turns without a verdict yet."""
        return len(self._queue) + len(self._active) + len(self._suspects)

    def _wanted(self) -> int:
        """Turns that the worker would take now, had it the places."""
        return 0 if self._running is None or self._running.done() else len(self._queue)

    def standing(self) -> JudgeStanding:
        """How it goes."""
        deaths = self._child.deaths + self._isolated.deaths
        return JudgeStanding(self._outcomes, self.waiting, *self.budget.spent, self.budget.refused, deaths)

    # ── turns that come ───────────────────────────────────────────────────────────────────────────────────────────

    def taxonomy(self, name: str | None) -> Taxonomy:
        """The taxonomy of that name, the default one where none is named.

        Raises:
            InvalidRequestError: there is none.
        """
        wanted = self.options.default if name is None else name
        found = self.options.taxonomies.get(wanted)
        if found is None:
            fault = FieldError("turn.taxonomy", unknown(wanted, self.options.taxonomies))
            raise InvalidRequestError(f"{fault.field}: {fault.message}", [fault])
        return found

    async def accept(self, judgement: Judgement) -> Accepted:
        """Take a turn: it is in the ledger, synced, when this returns.

        Raises:
            JudgeOffError: this deployment judges nothing.
            OverloadedError: too many wait.
            IdempotencyMismatchError: its key came with another body before.
            BandstandError: as :meth:`bandstand.store.turn_store.TurnStore.accept`.
        """
        if not self.options.on:
            raise JudgeOffError("This deployment judges nothing (JUDGE=off).")
        if self.waiting >= self.options.most_waiting:
            raise OverloadedError(f"{self.options.most_waiting} turns wait to be judged; try again shortly")
        accepted = await self.store.accept(judgement)
        if accepted.judgement.body_hash != judgement.body_hash:
            raise IdempotencyMismatchError("this Idempotency-Key came with another body before")
        if accepted.match == "new":
            self.enqueue(accepted.judgement)
        return accepted

    def enqueue(self, judgement: Judgement) -> None:
        """Queue a turn that waits in the ledger."""
        self._queue.push(judgement.user_id, judgement.seq)
        self._wake.set()

    async def verdict_of(self, judgement: Judgement) -> Judgement:
        """Wait for a turn's conclusion, within limits; returns how it stands then."""
        if judgement.state == "waiting":
            with self._waiters.one(judgement.seq) as told:
                found = await self.store.judgement(judgement.judgement_id)  # it may have been concluded just now
                if found.state == "waiting":
                    await asyncio.wait([told], timeout=self.options.wait_s)
        return await self.store.judgement(judgement.judgement_id)

    # ── what comes of them ────────────────────────────────────────────────────────────────────────────────────────

    def locked(self, seq: int) -> asyncio.Lock:
        """Held by whoever concludes a judgement."""
        lock = self._locks.get(seq)
        if lock is None:
            lock = self._locks[seq] = asyncio.Lock()
        return lock

    def concluded(self, judged: Judged, taxonomy: Taxonomy, *, cause: Cause, client: str) -> Conclusion:
        """What the gate makes of a verdict."""
        applied = self.options.gate.applied(judged, taxonomy)
        conclusion = Conclusion(
            cause=cause, client=client, verdict=judged.as_json(), applied=applied.as_json(), reason=applied.withheld
        )
        if isinstance(judged, Unscored):
            return replace(conclusion, state="unscored", reason=judged.reason.value, applied=None)
        return replace(conclusion, teach=applied.reward) if applied.should_update else conclusion

    async def apply(self, judgement: Judgement, conclusion: Conclusion, *, capped: bool = True) -> Concluded | None:
        """Commit what is made of a judgement, and let the population know; its lock is held.

        Args:
            judgement: as it stands in the ledger.
            conclusion: what is made of it.
            capped: a user's influence counts.

        Raises:
            BandstandError: as :meth:`bandstand.store.turn_store.TurnStore.conclude`.
        """
        may_teach: Callable[[], bool] = lambda: True  # noqa: E731 (the other one needs its user)
        if capped:
            await self.influence.look_up(judgement.user_id)
            may_teach = partial(self.influence.may_teach, judgement.user_id)
        made = await self.store.conclude(judgement, conclusion, may_teach=may_teach)
        if made is None:
            return None
        for each in made.taken_back:  # the population takes in the sums as they are now
            self._population.rewarded(
                Reward(
                    each.user_id, each.policy, "", each.value, "", each.ts, b"", each.x, seq=each.seq, also=each.also
                )
            )
        if made.reward is not None:
            self._population.rewarded(made.reward)
        return made

    # ── the worker ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while True:
            try:
                await self._dispatch()
            except _KEEPING as error:
                log.warning("turns wait for the ledger", reason=error.detail)
                await asyncio.sleep(_PAUSE_S)
            except ChildNotStartedError as error:
                log.error("turns wait for the judge's process", reason=error.detail)  # noqa: TRY400 (the reason says all)
                await asyncio.sleep(_LONG_PAUSE_S)

    async def _dispatch(self) -> None:
        """Hand over as many turns as there is room for, or wait for either."""
        if self._queue or self.options.caps.bound is not None:  # an intent has no time to wait for a start
            await self._child.start()
        room = min(self._places.room, len(self._queue))
        if not room:
            self._wake.clear()
            await self._wake.wait()
            return
        seqs = [self._queue.pop() for _ in range(room)]
        for _ in seqs:
            self._places.take()
        try:
            taken = await self.store.taken(seqs)
        except _KEEPING:
            for seq in seqs:
                self._queue.push("", seq)
                self._places.give_back()
            raise
        for judgement in taken:
            task = asyncio.create_task(self._handle(judgement))
            self._active.add(task)
            task.add_done_callback(self._done)
        for seq in set(seqs).difference(judgement.seq for judgement in taken):  # they were erased
            self._places.give_back()
            self._waiters.tell(seq)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        self._places.give_back()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a turn's judgement broke off; it waits for the next start", exc_info=error)

    async def _handle(self, judgement: Judgement) -> None:
        try:
            if judgement.texts is None:
                await self._give_up(judgement, "expired")
            elif judgement.taxonomy not in self.options.taxonomies:
                await self._give_up(judgement, "unknown_taxonomy")
            elif judgement.tries >= _MOST_TRIES:
                await self._give_up(judgement, "crashed")
            elif judgement.tries >= _SUSPECT:
                self._suspect(judgement)
            else:
                await self._try(judgement, self._child)
        except _KEEPING as error:
            log.warning("a turn waits for the ledger", reason=error.detail)
            await asyncio.sleep(_PAUSE_S)
            self.enqueue(judgement)

    async def _try(self, judgement: Judgement, child: JudgeChild) -> None:
        texts = judgement.texts or ("", "", "")
        reserved, day = await self.budget.reserve_turn(texts, judgement.taxonomy)
        settlement = None
        try:
            await self._write_down(judgement, reserved, day)
            judged, spent = await child.judge(texts, judgement.taxonomy, allow_llm=reserved is not None)
            settlement = reserved and self.budget.settle(reserved, *spent)
        except (ChildDiedError, ChildNotStartedError):
            self._died[judgement.seq] += child is self._isolated
            if self._died[judgement.seq] < _MOST_DEATHS:
                self._suspect(judgement)
            else:
                await self._give_up(judgement, "crashed")
        except TurnFailedError as error:
            log.error("a turn could not be judged", judgement=judgement.judgement_id, fault=error.detail)  # noqa: TRY400 (its traceback is the child's)
            if judgement.tries >= _MOST_FAILURES:
                await self._give_up(judgement, "failed")
            else:
                self.enqueue(judgement)
        else:
            taxonomy = self.options.taxonomies[judgement.taxonomy]
            conclusion = self.concluded(judged, taxonomy, cause="judge", client=judgement.client)
            await self._conclude(judgement, replace(conclusion, settlement=settlement))
        finally:
            if reserved is not None and settlement is None:
                self.budget.leave(reserved)

    async def _write_down(self, judgement: Judgement, reserved: Settlement | None, day: int) -> None:
        """Before the process has the turn, the ledger knows that it is tried, and what that may cost."""
        try:
            await self.store.try_judge(judgement, reserved, day)
        except _KEEPING:
            if reserved is not None:
                self.budget.settle(reserved, 0, 0)
            raise
        judgement.tries += 1

    def _suspect(self, judgement: Judgement) -> None:
        """Try a turn again by itself: it may be what a process died of."""
        self._suspects.append(judgement)
        if self._isolating is None and not self._closing:
            self._isolating = asyncio.create_task(self._isolate())

    async def _isolate(self) -> None:
        try:
            while self._suspects:
                try:
                    await self._isolated.start()
                    await self._try(self._suspects[0], self._isolated)
                except (*_KEEPING, ChildNotStartedError):
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._suspects.popleft()
            await self._isolated.close()
        finally:
            self._isolating = None

    async def _give_up(self, judgement: Judgement, reason: str) -> None:
        conclusion = Conclusion(cause="judge", client=judgement.client, state="unscored", reason=reason)
        await self._conclude(judgement, conclusion)

    async def _conclude(self, judgement: Judgement, conclusion: Conclusion) -> None:
        """Commit a conclusion, however long the ledger takes: it may have been paid for."""
        self._died.pop(judgement.seq, None)
        made = None
        async with self.locked(judgement.seq):
            while True:
                try:
                    made = await self.apply(judgement, conclusion)
                except _KEEPING as error:
                    log.warning("a verdict waits for the ledger", reason=error.detail)
                    await asyncio.sleep(_PAUSE_S)
                except BandstandError as error:
                    conclusion = replace(conclusion, teach=None, state="withheld", reason=error.code)
                else:
                    break
        if made is not None:
            after = made.judgement
            self._outcomes[after.policy.name, after.state, after.reason or ""] += 1
        self._waiters.tell(judgement.seq)


def _say_why(running: asyncio.Task[None]) -> None:
    """Nobody awaits the worker, and without it turns wait for the next start."""
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("judging has stopped; turns wait for the next start", exc_info=error)
