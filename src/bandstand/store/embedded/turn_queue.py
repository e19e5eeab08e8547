"""Turns that wait for the judge: logged once, holding their decision, until something is made of them."""

from collections.abc import Collection
from dataclasses import replace

from bandstand.errors import AlreadyRewardedError, UnknownDecisionError
from bandstand.store.embedded.decision_log import EmbeddedDecisions
from bandstand.store.embedded.idempotency_keys import IdempotencyKeys, add_key_row, build_mismatch_error
from bandstand.store.embedded.in_flight import UserEvent
from bandstand.store.embedded.state_directory import EventCollisionError, StateDirectory, noop
from bandstand.store.ids import format_id, get_nonce
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.protocol import require_made_by
from bandstand.store.records import Decision
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import judgement_queries
from bandstand.store.tables.judgement_rows import (
    COUNT_ATTEMPT,
    INSERT_RESERVATION,
    REQUEUE_JUDGEMENT,
    SETTLE_RESERVATION,
    UPSERT_TOTAL,
    ReservationInsert,
    build_total_row,
    build_turn_rows,
)
from bandstand.store.tables.judgements import AcceptedTurn, JudgedTurn, RewardPendingError, Settlement
from bandstand.store.tables.windows import require_activated
from bandstand.store.turn_protocol import TurnQueue


