"""Turns that wait for the judge: logged once under their user's lock, holding their decision by its claim."""

from collections.abc import Collection
from typing import Any

import asyncpg

from bandstand.errors import (
    AlreadyRewardedError,
    StorageUnavailableError,
    UnknownDecisionError,
    WrongPolicyError,
)
from bandstand.store.ids import format_id, get_nonce, parse_event_id
from bandstand.store.postgres.connections import TOUCH_STRIPE, Channel
from bandstand.store.postgres.decision_log import SharedDecisions
from bandstand.store.postgres.decision_statements import REGISTER_USERS
from bandstand.store.postgres.judgement_rows import (
    ADD_CLAIM,
    ADD_JUDGEMENT,
    ADD_RESERVATION,
    ADD_TEXTS,
    COUNT_JUDGEMENTS,
    FIND_BY_KEY,
    SELECT_JUDGEMENT,
    SETTLE,
    to_judged_turn,
)
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.reward_log import SharedRewards, build_mismatch_error
from bandstand.store.postgres.reward_statements import IS_KEY_USED, LOCK_USER, SPEND_KEY
from bandstand.store.tables.judgements import AcceptedTurn, JudgedTurn, RewardPendingError, Settlement
from bandstand.store.tables.windows import build_held_error

_MAX_TRIES = 3
_DECISION = """SELECT d.seq, d.uid, d.policy, EXISTS (SELECT 1 FROM rewards WHERE decision_seq = d.seq)
            OR EXISTS (SELECT 1 FROM reward_parts WHERE decision = d.seq) AS is_rewarded,
        EXISTS (SELECT 1 FROM claims AS c WHERE c.uid = d.uid AND c.decision_seq = d.seq) AS is_held,
        EXISTS (SELECT 1 FROM windows AS w WHERE w.decision = d.seq AND w.held) AS is_unshown
    FROM decisions AS d WHERE d.seq = coalesce((SELECT seq FROM decision_ids WHERE decision_id = $1), $2)
        AND (d.nonce IS NULL OR d.nonce = $3)"""
_BY_DECISION = f"{SELECT_JUDGEMENT} j.decision_seq = $1 AND j.body_hash = $2 AND j.uid = $3 ORDER BY j.seq LIMIT 1"
_BY_SEQ = f"{SELECT_JUDGEMENT} j.seq = $1"
_WAITING = """SELECT j.seq, u.user_id, j.tries FROM judgements AS j JOIN users AS u ON u.uid = j.uid
    WHERE j.state = 'waiting' ORDER BY j.seq"""
_LOAD_WAITING = f"{SELECT_JUDGEMENT} j.seq = ANY ($1::bigint[]) AND j.state = 'waiting' ORDER BY j.seq"
_TEXTS = "SELECT judgement, query_t, answer_t, query_t1, about FROM turns WHERE judgement = ANY ($1::bigint[])"
_REQUEUE = """UPDATE judgements SET state = 'waiting', reason = NULL, tries = 0, claimed_by = $2
    WHERE seq = $1 AND state = 'unscored' RETURNING seq"""
_IS_FREE = """NOT EXISTS (SELECT 1 FROM processes AS p WHERE p.holder = j.claimed_by
    AND p.seen > clock_timestamp() - interval '60 seconds')"""
_CLAIM = f"""UPDATE judgements AS j SET claimed_by = $2 WHERE j.seq = ANY ($1::bigint[]) AND j.state = 'waiting'
    AND (j.claimed_by = $2 OR {_IS_FREE}) RETURNING j.seq"""  # noqa: S608 (constants)
_ABANDONED = f"""SELECT j.seq, u.user_id, j.tries FROM judgements AS j JOIN users AS u ON u.uid = j.uid
    WHERE j.state = 'waiting' AND {_IS_FREE} ORDER BY j.seq LIMIT 1000"""  # noqa: S608 (constants)
_IS_MINE = "SELECT EXISTS (SELECT 1 FROM judgements WHERE seq = $1 AND state = 'waiting' AND claimed_by = $2)"
_COUNT_ATTEMPT = "UPDATE judgements SET tries = $2 WHERE seq = $1"
_SPENDING = "SELECT coalesce(sum(tokens), 0)::bigint, coalesce(sum(usd), 0) FROM judge_spending WHERE day = $1"


