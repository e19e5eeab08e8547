"""The embedded store with turns: what waits for a judge is an event like any other, and so is what came of it.

Longer than most: taking a turn, concluding it and letting it wait again are one class's work, since each has to move
the same users and decisions in memory with the rows that it commits.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import (
    AlreadyRewardedError,
    BandstandError,
    IdempotencyMismatchError,
    UnknownDecisionError,
)
from bandstand.store.bandit_store import EmbeddedStore, TakingBack
from bandstand.store.learners.user_cache import Warm
from bandstand.store.protocol import require_made_by
from bandstand.store.records import Array, Decision, Reward, Rewarded, seq_at
from bandstand.store.sqlite.schema import (
    IDEMPOTENCY,
    LEGACY_LINK_SECONDS,
    LEGACY_REWARD,
    REWARD,
    Row,
    legacy_reward_row,
    reward_row,
)
from bandstand.store.sqlite.writer import CommitObserver, Operation, settle
from bandstand.store.state_directory import CollidedError, StoreOptions
from bandstand.store.tables import judgements, revocations, updates
from bandstand.store.tables.judgements import (
    AGAIN,
    CONCLUDED,
    CONCLUSION,
    REPLACEMENT,
    RESERVED,
    SETTLED,
    TOTAL,
    TRIED,
    VERDICT,
    Accepted,
    Conclusion,
    Judgement,
    JudgementExpiredError,
    Page,
    RewardPendingError,
    Settlement,
    State,
    Totals,
    UnknownJudgementError,
)
from bandstand.store.tables.revocations import Counted

_DAY = 86_400
_SPENT = "this Idempotency-Key came with another body before"


class Concluded(NamedTuple):
    """What became of a judgement.

    Attributes:
        judgement: as it stands now.
        reward: what it gave, if it gave anything.
        taken_back: what it had taught before.
    """

    judgement: Judgement
    reward: Reward | None
    taken_back: list[Counted]


class TurnStore(EmbeddedStore):
    """Keeps turns beside decisions and rewards.

    Args:
        turn_retention_days: the words of turns older than this go; 0 keeps them.
    """

    def __init__(
        self,
        state_dir: Path,
        catalogue: Catalogue,
        *,
        options: StoreOptions | None = None,
        clock: Callable[[], float] = time.time,
        observe: CommitObserver | None = None,
        turn_retention_days: float = 30.0,
    ) -> None:
        super().__init__(state_dir, catalogue, options=options, clock=clock, observe=observe)
        self._turn_retention_days = turn_retention_days
        self._keyed_turns: dict[tuple[str, str], Judgement] = {}  # by Idempotency-Key, while in flight

    # ── turns that come ───────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, judgement: Judgement) -> Accepted:
        """Log a turn, once for its request; it is synced when this returns, and holds its decision.

        Raises:
            UnknownDecisionError: the decision is gone, or another user's.
            WrongPolicyError: another policy made it.
            AlreadyRewardedError: it has a reward.
            RewardPendingError: another turn holds it.
            IdempotencyMismatchError: the key was spent on something else than a turn.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """
        for _ in range(2):  # its key may be spent between the look-up and the commit: then it is found
            try:
                return await self._accept(judgement)
            except CollidedError:
                pass
            except UnknownDecisionError:
                if await self._is_spent(judgement.idempotency):
                    break
                raise
        raise IdempotencyMismatchError(_SPENT)

    async def _is_spent(self, key: tuple[str, str] | None) -> bool:
        """Whether anything was given with that Idempotency-Key, be it a turn or another reward."""
        return key is not None and await self._read(judgements.is_key_spent, *key)

    async def _accept(self, judgement: Judgement) -> Accepted:
        key = judgement.idempotency
        if key is not None and (known := await self._turn_by_key(key)) is not None:
            return Accepted(known, "key")
        while True:
            user = await self._users.of(judgement.user_id)
            decision = None if judgement.decision_id is None else await self.decision(judgement.decision_id)
            held = 0 if decision is None else decision.held
            if decision is not None:
                await self._settled(held)
                await self._settled(0 if decision.reward is None else decision.reward.seq)
                earlier = await self._read(judgements.of_decision, self._registry, decision.seq, judgement.body_hash)
                if earlier is not None and earlier.user_id == judgement.user_id:
                    return Accepted(earlier, "decision")
            if self._is_still(user, decision) and (decision is None or decision.held == held):
                break  # nothing moved while we waited: from here to the hand-over there is no await
        if judgement.decision_id is not None:
            self._require_free(user, decision, judgement)
        await asyncio.shield(self._hand_over_turn(user, judgement, decision))  # others may wait for it too
        return Accepted(judgement, "new")

    def _is_still(self, user: Warm, decision: Decision | None) -> bool:
        return self._users.holds(user) and (decision is None or self._recent.get(decision.decision_id) is decision)

    def _require_free(self, user: Warm, decision: Decision | None, judgement: Judgement) -> None:
        if decision is None or decision.uid != user.uid or self._past(decision):
            raise UnknownDecisionError("no such decision")
        require_made_by(decision, judgement.policy)
        if decision.reward is not None:
            raise AlreadyRewardedError("this decision already has another reward")
        if decision.held:
            raise RewardPendingError("a turn that is still being judged holds this decision")

    def _hand_over_turn(self, user: Warm, judgement: Judgement, decision: Decision | None) -> "asyncio.Future[object]":
        seq = judgement.seq = self._sequence.next(judgement.ts)
        judgement.judgement_id = f"{seq:016x}{judgement.judgement_id[16:]}"
        judgement.uid = self._uid(user)
        if decision is not None:
            judgement.decision_seq = decision.seq
            decision.held = seq
        rows = judgement.rows(self._registry.id(judgement.policy))
        key = judgement.idempotency
        if key is not None:
            rows.append((IDEMPOTENCY, (*key, judgement.body_hash, seq, judgement.ts)))
            self._keyed_turns[key] = judgement

        def committed() -> None:
            if key is not None:
                self._keyed_turns.pop(key, None)

        def refused() -> None:
            committed()
            if decision is not None:
                decision.held = 0
                self._recent.pop(decision.decision_id, None)  # if it collided, memory was wrong about it

        return self._hand_over(user, seq, rows, committed, refused, durable=True)

    async def turn_by_key(self, key: tuple[str, str]) -> Judgement | None:
        """The turn that came with that Idempotency-Key, named by scope and key; nothing is logged.

        Raises:
            IdempotencyMismatchError: what came with it was no turn.
        """
        known = await self._turn_by_key(key)
        if known is None and await self._reward_by_key(key) is not None:
            raise IdempotencyMismatchError(_SPENT)
        return known

    async def _turn_by_key(self, key: tuple[str, str]) -> Judgement | None:
        if (flying := self._keyed_turns.get(key)) is not None:
            await self._settled(flying.seq)
        return await self._read(judgements.by_key, self._registry, *key)

    async def reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key; see :class:`bandstand.store.protocol.Store`."""
        known = await self._reward_by_key(key)
        if known is None and await self._turn_by_key(key) is not None:
            raise IdempotencyMismatchError(_SPENT)
        return known

    async def reward(self, reward: Reward) -> Rewarded:
        """Log a reward and teach it, once; see :class:`bandstand.store.protocol.Store`."""
        try:
            return await super().reward(reward)
        except (CollidedError, UnknownDecisionError):
            if not await self._is_spent(reward.idempotency):
                raise
            raise IdempotencyMismatchError(_SPENT) from None

    # ── what comes of them ────────────────────────────────────────────────────────────────────────────────────────

    async def conclude(
        self, judgement: Judgement, conclusion: Conclusion, *, may_teach: Callable[[], bool] = lambda: True
    ) -> Concluded | None:
        """Log what is made of a judgement, teach it, and take back what it taught before, all in one commit.

        A judgement is concluded by one caller at a time.

        Args:
            judgement: as it stands in the ledger.
            conclusion: what is made of it.
            may_teach: asked last, before a reward that would teach is handed over.

        Returns:
            What became of it; ``None`` where its user has been erased.

        Raises:
            AlreadyRewardedError: it would teach, and its decision has got another reward meanwhile.
            RewardPendingError: or is held by another turn.
            JudgementExpiredError: what it taught cannot be taken back any more.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """
        before = judgement.reward_seq
        while True:
            user = await self._users.of(judgement.user_id)
            counted = [] if before is None else await self._read(revocations.counted, self._registry, (before,))
            gone = before is not None and not counted and await self._read(judgements.is_out_of_reach, before)
            decision = None if judgement.decision_id is None else await self.decision(judgement.decision_id)
            if self._is_still(user, decision):
                break
        if not user.uid or user.uid != judgement.uid:
            return None
        if gone and judgement.seq > user.reset_seq:
            raise JudgementExpiredError("what this judgement taught cannot be told from the rest any more")
        counted = [each for each in counted if self._holds(user, each)]
        ts = self._clock()
        # Numbered first: what was taught before is taken back before anything else is taught.
        taking_back = self._taking_back(counted, cause=conclusion.cause, client=conclusion.client, ts=ts)
        try:
            made = self._made(user, judgement, conclusion, decision, counted, may_teach)
        except BandstandError:
            taking_back.refused()
            raise
        await asyncio.shield(self._hand_over_conclusion(user, judgement, conclusion, decision, made, taking_back))
        return made

    def _made(
        self,
        user: Warm,
        judgement: Judgement,
        conclusion: Conclusion,
        decision: Decision | None,
        counted: list[Counted],
        may_teach: Callable[[], bool],
    ) -> Concluded:
        """How the judgement stands after this, and what it gives."""
        ts = self._clock()
        state, reason, reward = conclusion.state, conclusion.reason, None
        if conclusion.teach is not None:
            x = self._features(judgement, decision, counted)
            forgotten = min(judgement.seq, judgement.decision_seq or judgement.seq) <= user.reset_seq
            if x is None:
                state, reason = "withheld", "expired"
            elif not forgotten and not may_teach():
                state, reason = "withheld", "influence_cap"
            else:
                reward = self._reward_of(judgement, conclusion, decision, x, ts)
                state, reason = "taught", None
                if forgotten:
                    state, reason = "withheld", "reset"
                    reward.applied, reward.reason = False, "reset"
        after = replace(
            judgement,
            state=state,
            reason=reason,
            rounds=judgement.rounds + 1,
            verdict_seq=judgement.verdict_seq if conclusion.verdict is None else self._sequence.next(ts),
            reward_seq=judgement.reward_seq if reward is None else reward.seq,
        )
        return Concluded(after, reward, counted)

    def _features(self, judgement: Judgement, decision: Decision | None, counted: list[Counted]) -> Array | None:
        """The features x, shape (d,), of what the turn rewards; ``None`` where retention takes them."""
        if judgement.features is not None:
            return updates.rewarded_features(self._registry, judgement.policy, judgement.features, None, None)
        if decision is None or (decision.seq <= self._horizon and not counted):
            return None
        return decision.x

    def _reward_of(
        self, judgement: Judgement, conclusion: Conclusion, decision: Decision | None, x: Array, ts: float
    ) -> Reward:
        first = judgement.reward_seq is None
        if decision is not None and first:
            if decision.reward is not None:
                raise AlreadyRewardedError("this decision already has another reward")
            if decision.held not in (0, judgement.seq):
                raise RewardPendingError("another turn that is still being judged holds this decision")
        return Reward(
            user_id=judgement.user_id,
            policy=judgement.policy,
            tip_id=judgement.tip_id,
            value=conclusion.teach or 0.0,
            client=conclusion.client,
            ts=ts,
            body_hash=judgement.body_hash,
            x=x,
            decision_seq=judgement.decision_seq if first else None,
            decision_id=judgement.decision_id,
            features=judgement.features,
            also=self._beside(judgement.policy, judgement.features, decision),
            source="person" if conclusion.cause == "override" else "judge",
            seq=self._sequence.next(ts),
        )

    def _hand_over_conclusion(
        self,
        user: Warm,
        judgement: Judgement,
        conclusion: Conclusion,
        decision: Decision | None,
        made: Concluded,
        taking_back: TakingBack,
    ) -> "asyncio.Future[object]":
        ts, after, reward = self._clock(), made.judgement, made.reward
        rows = [*taking_back.rows]
        policy_id = self._registry.id(judgement.policy)
        tally = None
        if reward is not None:
            rows.append(_reward_row(reward, judgement, user.uid, policy_id))
            tally = (int(reward.ts // 3600), policy_id, 0, 0, 1, reward.value)
        seq = self._sequence.next(ts)
        rows += _conclusion_rows(seq, judgement, after, conclusion, policy_id, ts)
        held = 0
        if decision is not None:
            held, decision.held = decision.held, 0 if decision.held == judgement.seq else decision.held
            decision.reward = reward if reward is not None and reward.decision_seq else decision.reward

        def committed() -> None:
            taking_back.committed()
            if reward is not None:
                self._learn(user, reward)

        def refused() -> None:
            taking_back.refused()
            if decision is not None:
                decision.held = held
                decision.reward = None if decision.reward is reward else decision.reward
                self._recent.pop(decision.decision_id, None)

        return self._hand_over(user, seq, rows, committed, refused, durable=True, tally=tally)

    async def judge_again(self, judgement: Judgement) -> bool:
        """Let an unscored turn wait for the judge again; returns whether it does.

        Raises:
            AlreadyRewardedError, RewardPendingError: its decision is not free any more.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """
        while True:
            user = await self._users.of(judgement.user_id)
            decision = None if judgement.decision_id is None else await self.decision(judgement.decision_id)
            if self._is_still(user, decision):
                break
        if not user.uid or user.uid != judgement.uid or judgement.state != "unscored":
            return False
        if judgement.decision_seq is not None:
            self._require_free(user, decision, judgement)
        if decision is not None:
            decision.held = judgement.seq
        policy_id = self._registry.id(judgement.policy)
        after = replace(judgement, state="waiting", reason=None)
        rows: list[tuple[str, Row]] = [
            (AGAIN, (judgement.seq,)),
            (TOTAL, judgement.counted(policy_id, -1)),
            (TOTAL, after.counted(policy_id, 1)),
        ]

        def refused() -> None:
            if decision is not None:
                decision.held = 0

        seq = self._sequence.next(self._clock())
        await asyncio.shield(self._hand_over(user, seq, rows, _nothing, refused, durable=True))
        return True

    # ── the judge's work ──────────────────────────────────────────────────────────────────────────────────────────

    async def waiting(self) -> list[tuple[int, str, int]]:
        """Every turn that waits, oldest first: its event number, its user, how often it was tried."""
        return await self._read(judgements.waiting)

    async def taken(self, seqs: Collection[int]) -> list[Judgement]:
        """Those of the judgements that still wait, each with its turn."""
        return await self._read(judgements.with_texts, self._registry, seqs)

    async def try_judge(self, judgement: Judgement, reserved: Settlement | None, day: int) -> None:
        """Write down that a turn is about to be judged, and what that may cost; ``reserved`` is given its number."""
        rows: list[tuple[str, Row]] = [(TRIED, (judgement.seq,))]
        if reserved is not None:
            rows.append((RESERVED, (reserved.seq, day, reserved.tokens, reserved.usd, 0)))
        await self._write(rows)

    async def reserve(self, reserved: Settlement, day: int) -> None:
        """Write down what a call may cost."""
        await self._write([(RESERVED, (reserved.seq, day, reserved.tokens, reserved.usd, 0))])

    async def settle(self, settlement: Settlement) -> None:
        """Replace a reservation by what it came to."""
        await self._write([(SETTLED, tuple(settlement))])

    async def _write(self, rows: list[tuple[str, Row]]) -> None:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._writer.submit(Operation(rows, settle(future), durable=False))
        await future

    async def spent(self, day: int) -> tuple[int, float]:
        """Tokens and US dollars of a day, with what is still reserved."""
        return await self._read(judgements.spent, day)

    async def taught_since(self, user_id: str, ts: float) -> list[float]:
        """When turns of the user taught, since ``ts``."""
        return await self._read(judgements.taught_since, user_id, seq_at(ts))

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def judgement(self, judgement_id: str) -> Judgement:
        """The judgement of that id.

        Raises:
            UnknownJudgementError: there is none.
        """
        found = await self._read(judgements.find, self._registry, judgement_id)
        if found is None:
            raise UnknownJudgementError("no such judgement")
        return found

    async def judgement_page(self, states: Collection[State], before: int, limit: int) -> Page:
        """Judgements in any of ``states``, newest first."""
        return await self._read(judgements.page, self._registry, states, before, limit)

    async def judgement_ids(self, states: Collection[State], since: float, reason: str | None = None) -> list[str]:
        """Ids of the judgements in any of ``states``, taken since a time, oldest first."""
        return await self._read(judgements.chosen, states, seq_at(since), reason)

    async def told(self, judgement: Judgement) -> dict[str, Any]:
        """Its verdicts, and what was made of them."""
        return await self._read(judgements.told, judgement)

    async def verdict(self, judgement: Judgement) -> dict[str, Any] | None:
        """The verdict that stands."""
        return await self._read(judgements.verdict, judgement)

    async def last_applied(self, judgement: Judgement) -> dict[str, Any] | None:
        """What the verdict that stands was last held to."""
        return await self._read(judgements.last_applied, judgement)

    async def judgement_totals(self) -> list[Totals]:
        """How many judgements stand where, by policy."""
        return await self._read(judgements.totals)

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def trim(self) -> int:
        """Apply retention now, to the words of turns too."""
        now = self._clock()
        await self._writer.call(partial(judgements.forget_spending, today=int(now // _DAY)))
        if self._turn_retention_days:
            cutoff = seq_at(now - self._turn_retention_days * _DAY)
            while await self._writer.call(partial(judgements.expire, cutoff=cutoff)):
                pass
        return await super().trim()


def _reward_row(reward: Reward, judgement: Judgement, uid: int, policy_id: int) -> tuple[str, Row]:
    """The row of a turn's reward: its first one as any other's, a later one in the place of the one before."""
    if judgement.reward_seq is not None:
        return REPLACEMENT, legacy_reward_row(reward, uid, policy_id, judgement.reward_seq)
    if reward.decision_seq is not None:
        return REWARD, reward_row(reward, uid, policy_id)
    linkable_after = seq_at(judgement.ts - LEGACY_LINK_SECONDS)
    return LEGACY_REWARD, legacy_reward_row(reward, uid, policy_id, linkable_after)


def _conclusion_rows(
    seq: int, before: Judgement, after: Judgement, conclusion: Conclusion, policy_id: int, ts: float
) -> list[tuple[str, Row]]:
    rows: list[tuple[str, Row]] = [
        (CONCLUSION, judgements.conclusion_row(seq, after, conclusion, ts)),
        (CONCLUDED, (after.seq, after.state, after.reason, after.rounds, after.verdict_seq, after.reward_seq)),
        (TOTAL, before.counted(policy_id, -1)),
        (TOTAL, after.counted(policy_id, 1)),
    ]
    if conclusion.verdict is not None and after.verdict_seq is not None:
        rows.append((VERDICT, judgements.verdict_row(after.verdict_seq, after, conclusion, ts)))
    if conclusion.settlement is not None:
        rows.append((SETTLED, tuple(conclusion.settlement)))
    return rows


def _nothing() -> None:
    """What becomes of a user whose turn waits again."""
