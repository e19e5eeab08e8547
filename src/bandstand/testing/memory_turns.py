"""Turns in memory: what waits for a judge, and what is made of it, as the embedded store has it."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from bandstand.errors import AlreadyRewardedError, IdempotencyMismatchError, UnknownDecisionError
from bandstand.store.ids import format_id, get_nonce
from bandstand.store.protocol import require_made_by
from bandstand.store.records import Decision, Reward
from bandstand.store.tables.judgements import (
    AcceptedTurn,
    Conclusion,
    JudgedTurn,
    JudgementState,
    RewardPendingError,
    Settlement,
    TurnOutcome,
    TurnPage,
    TurnTotals,
    UnknownJudgementError,
)
from bandstand.store.tables.updates import encode_rewarded_features
from bandstand.store.tables.windows import LATE, is_too_late, require_activated
from bandstand.store.turn_protocol import AllowUpdate, JudgementLog, TurnQueue
from bandstand.testing.memory_events import MemoryEvents, MemoryUser

_QUOTED_FIELDS = {"rationale": "", "raw": None}


class MemoryTurns(TurnQueue, JudgementLog):
    """The turns over the events of a memory store."""

    def __init__(self, events: MemoryEvents) -> None:
        self._events = events
        self._turns: dict[int, JudgedTurn] = {}  # by event number, as each stands
        self._verdicts: dict[int, list[tuple[int, str, float, dict[str, Any]]]] = {}  # by event number of the turn
        self._conclusions: dict[int, list[dict[str, Any]]] = {}
        self._reward_verdicts: dict[int, list[dict[str, Any]]] = {}  # by event number of the reward that they gave
        self._spending: dict[int, tuple[int, int, float]] = {}  # by reservation: day, tokens, US dollars
        self._totals: Counter[tuple[str, JudgementState, str]] = Counter()

    # ── turns that wait ───────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        """Log a turn, once for its request."""
        events, key = self._events, judgement.idempotency
        if key is not None and (known := events.turns_by_key.get(key)) is not None:
            return AcceptedTurn(self._copy(known.seq), "key")
        decision = None if judgement.decision_id is None else events.decisions.get(judgement.decision_id)
        if decision is not None:
            for each in self._turns.values():
                same = each.decision_seq == decision.seq and each.body_hash == judgement.body_hash
                if same and each.user_id == judgement.user_id:
                    return AcceptedTurn(self._copy(each.seq), "decision")
        if judgement.decision_id is not None:
            self._require_rewardable(decision, judgement)
        if key is not None and key in events.rewards_by_key:
            raise IdempotencyMismatchError("this Idempotency-Key came with another body before")
        judgement.uid = events.register_user(judgement.user_id).number
        judgement.seq = events.sequence.next(judgement.ts)
        judgement.judgement_id = format_id(judgement.seq, get_nonce(judgement.judgement_id))
        if decision is not None:
            judgement.decision_seq, decision.pending_turn_seq = decision.seq, judgement.seq
        if key is not None:
            events.turns_by_key[key] = judgement
        self._turns[judgement.seq] = replace(judgement)
        self._count(judgement, 1)
        return AcceptedTurn(judgement, "new")

    def _require_rewardable(self, decision: Decision | None, judgement: JudgedTurn) -> None:
        if decision is None or decision.user_id != judgement.user_id:
            if judgement.idempotency in self._events.rewards_by_key:
                raise IdempotencyMismatchError("this Idempotency-Key came with another body before")
            raise UnknownDecisionError("no such decision")
        require_made_by(decision, judgement.policy)
        if decision.reward is not None:
            raise AlreadyRewardedError("this decision already has another reward")
        if decision.pending_turn_seq:
            raise RewardPendingError("a turn that is still being judged holds this decision")
        require_activated(decision)

    async def find_turn_by_key(self, key: tuple[str, str]) -> JudgedTurn | None:
        """The turn that came with that Idempotency-Key."""
        known = self._events.turns_by_key.get(key)
        if known is None and key in self._events.rewards_by_key:
            raise IdempotencyMismatchError("this Idempotency-Key came with another body before")
        return None if known is None else self._copy(known.seq)

    async def retry_judgement(self, judgement: JudgedTurn) -> bool:
        """Put an unscored turn back into the queue; returns whether it waits now."""
        if judgement.seq not in self._turns or judgement.state != "unscored":
            return False
        decision = self._find_decision(judgement)
        if judgement.decision_seq is not None:
            self._require_rewardable(decision, judgement)
        if decision is not None:
            decision.pending_turn_seq = judgement.seq
        stored = self._turns[judgement.seq]
        self._count(stored, -1)
        stored.state, stored.reason, stored.tries = "waiting", None, 0
        self._count(stored, 1)
        return True

    async def list_waiting(self) -> list[tuple[int, str, int]]:
        """Every turn that waits, oldest first: its event number, its user, how often it was tried."""
        return [(each.seq, each.user_id, each.tries) for each in self._turns.values() if each.state == "waiting"]

    async def load_waiting(self, seqs: Collection[int]) -> list[JudgedTurn]:
        """Those of the judgements that still wait, each with its turn."""
        return [replace(each) for each in self._turns.values() if each.seq in seqs and each.state == "waiting"]

    async def record_attempt(self, judgement: JudgedTurn, reservation: Settlement | None, day: int) -> None:
        """Log that a turn is about to be judged, and what that may cost."""
        if judgement.seq in self._turns:
            self._turns[judgement.seq].tries += 1
        if reservation is not None:
            await self.reserve(reservation, day)

    async def reserve(self, reservation: Settlement, day: int) -> None:
        """Log what a call may cost."""
        self._spending[reservation.seq] = (day, reservation.tokens, reservation.usd)

    async def settle(self, settlement: Settlement) -> None:
        """Replace a reservation by its actual cost."""
        if settlement.seq in self._spending:
            self._spending[settlement.seq] = (self._spending[settlement.seq][0], settlement.tokens, settlement.usd)

    async def load_spending(self, day: int) -> tuple[int, float]:
        """Tokens and US dollars of a day, with what is still reserved."""
        spent = [(tokens, usd) for its_day, tokens, usd in self._spending.values() if its_day == day]
        return sum(tokens for tokens, _ in spent), sum((usd for _, usd in spent), 0.0)

    # ── what is made of them ──────────────────────────────────────────────────────────────────────────────────────

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, allow_update: AllowUpdate = lambda _: True
    ) -> TurnOutcome | None:
        """Log what is made of a judgement, teach it, and take back what it taught before."""
        events = self._events
        user = events.users.get(judgement.user_id)
        if user is None or user.number != judgement.uid:
            return None
        decision = self._find_decision(judgement)
        revocable = [] if judgement.reward_seq is None else events.find_revocable((judgement.reward_seq,))
        state, reason, reward = conclusion.state, conclusion.reason, None
        if conclusion.teach is not None:
            state, reason, reward = self._build_reward(user, judgement, conclusion, decision, allow_update)
        events.revoke(revocable)
        if reward is not None:
            events.log_reward(reward, decision)
        if decision is not None and decision.pending_turn_seq == judgement.seq:
            decision.pending_turn_seq = 0
        after = replace(judgement, state=state, reason=reason, rounds=judgement.rounds + 1)
        after.reward_seq = judgement.reward_seq if reward is None else reward.seq
        self._log_conclusion(judgement, after, conclusion, reward)
        return TurnOutcome(after, reward, revocable)

    def _build_reward(
        self,
        user: MemoryUser,
        judgement: JudgedTurn,
        conclusion: Conclusion,
        decision: Decision | None,
        allow_update: AllowUpdate,
    ) -> tuple[JudgementState, str | None, Reward | None]:
        """How the judgement stands where it would teach, and the reward that it gives."""
        first = judgement.reward_seq is None
        x = None if decision is None else decision.x
        if judgement.features is not None:
            x = encode_rewarded_features(self._events.registry, judgement.policy, judgement.features, None, None)
        forgotten = min(judgement.seq, judgement.decision_seq or judgement.seq) <= user.profile.reset_seq
        if x is None:
            return "withheld", "expired", None
        if decision is not None and first and is_too_late(decision, judgement.ts):
            return "withheld", LATE, None
        if not forgotten and not allow_update(None):
            return "withheld", "influence_cap", None
        if decision is not None and first:
            if decision.reward is not None:
                raise AlreadyRewardedError("this decision already has another reward")
            if decision.pending_turn_seq not in (0, judgement.seq):
                raise RewardPendingError("another turn that is still being judged holds this decision")
        reward = Reward(
            user_id=judgement.user_id,
            policy=judgement.policy,
            tip_id=judgement.tip_id,
            value=conclusion.teach or 0.0,
            client=conclusion.client,
            ts=self._events.clock(),
            body_hash=judgement.body_hash,
            x=x,
            decision_seq=judgement.decision_seq if first else None,
            decision_id=judgement.decision_id,
            features=judgement.features,
            source="person" if conclusion.cause == "override" else "judge",
            applied=not forgotten,
            reason="reset" if forgotten else None,
        )
        return ("withheld", "reset", reward) if forgotten else ("taught", None, reward)

    def _log_conclusion(
        self, before: JudgedTurn, after: JudgedTurn, conclusion: Conclusion, reward: Reward | None
    ) -> None:
        ts = self._events.clock()
        if conclusion.verdict is not None:
            after.verdict_seq = self._events.sequence.next(ts)
            document = json.loads(json.dumps(conclusion.verdict))
            quotes = {name: document.get(name) or missing for name, missing in _QUOTED_FIELDS.items()}
            verdict = (after.verdict_seq, conclusion.client, ts, document | quotes)
            self._verdicts.setdefault(after.seq, []).append(verdict)
        self._conclusions.setdefault(after.seq, []).append(
            {
                "cause": conclusion.cause,
                "client": conclusion.client,
                "ts": ts,
                "verdict": after.verdict_seq,
                "applied": json.loads(json.dumps(conclusion.applied)),
                "state": after.state,
                "reason": after.reason,
                "reward": reward.value if reward is not None and after.state == "taught" else None,
            }
        )
        if after.reward_seq is not None and (standing := self._get_verdict(after)) is not None:
            self._reward_verdicts.setdefault(after.reward_seq, []).append(standing)
        self._count(before, -1)
        self._count(after, 1)
        self._turns[after.seq] = replace(after, texts=self._turns[after.seq].texts)
        if conclusion.settlement is not None and conclusion.settlement.seq in self._spending:
            settled = conclusion.settlement
            self._spending[settled.seq] = (self._spending[settled.seq][0], settled.tokens, settled.usd)

    # ── looking them up ───────────────────────────────────────────────────────────────────────────────────────────

    async def get_judgement(self, judgement_id: str) -> JudgedTurn:
        """The judgement of that id."""
        for each in self._turns.values():
            if each.judgement_id == judgement_id:
                return self._copy(each.seq)
        raise UnknownJudgementError("no such judgement")

    async def find_decision_turn(self, decision: Decision) -> JudgedTurn | None:
        """The newest turn that was taken as the decision's reward."""
        found = [seq for seq, each in self._turns.items() if each.decision_seq == decision.seq]
        return self._copy(max(found)) if found else None

    async def list_judgements(self, states: Collection[JudgementState], before: int, limit: int) -> TurnPage:
        """Judgements in any of ``states``, newest first."""
        found = [
            self._copy(seq) for seq, each in reversed(self._turns.items()) if each.state in states and seq < before
        ]
        return TurnPage(found[:limit], found[limit - 1].seq if len(found) > limit else None)

    async def list_judgement_ids(
        self, states: Collection[JudgementState], since: float, reason: str | None = None
    ) -> list[str]:
        """Ids of the judgements in any of ``states``, taken since a time, oldest first."""
        return [
            each.judgement_id
            for each in self._turns.values()
            if each.state in states and each.ts >= since and reason in (None, each.reason)
        ]

    async def load_detail(self, judgement: JudgedTurn) -> dict[str, Any]:
        """Its verdicts, and what was made of them."""
        return {
            "verdicts": {seq: tuple(verdict) for seq, *verdict in self._verdicts.get(judgement.seq, ())},
            "conclusions": list(self._conclusions.get(judgement.seq, ())),
        }

    async def find_verdict(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """The verdict that stands."""
        return self._get_verdict(judgement)

    def _get_verdict(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        verdicts = self._verdicts.get(judgement.seq, ())
        return next((document for seq, _, _, document in verdicts if seq == judgement.verdict_seq), None)

    async def find_last_applied(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """What the gate last applied to the current verdict."""
        conclusions = self._conclusions.get(judgement.seq)
        applied: dict[str, Any] | None = conclusions[-1]["applied"] if conclusions else None
        return applied

    async def list_update_times(self, user_id: str, ts: float) -> list[float]:
        """When turns of the user taught, since ``ts``."""
        user = self._events.users.get(user_id)
        rewards = () if user is None else user.rewards
        return [each.ts for each in rewards if each.ts >= ts and each.source == "judge" and each.applied]

    async def load_turn_totals(self) -> list[TurnTotals]:
        """How many judgements stand where, by policy."""
        return [TurnTotals(*key, turns) for key, turns in sorted(self._totals.items()) if turns]

    def is_judged_by(self, reward: Reward, version: str) -> bool:
        """Whether the reward came from a verdict of that model or prompt hash."""
        verdicts = self._reward_verdicts.get(reward.seq, ())
        return any(version in (each.get("model"), each.get("prompt_hash")) for each in verdicts)

    def remove_user(self, user_id: str) -> tuple[int, int]:
        """Forget a user's turns; returns how many turns and verdicts went."""
        gone = [each for each in self._turns.values() if each.user_id == user_id]
        verdicts = 0
        for each in gone:
            if each.state == "waiting":
                self._count(each, -1)
            if each.idempotency is not None:
                self._events.turns_by_key.pop(each.idempotency, None)
            verdicts += len(self._verdicts.pop(each.seq, ()))
            self._conclusions.pop(each.seq, None)
            del self._turns[each.seq]
        return len(gone), verdicts

    def _find_decision(self, judgement: JudgedTurn) -> Decision | None:
        return None if judgement.decision_id is None else self._events.decisions.get(judgement.decision_id)

    def _copy(self, seq: int) -> JudgedTurn:
        """The judgement as it stands, without its turn."""
        return replace(self._turns[seq], texts=None)

    def _count(self, judgement: JudgedTurn, delta: int) -> None:
        self._totals[judgement.policy.name, judgement.state, judgement.reason or ""] += delta
