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
from bandstand.store.bandit_store import EmbeddedStore, PendingRevocation
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.protocol import require_made_by
from bandstand.store.records import AcceptedReward, Array, Decision, Reward, first_seq_at
from bandstand.store.sqlite.schema import (
    INSERT_IDEMPOTENCY_KEY,
    INSERT_LEGACY_REWARD,
    INSERT_REWARD,
    LEGACY_LINK_SECONDS,
    Row,
    build_legacy_reward_row,
    build_reward_row,
)
from bandstand.store.sqlite.writer import CommitObserver, Operation, make_done_callback
from bandstand.store.state_directory import EventCollisionError, StoreOptions
from bandstand.store.tables import judgements, revocations, updates
from bandstand.store.tables.judgements import (
    COUNT_ATTEMPT,
    INSERT_CONCLUSION,
    INSERT_REPLACEMENT_REWARD,
    INSERT_RESERVATION,
    INSERT_VERDICT,
    REQUEUE_JUDGEMENT,
    SETTLE_RESERVATION,
    UPDATE_JUDGEMENT,
    UPSERT_TOTAL,
    AcceptedTurn,
    Conclusion,
    JudgedTurn,
    JudgementExpiredError,
    JudgementState,
    RewardPendingError,
    Settlement,
    TurnPage,
    TurnTotals,
    UnknownJudgementError,
)
from bandstand.store.tables.revocations import RevocableReward

_DAY = 86_400
_KEY_MISMATCH = "this Idempotency-Key came with another body before"