class SharedTurns:
    """The turns of a shared ledger that wait, as :class:`bandstand.store.protocol.TurnQueue` has them."""

    def __init__(self, ledger: SharedLedger, decisions: SharedDecisions, rewards: SharedRewards) -> None:
        self._ledger = ledger
        self._decisions = decisions
        self._rewards = rewards

    # ── turns that come ───────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        """Log a turn, once for its request."""
        for _ in range(_MAX_TRIES):
            judgement.seq = self._ledger.next_seq(judgement.ts)
            judgement.judgement_id = format_id(judgement.seq, get_nonce(judgement.judgement_id))
            try:
                return await self._ledger.writers.transact(
                    lambda channel, tries: self._accept(channel, judgement, tries)
                )
            except asyncpg.UniqueViolationError:  # its key was spent at the same moment
                continue
            except UnknownDecisionError:
                if await self._rewards.is_key_used(judgement.idempotency):
                    raise build_mismatch_error() from None
                raise
        raise StorageUnavailableError("the turn collided with others again and again; try again")

    async def _accept(self, channel: Channel, judgement: JudgedTurn, tries: int) -> AcceptedTurn:
        session, registry, key = channel.session, self._ledger.registry, judgement.idempotency
        if tries and (stood := await session.fetchrow(_BY_SEQ, judgement.seq)) is not None:
            judgement.uid, judgement.decision_seq = stood["uid"], stood["decision_seq"]
            return AcceptedTurn(judgement, "new")
        if judgement.decision_id is None:
            await session.execute(REGISTER_USERS, [judgement.user_id])
        user = await session.fetchrow(LOCK_USER, judgement.user_id)
        if key is not None and (known := await session.fetchrow(FIND_BY_KEY, *key)) is not None:
            await session.execute(TOUCH_STRIPE, channel.stripe)
            return AcceptedTurn(to_judged_turn(known, registry), "key")
        if user is None:
            raise UnknownDecisionError("no such decision")
        decision = None
        if judgement.decision_id is not None:
            decision = await find_claimable(channel, judgement.decision_id)
            if decision is not None and decision["uid"] == user["uid"]:
                same = (decision["seq"], judgement.body_hash, user["uid"])
                if (earlier := await session.fetchrow(_BY_DECISION, *same)) is not None:
                    await session.execute(TOUCH_STRIPE, channel.stripe)
                    return AcceptedTurn(to_judged_turn(earlier, registry), "decision")
            self._require_rewardable(decision, user["uid"], judgement)
        if key is not None and await session.fetchval(IS_KEY_USED, *key):
            raise build_mismatch_error()
        await self._add(channel, judgement, user, decision)
        return AcceptedTurn(judgement, "new")

    async def _add(self, channel: Channel, judgement: JudgedTurn, user: Any, decision: Any) -> None:
        session, policy_id = channel.session, self._ledger.registry.get_id(judgement.policy)
        judgement.uid = user["uid"]
        judgement.decision_seq = None if decision is None else decision["seq"]
        if decision is not None:
            await session.execute(ADD_CLAIM, judgement.uid, judgement.decision_seq, judgement.seq)
        await session.execute(
            ADD_JUDGEMENT,
            judgement.seq,
            get_nonce(judgement.judgement_id),
            judgement.uid,
            policy_id,
            judgement.decision_seq,
            judgement.tip_id,
            judgement.features,
            judgement.taxonomy,
            judgement.body_hash,
            judgement.client,
            judgement.ts,
            judgement.state,
            judgement.reason,
            judgement.tries,
            judgement.rounds,
            judgement.verdict_seq,
            judgement.reward_seq,
            user["version"],
            self._ledger.lease.holder,
        )
        await count_judgements(channel, policy_id, [(judgement, 1)])
        if judgement.texts is not None:
            await session.execute(ADD_TEXTS, judgement.seq, *judgement.texts)
        if judgement.idempotency is not None:
            values = (*judgement.idempotency, judgement.body_hash, judgement.seq, judgement.ts)
            await session.execute(SPEND_KEY, *values)

    def _require_rewardable(self, decision: Any, uid: int, judgement: JudgedTurn) -> None:
        if decision is None or decision["uid"] != uid:
            raise UnknownDecisionError("no such decision")
        made_by = self._ledger.registry.get_ref(decision["policy"])
        if made_by != judgement.policy:
            raise WrongPolicyError(f"the decision was made by {made_by.name}")
        require_free(decision)
        if decision["is_unshown"]:
            raise build_held_error()

    async def find_turn_by_key(self, key: tuple[str, str]) -> JudgedTurn | None:
        """The turn that came with that Idempotency-Key."""
        if not await self._rewards.is_key_used(key):
            return None
        row = await self._ledger.readers.fetch_one(FIND_BY_KEY, *key)
        if row is None:
            raise build_mismatch_error()
        await self._ledger.harden()
        await self._ledger.prepare_events([row])
        return to_judged_turn(row, self._ledger.registry)

    async def retry_judgement(self, judgement: JudgedTurn) -> bool:
        """Put an unscored turn back into the queue; returns whether it waits now."""
        if judgement.state != "unscored":
            return False
        policy_id = self._ledger.registry.get_id(judgement.policy)

        async def requeue(channel: Channel, tries: int) -> bool:
            session = channel.session
            if tries and await session.fetchval(_IS_MINE, judgement.seq, self._ledger.lease.holder):
                return True  # it is done, and its answer was lost
            user = await session.fetchrow(LOCK_USER, judgement.user_id)
            if user is None or user["uid"] != judgement.uid:
                return False
            if judgement.decision_seq is not None:
                decision = await find_claimable(channel, judgement.decision_id or "")
                self._require_rewardable(decision, user["uid"], judgement)
            if await session.fetchval(_REQUEUE, judgement.seq, self._ledger.lease.holder) is None:
                return False
            if judgement.decision_seq is not None:
                await session.execute(ADD_CLAIM, judgement.uid, judgement.decision_seq, judgement.seq)
            await session.execute(
                COUNT_JUDGEMENTS,
                [policy_id, policy_id],
                ["unscored", "waiting"],
                [judgement.reason or "", ""],
                [-1, 1],
                channel.stripe,
            )
            return True

        return await self._ledger.writers.transact(requeue)

    async def claim_turns(self, seqs: Collection[int]) -> list[JudgedTurn]:
        """Those of the judgements that still wait and that no other living process has, which are this one's now."""

        async def claim(channel: Channel, _: int) -> list[int]:
            rows = await channel.session.fetch(_CLAIM, list(seqs), self._ledger.lease.holder)
            return [row["seq"] for row in rows]

        return await self.load_waiting(await self._ledger.writers.transact(claim))

    async def list_abandoned(self) -> list[tuple[int, str, int]]:
        """Turns that wait and that no living process has."""
        return [tuple(row) for row in await self._ledger.readers.fetch(_ABANDONED)]

    # ── the judge's work ──────────────────────────────────────────────────────────────────────────────────────────

    async def list_waiting(self) -> list[tuple[int, str, int]]:
        """Every turn that waits, oldest first: its event number, its user, how often it was tried."""
        return [tuple(row) for row in await self._ledger.readers.fetch(_WAITING)]

    async def load_waiting(self, seqs: Collection[int]) -> list[JudgedTurn]:
        """Those of the judgements that still wait, each with its turn."""
        rows = await self._ledger.readers.fetch(_LOAD_WAITING, list(seqs))
        texts = {seq: tuple(words) for seq, *words in await self._ledger.readers.fetch(_TEXTS, list(seqs))}
        await self._ledger.prepare_events(rows)
        found = [to_judged_turn(row, self._ledger.registry) for row in rows]
        for each in found:
            each.texts = texts.get(each.seq)
        return found

    async def record_attempt(self, judgement: JudgedTurn, reservation: Settlement | None, day: int) -> None:
        """Log that a turn is about to be judged, and what that may cost."""

        async def record(channel: Channel, _: int) -> None:
            await channel.session.execute(_COUNT_ATTEMPT, judgement.seq, judgement.tries + 1)
            if reservation is not None:
                await _reserve(channel, reservation, day)

        await self._ledger.writers.transact(record)

    async def reserve(self, reservation: Settlement, day: int) -> None:
        """Log what a call may cost."""
        await self._ledger.writers.transact(lambda channel, _: _reserve(channel, reservation, day))

    async def settle(self, settlement: Settlement) -> None:
        """Replace a reservation by its actual cost."""

        async def settle(channel: Channel, _: int) -> None:
            await channel.session.execute(SETTLE, *settlement)

        await self._ledger.writers.transact(settle)

    async def load_spending(self, day: int) -> tuple[int, float]:
        """Tokens and US dollars of a day, with what is still reserved."""
        tokens, usd = await self._ledger.readers.fetch_one(_SPENDING, day)
        return int(tokens), float(usd)


