"""Judgements: what is made of a turn, logged and taught in one commit, and looked up afterwards."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from bandstand.errors import AlreadyRewardedError, BandstandError
from bandstand.store.embedded.decision_log import EmbeddedDecisions
from bandstand.store.embedded.in_flight import UserEvent
from bandstand.store.embedded.revocation_log import EmbeddedRevocations, PendingRevocation
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.learners.open_decisions import OpenDecisions
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.records import Array, Decision, Reward
from bandstand.store.sqlite.operations import Tally
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import judgement_queries, updates
from bandstand.store.tables.event_rows import (
    INSERT_LEGACY_REWARD,
    INSERT_REPLACEMENT_REWARD,
    INSERT_REWARD,
    LEGACY_LINK_SECONDS,
    build_legacy_row,
    build_replacement_row,
    build_reward_row,
)
from bandstand.store.tables.judgement_rows import (
    INSERT_CONCLUSION,
    INSERT_VERDICT,
    SETTLE_RESERVATION,
    UPDATE_JUDGEMENT,
    UPSERT_TOTAL,
    build_conclusion_row,
    build_total_row,
    build_update_row,
    build_verdict_row,
)
from bandstand.store.tables.judgements import (
    Conclusion,
    JudgedTurn,
    JudgementExpiredError,
    JudgementState,
    RewardPendingError,
    TurnOutcome,
    TurnPage,
    TurnTotals,
    UnknownJudgementError,
)
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.reward_sums import COUNT_ARRIVAL, build_sum_rows
from bandstand.store.tables.windows import LATE, is_too_late
from bandstand.store.turn_protocol import AllowUpdate


class EmbeddedJudgements:
    """The judgements of a state directory, as :class:`bandstand.store.protocol.JudgementLog` has them."""

    def __init__(
        self, directory: StateDirectory, decisions: EmbeddedDecisions, revocations: EmbeddedRevocations
    ) -> None:
        self._directory = directory
        self._decisions = decisions
        self._revocations = revocations

    # ── what comes of them ────────────────────────────────────────────────────────────────────────────────────────

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, allow_update: AllowUpdate = lambda _: True
    ) -> TurnOutcome | None:
        """Log what is made of a judgement, teach it, and take back what it taught before, all in one commit."""
        directory, before = self._directory, judgement.reward_seq
        while True:
            user = await directory.users.get_or_load(judgement.user_id)
            revocable = [] if before is None else await self._revocations.find_revocable((before,))
            out_of_reach = (
                before is not None and not revocable and await directory.read(judgement_queries.is_out_of_reach, before)
            )
            decision = (
                None if judgement.decision_id is None else await self._decisions.find_decision(judgement.decision_id)
            )
            if self._decisions.is_unchanged(user, decision):
                break
        if not user.uid or user.uid != judgement.uid:
            return None
        if out_of_reach and judgement.seq > user.reset_seq:
            raise JudgementExpiredError("what this judgement taught can no longer be separated from the rest")
        revocable = [each for each in revocable if self._revocations.is_revocable(user, each)]
        ts = directory.clock()
        # Numbered first: what was taught before is taken back before anything else is taught.
        revocation = self._revocations.build_revocation(
            revocable, cause=conclusion.cause, client=conclusion.client, ts=ts
        )
        try:
            outcome = self._build_outcome(user, judgement, conclusion, decision, revocable, allow_update)
        except BandstandError:
            revocation.on_rejected()
            raise
        await self._submit(user, judgement, conclusion, decision, outcome, revocation)
        return outcome

    def _build_outcome(
        self,
        user: CachedUser,
        judgement: JudgedTurn,
        conclusion: Conclusion,
        decision: Decision | None,
        revocable: list[RevocableReward],
        allow_update: AllowUpdate,
    ) -> TurnOutcome:
        """How the judgement stands after this, and what it gives."""
        ts = self._directory.clock()
        state, reason, reward = conclusion.state, conclusion.reason, None
        if conclusion.teach is not None:
            x = self._get_features(judgement, decision, revocable)
            forgotten = min(judgement.seq, judgement.decision_seq or judgement.seq) <= user.reset_seq
            if x is None:
                state, reason = "withheld", "expired"
            elif decision is not None and judgement.reward_seq is None and is_too_late(decision, judgement.ts):
                state, reason = "withheld", LATE
            elif not forgotten and not allow_update(None):
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
            verdict_seq=judgement.verdict_seq if conclusion.verdict is None else self._directory.next_seq(ts),
            reward_seq=judgement.reward_seq if reward is None else reward.seq,
        )
        return TurnOutcome(after, reward, revocable)

    def _get_features(
        self, judgement: JudgedTurn, decision: Decision | None, revocable: list[RevocableReward]
    ) -> Array | None:
        """The features x, shape (d,), of what the turn rewards; ``None`` if retention takes them."""
        if judgement.features is not None:
            registry = self._directory.registry
            return updates.encode_rewarded_features(registry, judgement.policy, judgement.features, None, None)
        if decision is None or (decision.seq <= self._directory.horizon and not revocable):
            return None
        return decision.x

    def _build_reward(
        self, judgement: JudgedTurn, conclusion: Conclusion, decision: Decision | None, x: Array, ts: float
    ) -> Reward:
        first, registry = judgement.reward_seq is None, self._directory.registry
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
            shadow_updates=updates.get_shadow_updates(registry, judgement.policy, judgement.features, decision),
            source="person" if conclusion.cause == "override" else "judge",
            seq=self._directory.next_seq(ts),
        )

    def _submit(
        self,
        user: CachedUser,
        judgement: JudgedTurn,
        conclusion: Conclusion,
        decision: Decision | None,
        outcome: TurnOutcome,
        revocation: PendingRevocation,
    ) -> UserEvent[None]:
        directory = self._directory
        ts, after, reward = directory.clock(), outcome.judgement, outcome.reward
        rows = [*revocation.rows]
        policy_id = directory.registry.get_id(judgement.policy)
        tally = None
        if reward is not None:
            rows.append(_build_reward_row(reward, judgement, user.uid, policy_id))
            rows.append((COUNT_ARRIVAL, (reward.seq,)))
            rows += build_sum_rows(reward, directory.prompts, directory.registry)
            tally = Tally(int(reward.ts // 3600), policy_id, rewards=1, reward_sum=reward.value)
        seq = directory.next_seq(ts)
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
                user.stale = not updates.apply_reward(self._directory.registry, user.profile, reward) or user.stale
                user.open_decisions = OpenDecisions(is_loaded=False)  # the ledger knows what this one was linked to

        def on_rejected() -> None:
            revocation.on_rejected()
            if decision is not None:
                decision.pending_turn_seq = held
                decision.reward = None if decision.reward is reward else decision.reward
                self._decisions.forget(decision)

        return directory.submit(user, seq, rows, on_committed, on_rejected, durable=True, tally=tally)

    # ── looking them up ───────────────────────────────────────────────────────────────────────────────────────────

    async def get_judgement(self, judgement_id: str) -> JudgedTurn:
        """The judgement of that id."""
        found = await self._directory.read(judgement_queries.find_judgement, self._directory.registry, judgement_id)
        if found is None:
            raise UnknownJudgementError("no such judgement")
        return found

    async def find_decision_turn(self, decision: Decision) -> JudgedTurn | None:
        """The newest turn that was taken as the decision's reward."""
        registry = self._directory.registry
        return await self._directory.read(judgement_queries.find_newest_of_decision, registry, decision.seq)

    async def list_judgements(self, states: Collection[JudgementState], before: int, limit: int) -> TurnPage:
        """Judgements in any of ``states``, newest first."""
        registry = self._directory.registry
        return await self._directory.read(judgement_queries.list_judgements, registry, states, before, limit)

    async def list_judgement_ids(
        self, states: Collection[JudgementState], since: float, reason: str | None = None
    ) -> list[str]:
        """Ids of the judgements in any of ``states``, taken since a time, oldest first."""
        return await self._directory.read(judgement_queries.list_judgement_ids, states, since, reason)

    async def load_detail(self, judgement: JudgedTurn) -> dict[str, Any]:
        """Its verdicts, and what was made of them."""
        return await self._directory.read(judgement_queries.load_detail, judgement)

    async def find_verdict(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """The verdict that stands."""
        return await self._directory.read(judgement_queries.find_verdict, judgement)

    async def find_last_applied(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """What the gate last applied to the current verdict."""
        return await self._directory.read(judgement_queries.find_last_applied, judgement)

    async def list_update_times(self, user_id: str, ts: float) -> list[float]:
        """When turns of the user taught, since ``ts``."""
        return await self._directory.read(judgement_queries.list_update_times, user_id, ts)

    async def load_turn_totals(self) -> list[TurnTotals]:
        """How many judgements stand where, by policy."""
        return await self._directory.read(judgement_queries.load_turn_totals)


def _build_reward_row(reward: Reward, judgement: JudgedTurn, uid: int, policy_id: int) -> tuple[str, Row]:
    """The row of a turn's reward: its first one as any other's, a later one in the place of the one before."""
    if judgement.reward_seq is not None:
        return INSERT_REPLACEMENT_REWARD, build_replacement_row(reward, uid, policy_id, judgement.reward_seq)
    if reward.decision_seq is not None:
        return INSERT_REWARD, build_reward_row(reward, uid, policy_id)
    return INSERT_LEGACY_REWARD, build_legacy_row(reward, uid, policy_id, judgement.ts - LEGACY_LINK_SECONDS)


def _build_conclusion_rows(
    seq: int, before: JudgedTurn, after: JudgedTurn, conclusion: Conclusion, policy_id: int, ts: float
) -> list[tuple[str, Row]]:
    rows: list[tuple[str, Row]] = [
        (INSERT_CONCLUSION, build_conclusion_row(seq, after, conclusion, ts)),
        (UPDATE_JUDGEMENT, build_update_row(after)),
        (UPSERT_TOTAL, build_total_row(before, policy_id, -1)),
        (UPSERT_TOTAL, build_total_row(after, policy_id, 1)),
    ]
    if conclusion.verdict is not None and after.verdict_seq is not None:
        rows.append((INSERT_VERDICT, build_verdict_row(after.verdict_seq, after, conclusion, ts)))
    if conclusion.settlement is not None:
        rows.append((SETTLE_RESERVATION, conclusion.settlement))
    return rows