class TurnOutcome(NamedTuple):
    """What became of a judgement.

    Attributes:
        judgement: as it stands now.
        reward: what it gave, if it gave anything.
        revoked: what it had taught before.
    """

    judgement: JudgedTurn
    reward: Reward | None
    revoked: list[RevocableReward]


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
        self._turns_by_key: dict[tuple[str, str], JudgedTurn] = {}  # by Idempotency-Key, while in flight

    # ── turns that come ───────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, judgement: JudgedTurn) -> AcceptedTurn:
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
            except EventCollisionError:
                pass
            except UnknownDecisionError:
                if await self._is_key_used(judgement.idempotency):
                    break
                raise
        raise IdempotencyMismatchError(_KEY_MISMATCH)

    async def _is_key_used(self, key: tuple[str, str] | None) -> bool:
        """Whether anything was given with that Idempotency-Key, be it a turn or another reward."""
        return key is not None and await self._read(judgements.is_key_used, *key)

    async def _accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        key = judgement.idempotency
        if key is not None and (known := await self._find_turn_by_key(key)) is not None:
            return AcceptedTurn(known, "key")
        while True:
            user = await self._users.get_or_load(judgement.user_id)
            decision = None if judgement.decision_id is None else await self.find_decision(judgement.decision_id)
            held = 0 if decision is None else decision.pending_turn_seq
            if decision is not None:
                await self._wait_committed(held)
                await self._wait_committed(0 if decision.reward is None else decision.reward.seq)
                earlier = await self._read(
                    judgements.find_by_decision, self._registry, decision.seq, judgement.body_hash
                )
                if earlier is not None and earlier.user_id == judgement.user_id:
                    return AcceptedTurn(earlier, "decision")
            if self._is_unchanged(user, decision) and (decision is None or decision.pending_turn_seq == held):
                break  # nothing moved while we waited: from here to the hand-over there is no await
        if judgement.decision_id is not None:
            self._require_rewardable(user, decision, judgement)
        await asyncio.shield(self._submit_turn(user, judgement, decision))  # others may wait for it too
        return AcceptedTurn(judgement, "new")

    def _is_unchanged(self, user: CachedUser, decision: Decision | None) -> bool:
        return self._users.is_current(user) and (decision is None or self._recent.get(decision.decision_id) is decision)

    def _require_rewardable(self, user: CachedUser, decision: Decision | None, judgement: JudgedTurn) -> None:
        if decision is None or decision.uid != user.uid or self._is_expired(decision):
            raise UnknownDecisionError("no such decision")
        require_made_by(decision, judgement.policy)
        if decision.reward is not None:
            raise AlreadyRewardedError("this decision already has another reward")
        if decision.pending_turn_seq:
            raise RewardPendingError("a turn that is still being judged holds this decision")

    def _submit_turn(
        self, user: CachedUser, judgement: JudgedTurn, decision: Decision | None
    ) -> "asyncio.Future[object]":
        seq = judgement.seq = self._sequence.next(judgement.ts)
        judgement.judgement_id = f"{seq:016x}{judgement.judgement_id[16:]}"
        judgement.uid = self._ensure_uid(user)
        if decision is not None:
            judgement.decision_seq = decision.seq
            decision.pending_turn_seq = seq
        rows = judgement.build_rows(self._registry.get_id(judgement.policy))
        key = judgement.idempotency
        if key is not None:
            rows.append((INSERT_IDEMPOTENCY_KEY, (*key, judgement.body_hash, seq, judgement.ts)))
            self._turns_by_key[key] = judgement

        def on_committed() -> None:
            if key is not None:
                self._turns_by_key.pop(key, None)

        def on_rejected() -> None:
            on_committed()
            if decision is not None:
                decision.pending_turn_seq = 0
                self._recent.pop(decision.decision_id, None)  # if it collided, memory was wrong about it

        return self._submit(user, seq, rows, on_committed, on_rejected, durable=True)

    async def find_turn_by_key(self, key: tuple[str, str]) -> JudgedTurn | None:
        """The turn that came with that Idempotency-Key, named by scope and key; nothing is logged.

        Raises:
            IdempotencyMismatchError: what came with it was no turn.
        """
        known = await self._find_turn_by_key(key)
        if known is None and await self._find_reward_by_key(key) is not None:
            raise IdempotencyMismatchError(_KEY_MISMATCH)
        return known

    async def _find_turn_by_key(self, key: tuple[str, str]) -> JudgedTurn | None:
        if (flying := self._turns_by_key.get(key)) is not None:
            await self._wait_committed(flying.seq)
        return await self._read(judgements.find_by_key, self._registry, *key)

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key; see :class:`bandstand.store.protocol.Store`."""
        known = await self._find_reward_by_key(key)
        if known is None and await self._find_turn_by_key(key) is not None:
            raise IdempotencyMismatchError(_KEY_MISMATCH)
        return known

    async def reward(self, reward: Reward) -> AcceptedReward:
        """Log a reward and teach it, once; see :class:`bandstand.store.protocol.Store`."""
        try:
            return await super().reward(reward)
        except (EventCollisionError, UnknownDecisionError):
            if not await self._is_key_used(reward.idempotency):
                raise
            raise IdempotencyMismatchError(_KEY_MISMATCH) from None

    # ── what comes of them ────────────────────────────────────────────────────────────────────────────────────────

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, allow_update: Callable[[], bool] = lambda: True
    ) -> TurnOutcome | None:
        """Log what is made of a judgement, teach it, and take back what it taught before, all in one commit.

        A judgement is concluded by one caller at a time.

        Args:
            judgement: as it stands in the ledger.
            conclusion: what is made of it.
            allow_update: asked last, before a reward that would teach is handed over.

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
            user = await self._users.get_or_load(judgement.user_id)
            revocable = (
                [] if before is None else await self._read(revocations.find_revocable, self._registry, (before,))
            )
            out_of_reach = before is not None and not revocable and await self._read(judgements.is_out_of_reach, before)
            decision = None if judgement.decision_id is None else await self.find_decision(judgement.decision_id)
            if self._is_unchanged(user, decision):
                break
        if not user.uid or user.uid != judgement.uid:
            return None
        if out_of_reach and judgement.seq > user.reset_seq:
            raise JudgementExpiredError("what this judgement taught cannot be told from the rest any more")
        revocable = [each for each in revocable if self._is_revocable(user, each)]
        ts = self._clock()
        # Numbered first: what was taught before is taken back before anything else is taught.
        revocation = self._build_revocation(revocable, cause=conclusion.cause, client=conclusion.client, ts=ts)
        try:
            outcome = self._build_outcome(user, judgement, conclusion, decision, revocable, allow_update)
        except BandstandError:
            revocation.on_rejected()
            raise
        await asyncio.shield(self._submit_conclusion(user, judgement, conclusion, decision, outcome, revocation))
        return outcome

    def _build_outcome(
        self,
        user: CachedUser,
        judgement: JudgedTurn,
        conclusion: Conclusion,
        decision: Decision | None,
        revocable: list[RevocableReward],
        allow_update: Callable[[], bool],
    ) -> TurnOutcome:
        """How the judgement stands after this, and what it gives."""
        ts = self._clock()
        state, reason, reward = conclusion.state, conclusion.reason, None
        if conclusion.teach is not None:
            x = self._get_features(judgement, decision, revocable)
            forgotten = min(judgement.seq, judgement.decision_seq or judgement.seq) <= user.reset_seq
            if x is None:
                state, reason = "withheld", "expired"
            elif not forgotten and not allow_update():
                state, reason = "withheld", "influence_cap"
            else:
                reward = self._build_reward(judgement, conclusion, decision, x, ts)
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
        return TurnOutcome(after, reward, revocable)

    def _get_features(
        self, judgement: JudgedTurn, decision: Decision | None, revocable: list[RevocableReward]
    ) -> Array | None:
        """The features x, shape (d,), of what the turn rewards; ``None`` where retention takes them."""
        if judgement.features is not None:
            return updates.encode_rewarded_features(self._registry, judgement.policy, judgement.features, None, None)
        if decision is None or (decision.seq <= self._horizon and not revocable):
            return None
        return decision.x

    def _build_reward(
        self, judgement: JudgedTurn, conclusion: Conclusion, decision: Decision | None, x: Array, ts: float
    ) -> Reward:
        first = judgement.reward_seq is None
        if decision is not None and first:
            if decision.reward is not None:
                raise AlreadyRewardedError("this decision already has another reward")
            if decision.pending_turn_seq not in (0, judgement.seq):
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
            shadow_updates=self._build_shadow_updates(judgement.policy, judgement.features, decision),
            source="person" if conclusion.cause == "override" else "judge",
            seq=self._sequence.next(ts),
        )

    def _submit_conclusion(
        self,
        user: CachedUser,
        judgement: JudgedTurn,
        conclusion: Conclusion,
        decision: Decision | None,
        outcome: TurnOutcome,
        revocation: PendingRevocation,
    ) -> "asyncio.Future[object]":
        ts, after, reward = self._clock(), outcome.judgement, outcome.reward
        rows = [*revocation.rows]
        policy_id = self._registry.get_id(judgement.policy)
        tally = None
        if reward is not None:
            rows.append(_build_reward_row(reward, judgement, user.uid, policy_id))
            tally = (int(reward.ts // 3600), policy_id, 0, 0, 1, reward.value)
        seq = self._sequence.next(ts)
        rows += _build_conclusion_rows(seq, judgement, after, conclusion, policy_id, ts)
        held = 0
        if decision is not None:
            held, decision.pending_turn_seq = (
                decision.pending_turn_seq,
                0 if decision.pending_turn_seq == judgement.seq else decision.pending_turn_seq,
            )
            decision.reward = reward if reward is not None and reward.decision_seq else decision.reward

        def on_committed() -> None:
            revocation.on_committed()
            if reward is not None:
                self._apply_reward(user, reward)

        def on_rejected() -> None:
            revocation.on_rejected()
            if decision is not None:
                decision.pending_turn_seq = held
                decision.reward = None if decision.reward is reward else decision.reward
                self._recent.pop(decision.decision_id, None)

        return self._submit(user, seq, rows, on_committed, on_rejected, durable=True, tally=tally)

    async def retry_judgement(self, judgement: JudgedTurn) -> bool:
        """Let an unscored turn wait for the judge again; returns whether it does.

        Raises:
            AlreadyRewardedError, RewardPendingError: its decision is not free any more.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """
        while True:
            user = await self._users.get_or_load(judgement.user_id)
            decision = None if judgement.decision_id is None else await self.find_decision(judgement.decision_id)
            if self._is_unchanged(user, decision):
                break
        if not user.uid or user.uid != judgement.uid or judgement.state != "unscored":
            return False
        if judgement.decision_seq is not None:
            self._require_rewardable(user, decision, judgement)
        if decision is not None:
            decision.pending_turn_seq = judgement.seq
        policy_id = self._registry.get_id(judgement.policy)
        after = replace(judgement, state="waiting", reason=None)
        rows: list[tuple[str, Row]] = [
            (REQUEUE_JUDGEMENT, (judgement.seq,)),
            (UPSERT_TOTAL, judgement.build_total_row(policy_id, -1)),
            (UPSERT_TOTAL, after.build_total_row(policy_id, 1)),
        ]

        def on_rejected() -> None:
            if decision is not None:
                decision.pending_turn_seq = 0

        seq = self._sequence.next(self._clock())
        await asyncio.shield(self._submit(user, seq, rows, _noop, on_rejected, durable=True))
        return True

    # ── the judge's work ──────────────────────────────────────────────────────────────────────────────────────────

    async def list_waiting(self) -> list[tuple[int, str, int]]:
        """Every turn that waits, oldest first: its event number, its user, how often it was tried."""
        return await self._read(judgements.list_waiting)

    async def load_waiting(self, seqs: Collection[int]) -> list[JudgedTurn]:
        """Those of the judgements that still wait, each with its turn."""
        return await self._read(judgements.load_waiting, self._registry, seqs)

    async def record_attempt(self, judgement: JudgedTurn, reservation: Settlement | None, day: int) -> None:
        """Write down that a turn is about to be judged, and what that may cost; ``reservation`` is given its number."""
        rows: list[tuple[str, Row]] = [(COUNT_ATTEMPT, (judgement.seq,))]
        if reservation is not None:
            rows.append((INSERT_RESERVATION, (reservation.seq, day, reservation.tokens, reservation.usd, 0)))
        await self._write_rows(rows)

    async def reserve(self, reservation: Settlement, day: int) -> None:
        """Write down what a call may cost."""
        await self._write_rows([(INSERT_RESERVATION, (reservation.seq, day, reservation.tokens, reservation.usd, 0))])

    async def settle(self, settlement: Settlement) -> None:
        """Replace a reservation by what it came to."""
        await self._write_rows([(SETTLE_RESERVATION, tuple(settlement))])

    async def _write_rows(self, rows: list[tuple[str, Row]]) -> None:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._writer.submit(Operation(rows, make_done_callback(future), durable=False))
        await future

    async def load_spending(self, day: int) -> tuple[int, float]:
        """Tokens and US dollars of a day, with what is still reserved."""
        return await self._read(judgements.load_spending, day)

    async def list_update_times(self, user_id: str, ts: float) -> list[float]:
        """When turns of the user taught, since ``ts``."""
        return await self._read(judgements.list_update_times, user_id, first_seq_at(ts))

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def get_judgement(self, judgement_id: str) -> JudgedTurn:
        """The judgement of that id.

        Raises:
            UnknownJudgementError: there is none.
        """
        found = await self._read(judgements.find_judgement, self._registry, judgement_id)
        if found is None:
            raise UnknownJudgementError("no such judgement")
        return found

    async def list_judgements(self, states: Collection[JudgementState], before: int, limit: int) -> TurnPage:
        """Judgements in any of ``states``, newest first."""
        return await self._read(judgements.list_judgements, self._registry, states, before, limit)

    async def list_judgement_ids(
        self, states: Collection[JudgementState], since: float, reason: str | None = None
    ) -> list[str]:
        """Ids of the judgements in any of ``states``, taken since a time, oldest first."""
        return await self._read(judgements.list_judgement_ids, states, first_seq_at(since), reason)

    async def load_detail(self, judgement: JudgedTurn) -> dict[str, Any]:
        """Its verdicts, and what was made of them."""
        return await self._read(judgements.load_detail, judgement)

    async def find_verdict(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """The verdict that stands."""
        return await self._read(judgements.find_verdict, judgement)

    async def find_last_applied(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """What the verdict that stands was last held to."""
        return await self._read(judgements.find_last_applied, judgement)

    async def load_turn_totals(self) -> list[TurnTotals]:
        """How many judgements stand where, by policy."""
        return await self._read(judgements.load_turn_totals)

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def apply_retention(self) -> int:
        """Apply retention now, to the words of turns too."""
        now = self._clock()
        await self._writer.call(partial(judgements.delete_old_spending, today=int(now // _DAY)))
        if self._turn_retention_days:
            cutoff = first_seq_at(now - self._turn_retention_days * _DAY)
            while await self._writer.call(partial(judgements.delete_expired_texts, cutoff=cutoff)):
                pass
        return await super().apply_retention()


def _build_reward_row(reward: Reward, judgement: JudgedTurn, uid: int, policy_id: int) -> tuple[str, Row]:
    """The row of a turn's reward: its first one as any other's, a later one in the place of the one before."""
    if judgement.reward_seq is not None:
        return INSERT_REPLACEMENT_REWARD, build_legacy_reward_row(reward, uid, policy_id, judgement.reward_seq)
    if reward.decision_seq is not None:
        return INSERT_REWARD, build_reward_row(reward, uid, policy_id)
    linkable_after = first_seq_at(judgement.ts - LEGACY_LINK_SECONDS)
    return INSERT_LEGACY_REWARD, build_legacy_reward_row(reward, uid, policy_id, linkable_after)


def _build_conclusion_rows(
    seq: int, before: JudgedTurn, after: JudgedTurn, conclusion: Conclusion, policy_id: int, ts: float
) -> list[tuple[str, Row]]:
    rows: list[tuple[str, Row]] = [
        (INSERT_CONCLUSION, judgements.build_conclusion_row(seq, after, conclusion, ts)),
        (UPDATE_JUDGEMENT, (after.seq, after.state, after.reason, after.rounds, after.verdict_seq, after.reward_seq)),
        (UPSERT_TOTAL, before.build_total_row(policy_id, -1)),
        (UPSERT_TOTAL, after.build_total_row(policy_id, 1)),
    ]
    if conclusion.verdict is not None and after.verdict_seq is not None:
        rows.append((INSERT_VERDICT, judgements.build_verdict_row(after.verdict_seq, after, conclusion, ts)))
    if conclusion.settlement is not None:
        rows.append((SETTLE_RESERVATION, tuple(conclusion.settlement)))
    return rows


def _noop() -> None:
    """What becomes of a user whose turn waits again."""