class EmbeddedTurns(TurnQueue):
    """The turns of a state directory that wait, as :class:`bandstand.store.protocol.TurnQueue` has them."""

    def __init__(self, directory: StateDirectory, decisions: EmbeddedDecisions, keys: IdempotencyKeys) -> None:
        self._directory = directory
        self._decisions = decisions
        self._keys = keys

    # ── turns that come ───────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        """Log a turn, once for its request."""
        for _ in range(2):  # its key may be spent between the look-up and the commit: then it is found
            try:
                return await self._accept(judgement)
            except EventCollisionError:
                pass
            except UnknownDecisionError:
                if await self._keys.is_used(judgement.idempotency):
                    break
                raise
        raise build_mismatch_error()

    async def _accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        directory = self._directory
        key = judgement.idempotency
        if key is not None and (known := await self._keys.find_turn(key)) is not None:
            return AcceptedTurn(known, "key")
        while True:
            user = await directory.users.get_or_load(judgement.user_id)
            decision = await self._find_decision(judgement)
            held = 0 if decision is None else decision.pending_turn_seq
            if decision is not None:
                await directory.wait_committed(held)
                await directory.wait_committed(0 if decision.reward is None else decision.reward.seq)
                earlier = await directory.read(
                    judgement_queries.find_by_decision, directory.registry, decision.seq, judgement.body_hash
                )
                if earlier is not None and earlier.user_id == judgement.user_id:
                    return AcceptedTurn(earlier, "decision")
            if self._decisions.is_unchanged(user, decision) and (decision is None or decision.pending_turn_seq == held):
                break  # nothing moved while we waited: from here to the submission there is no await
        if judgement.decision_id is not None:
            self._require_rewardable(user, decision, judgement)
        await self._submit(user, judgement, decision)
        return AcceptedTurn(judgement, "new")

    async def _find_decision(self, judgement: JudgedTurn) -> Decision | None:
        return None if judgement.decision_id is None else await self._decisions.find_decision(judgement.decision_id)

    def _require_rewardable(self, user: CachedUser, decision: Decision | None, judgement: JudgedTurn) -> None:
        if decision is None or decision.uid != user.uid or self._decisions.is_expired(decision):
            raise UnknownDecisionError("no such decision")
        require_made_by(decision, judgement.policy)
        if decision.reward is not None:
            raise AlreadyRewardedError("this decision already has another reward")
        if decision.pending_turn_seq:
            raise RewardPendingError("a turn that is still being judged holds this decision")
        require_activated(decision)

    def _submit(self, user: CachedUser, judgement: JudgedTurn, decision: Decision | None) -> UserEvent[None]:
        directory = self._directory
        seq = judgement.seq = directory.next_seq(judgement.ts)
        judgement.judgement_id = format_id(seq, get_nonce(judgement.judgement_id))
        judgement.uid = directory.ensure_uid(user)
        if decision is not None:
            judgement.decision_seq = decision.seq
            decision.pending_turn_seq = seq
        rows = build_turn_rows(judgement, directory.registry.get_id(judgement.policy))
        key = judgement.idempotency
        add_key_row(rows, judgement, self._keys.turns)

        def on_committed() -> None:
            if key is not None:
                self._keys.turns.pop(key, None)

        def on_rejected() -> None:
            on_committed()
            if decision is not None:
                decision.pending_turn_seq = 0
                self._decisions.forget(decision)

        return directory.submit(user, seq, rows, on_committed, on_rejected, durable=True)

    async def find_turn_by_key(self, key: tuple[str, str]) -> JudgedTurn | None:
        """The turn that came with that Idempotency-Key."""
        return await self._keys.find_turn_only(key)

    async def retry_judgement(self, judgement: JudgedTurn) -> bool:
        """Put an unscored turn back into the queue; returns whether it waits now."""
        directory = self._directory
        while True:
            user = await directory.users.get_or_load(judgement.user_id)
            decision = await self._find_decision(judgement)
            if self._decisions.is_unchanged(user, decision):
                break
        if not user.uid or user.uid != judgement.uid or judgement.state != "unscored":
            return False
        if judgement.decision_seq is not None:
            self._require_rewardable(user, decision, judgement)
        if decision is not None:
            decision.pending_turn_seq = judgement.seq
        policy_id = directory.registry.get_id(judgement.policy)
        after = replace(judgement, state="waiting", reason=None)
        rows: list[tuple[str, Row]] = [
            (REQUEUE_JUDGEMENT, (judgement.seq,)),
            (UPSERT_TOTAL, build_total_row(judgement, policy_id, -1)),
            (UPSERT_TOTAL, build_total_row(after, policy_id, 1)),
        ]

        def on_rejected() -> None:
            if decision is not None:
                decision.pending_turn_seq = 0

        seq = directory.next_seq(directory.clock())
        await directory.submit(user, seq, rows, noop, on_rejected, durable=True)
        return True

    # ── the judge's work ──────────────────────────────────────────────────────────────────────────────────────────

    async def list_waiting(self) -> list[tuple[int, str, int]]:
        """Every turn that waits, oldest first: its event number, its user, how often it was tried."""
        return await self._directory.read(judgement_queries.list_waiting)

    async def load_waiting(self, seqs: Collection[int]) -> list[JudgedTurn]:
        """Those of the judgements that still wait, each with its turn."""
        return await self._directory.read(judgement_queries.load_waiting, self._directory.registry, seqs)

    async def record_attempt(self, judgement: JudgedTurn, reservation: Settlement | None, day: int) -> None:
        """Log that a turn is about to be judged, and what that may cost."""
        rows: list[tuple[str, Row]] = [(COUNT_ATTEMPT, (judgement.seq,))]
        if reservation is not None:
            rows.append(_build_reservation(reservation, day))
        await self._directory.write_rows(rows)

    async def reserve(self, reservation: Settlement, day: int) -> None:
        """Log what a call may cost."""
        await self._directory.write_rows([_build_reservation(reservation, day)])

    async def settle(self, settlement: Settlement) -> None:
        """Replace a reservation by its actual cost."""
        await self._directory.write_rows([(SETTLE_RESERVATION, settlement)])

    async def load_spending(self, day: int) -> tuple[int, float]:
        """Tokens and US dollars of a day, with what is still reserved."""
        return await self._directory.read(judgement_queries.load_spending, day)


def _build_reservation(reservation: Settlement, day: int) -> tuple[str, Row]:
    return INSERT_RESERVATION, ReservationInsert(
        reservation.seq, day, reservation.tokens, reservation.usd, settled=False
    )