async def find_claimable(channel: Channel, decision_id: str) -> Any:
    """A decision, and whether it is rewarded or held; under its user's lock, nothing of that changes."""
    seq = parse_event_id(decision_id)
    return await channel.session.fetchrow(_DECISION, decision_id, seq, None if seq is None else get_nonce(decision_id))


def require_free(decision: Any) -> None:
    """Refuse to reward or hold a decision that is rewarded or held.

    Raises:
        AlreadyRewardedError, RewardPendingError: it is.
    """
    if decision["is_rewarded"]:
        raise AlreadyRewardedError("this decision already has another reward")
    if decision["is_held"]:
        raise RewardPendingError("a turn that is still being judged holds this decision")


async def count_judgements(channel: Channel, policy_id: int, changes: list[tuple[JudgedTurn, int]]) -> None:
    """Add to the totals where judgements stand."""
    await channel.session.execute(
        COUNT_JUDGEMENTS,
        [policy_id] * len(changes),
        [judgement.state for judgement, _ in changes],
        [judgement.reason or "" for judgement, _ in changes],
        [delta for _, delta in changes],
        channel.stripe,
    )


async def _reserve(channel: Channel, reservation: Settlement, day: int) -> None:
    await channel.session.execute(ADD_RESERVATION, reservation.seq, day, reservation.tokens, reservation.usd, False)  # noqa: FBT003 (a column)
