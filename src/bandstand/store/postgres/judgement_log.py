"""Judgements: what is made of a turn, logged and taught in one transaction under its user's lock, and looked up."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from bandstand.store.ids import format_id, parse_event_id
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.decision_log import SharedDecisions
from bandstand.store.postgres.decision_statements import SETTLE_SHADOWS
from bandstand.store.postgres.judgement_rows import (
    ADD_CLAIM,
    ADD_CONCLUSION,
    ADD_VERDICT,
    SELECT_JUDGEMENT,
    SETTLE,
    to_judged_turn,
)
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.revocation_log import SharedRevocations, take_back
from bandstand.store.postgres.reward_rows import find_link, insert_reward
from bandstand.store.postgres.reward_statements import LOCK_USER
from bandstand.store.postgres.turn_queue import count_judgements, require_free
from bandstand.store.records import Decision, Reward, first_seq_at
from bandstand.store.tables.event_rows import LEGACY_LINK_SECONDS
from bandstand.store.tables.judgement_rows import build_conclusion_row, build_verdict_row
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
from bandstand.store.tables.updates import build_updates
from bandstand.store.tables.windows import LATE
from bandstand.store.turn_protocol import TEACHING_WINDOW_S, AllowUpdate

_STANDING = """SELECT j.rounds, j.version, d.version AS made_at, d.picked, d.ts AS decided,
        (SELECT w.due FROM windows AS w WHERE w.decision = d.seq) AS due,
        EXISTS (SELECT 1 FROM rewards WHERE decision_seq = d.seq) AS is_rewarded,
        EXISTS (SELECT 1 FROM claims AS c
            WHERE c.uid = d.uid AND c.decision_seq = d.seq AND c.holder <> j.seq) AS is_held
    FROM judgements AS j LEFT JOIN decisions AS d ON d.seq = j.decision_seq WHERE j.seq = $1"""
_OUT_OF_REACH = """SELECT r.applied AND v.seq IS NULL FROM rewards AS r
    LEFT JOIN revocations AS v ON v.reward_seq = r.seq WHERE r.seq = $1"""
_SAME_DECISION = "SELECT coalesce(decision_seq, linked_seq), decided FROM rewards WHERE seq = $1"
_UPDATE = """UPDATE judgements SET state = $2, reason = $3, rounds = $4, verdict_seq = $5, reward_seq = $6,
    claimed_by = NULL WHERE seq = $1"""
_RELEASE = "DELETE FROM claims WHERE uid = $1 AND decision_seq = $2 AND holder = $3"
_HAND_OVER = "UPDATE claims SET holder = $3 WHERE uid = $1 AND decision_seq = $2"
_IS_CONCLUDED = "SELECT EXISTS (SELECT 1 FROM conclusions WHERE seq = $1)"
_NEWEST_OF_DECISION = f"{SELECT_JUDGEMENT} j.decision_seq = $1 ORDER BY j.seq DESC LIMIT 1"
_BY_SEQ = f"{SELECT_JUDGEMENT} j.seq = $1"
_PAGE = f"""{SELECT_JUDGEMENT} j.seq IN (
    SELECT n.seq FROM unnest($1::text[]) AS s(state) CROSS JOIN LATERAL (
        SELECT seq FROM judgements WHERE state = s.state AND seq < $2 ORDER BY seq DESC LIMIT $3) AS n)
    ORDER BY j.seq DESC LIMIT $3"""  # noqa: S608 (constants)
_IDS = """SELECT seq, nonce FROM judgements WHERE state = ANY ($1::text[]) AND seq >= $2 AND ts >= $3
    AND ($4::text IS NULL OR reason = $4) ORDER BY seq"""
_VERDICTS = "SELECT seq, client, ts, document, quotes FROM verdicts WHERE judgement = $1 ORDER BY seq"
_CONCLUSIONS = """SELECT c.cause, c.client, c.ts, c.verdict_seq, c.applied, c.state, c.reason,
    (SELECT value FROM rewards AS r WHERE r.seq = c.reward_seq) AS value
    FROM conclusions AS c WHERE c.judgement = $1 ORDER BY c.round"""
_UPDATE_TIMES = """SELECT r.ts FROM rewards AS r JOIN users AS u ON u.uid = r.uid
    WHERE u.user_id = $1 AND r.seq >= $2 AND r.ts >= $3 AND r.source = 'judge' AND r.applied ORDER BY r.n"""
_TOTALS = """SELECT p.name, t.state, t.reason, sum(t.count)::bigint FROM judgement_totals_s AS t
    JOIN policies AS p ON p.id = t.policy GROUP BY p.name, t.state, t.reason HAVING sum(t.count) <> 0
    ORDER BY p.name, t.state, t.reason"""


@dataclass(slots=True)
class _Concluding:
    """A conclusion in its transaction: what it is of, and how things stand under the lock.

    Attributes:
        user: the locked row.
        standing: the judgement's row and its decision's.
        n: the user's newest event, as it grows.
    """

    judgement: JudgedTurn
    conclusion: Conclusion
    user: Any
    standing: Any
    n: int
    ts: float

    @property
    def is_forgotten(self) -> bool:
        """Whether its user was reset after what it is about."""
        made_at = self.standing["made_at"]
        versions = [self.standing["version"], *(() if made_at is None else (made_at,))]
        return bool(min(versions) < self.user["reset_version"])


class SharedJudgements:
    """The judgements of a shared ledger, as :class:`bandstand.store.protocol.JudgementLog` has them."""

    def __init__(self, ledger: SharedLedger, decisions: SharedDecisions, revocations: SharedRevocations) -> None:
        self._ledger = ledger
        self._decisions = decisions
        self._revocations = revocations

    # ── what comes of them ────────────────────────────────────────────────────────────────────────────────────────

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, allow_update: AllowUpdate = lambda _: True
    ) -> TurnOutcome | None:
        """Log what is made of a judgement, teach it, and take back what it taught before, all in one commit."""
        ledger = self._ledger
        seq, outcomes = ledger.next_seq(ledger.clock()), list[TurnOutcome]()

        async def conclude(channel: Channel, tries: int) -> TurnOutcome | None:
            if tries and outcomes and await channel.session.fetchval(_IS_CONCLUDED, seq):
                return outcomes[-1]
            outcome = await self._conclude(channel, judgement, conclusion, allow_update, seq)
            if outcome is not None:
                outcomes.append(outcome)
            return outcome

        outcome = await ledger.writers.transact(conclude)
        user = ledger.users.get(judgement.user_id)
        if outcome is not None and user is not None:
            await ledger.users.catch_up(user)
        return outcome

    async def _conclude(
        self,
        channel: Channel,
        judgement: JudgedTurn,
        conclusion: Conclusion,
        allow_update: AllowUpdate,
        seq: int,
    ) -> TurnOutcome | None:
        session, ledger, before = channel.session, self._ledger, judgement.reward_seq
        user = await session.fetchrow(LOCK_USER, judgement.user_id)
        if user is None or user["uid"] != judgement.uid:
            return None
        standing = await session.fetchrow(_STANDING, judgement.seq)
        if standing is None:  # the ledger was put back to before it
            return None
        concluding = _Concluding(judgement, conclusion, user, standing, user["version"], ledger.clock())
        revocable = [] if before is None else await self._revocations.find_revocable(channel, (before,))
        if before is not None and not revocable and judgement.seq and not standing["version"] < user["reset_version"]:
            is_lost = await session.fetchval(_OUT_OF_REACH, before)
            if is_lost or is_lost is None:
                raise JudgementExpiredError("what this judgement taught can no longer be separated from the rest")
        taught: list[float] = []
        if conclusion.teach is not None:  # under the user's lock: no other process has one teach meanwhile
            since = concluding.ts - TEACHING_WINDOW_S
            rows = await session.fetch(_UPDATE_TIMES, judgement.user_id, first_seq_at(since), since)
            taught = [row["ts"] for row in rows]
        state, reason, reward = self._decide_update(concluding, lambda: allow_update(taught))
        if standing["rounds"] != judgement.rounds:
            if conclusion.cause == "judge":
                return None  # another process has judged it, for this one was away for too long
            raise RewardPendingError("this judgement was concluded by another call at the same moment")
        await self._take_back(channel, concluding, revocable)
        if reward is not None:
            await self._teach(channel, concluding, reward)
        elif judgement.decision_seq is not None:
            await session.execute(_RELEASE, judgement.uid, judgement.decision_seq, judgement.seq)
        after = replace(
            judgement,
            state=state,
            reason=reason,
            rounds=judgement.rounds + 1,
            verdict_seq=judgement.verdict_seq if conclusion.verdict is None else ledger.next_seq(concluding.ts),
            reward_seq=before if reward is None else reward.seq,
        )
        await self._write(channel, concluding, after, seq)
        return TurnOutcome(after, reward, revocable)

    def _decide_update(
        self, concluding: _Concluding, may_teach: Callable[[], bool]
    ) -> tuple[JudgementState, str | None, Reward | None]:
        """How the judgement stands after this, and the reward that it gives."""
        conclusion, judgement, standing = concluding.conclusion, concluding.judgement, concluding.standing
        if conclusion.teach is None:
            return conclusion.state, conclusion.reason, None
        if judgement.features is None and standing["picked"] is None:
            return "withheld", "expired", None
        is_forgotten, is_first = concluding.is_forgotten, judgement.reward_seq is None
        if is_first and standing["due"] is not None and judgement.ts >= standing["due"]:
            return "withheld", LATE, None
        if not is_forgotten and not may_teach():
            return "withheld", "influence_cap", None
        if is_first and standing["picked"] is not None:
            require_free(standing)
        reward = Reward(
            user_id=judgement.user_id,
            policy=judgement.policy,
            tip_id=judgement.tip_id,
            value=conclusion.teach,
            client=conclusion.client,
            ts=concluding.ts,
            body_hash=judgement.body_hash,
            x=None,
            decision_seq=judgement.decision_seq if is_first else None,
            decision_id=judgement.decision_id,
            features=judgement.features,
            source="person" if conclusion.cause == "override" else "judge",
            applied=not is_forgotten,
            reason="reset" if is_forgotten else None,
        )
        return ("withheld", "reset", reward) if is_forgotten else ("taught", None, reward)

    async def _take_back(self, channel: Channel, concluding: _Concluding, revocable: list[RevocableReward]) -> None:
        if revocable:
            conclusion, ts = concluding.conclusion, concluding.ts
            await take_back(
                channel,
                [each.seq for each in revocable],
                [self._ledger.next_seq(ts) for _ in revocable],
                cause=conclusion.cause,
                client=conclusion.client,
                ts=ts,
            )
            concluding.n += len(revocable)

    async def _teach(self, channel: Channel, concluding: _Concluding, reward: Reward) -> None:
        """Insert the reward of a judgement: its first as any other's, a later one in the place of the one before."""
        ledger, judgement, standing = self._ledger, concluding.judgement, concluding.standing
        session, uid, linked, decided = channel.session, concluding.user["uid"], None, standing["decided"]
        reward.seq = ledger.next_seq(concluding.ts)
        if judgement.reward_seq is not None:
            linked, decided = await session.fetchrow(_SAME_DECISION, judgement.reward_seq)
        elif judgement.decision_seq is None:
            after = judgement.ts - LEGACY_LINK_SECONDS
            linked, decided = await find_link(channel, uid, after, judgement.tip_id, judgement.policy.name)
        elif not (await session.execute(ADD_CLAIM, uid, judgement.decision_seq, reward.seq)).endswith(" 1"):
            await session.execute(_HAND_OVER, uid, judgement.decision_seq, reward.seq)
        row = await insert_reward(
            channel,
            reward,
            uid=uid,
            n=concluding.n + 1,
            policy_id=ledger.registry.get_id(reward.policy),
            linked=linked,
            decided=decided,
            picked=standing["picked"],
        )
        if (answered := reward.decision_seq or linked) is not None:
            await session.execute(SETTLE_SHADOWS, [answered], channel.stripe)
        raw = (reward.features, standing["picked"], 0)
        (_, reward.x), *also = build_updates(ledger.registry, reward.policy, row["shadow_set"], *raw)
        reward.shadow_updates = tuple(also)

    async def _write(self, channel: Channel, concluding: _Concluding, after: JudgedTurn, seq: int) -> None:
        session, conclusion, ts = channel.session, concluding.conclusion, concluding.ts
        stands = (after.state, after.reason, after.rounds, after.verdict_seq, after.reward_seq)
        await session.execute(_UPDATE, after.seq, *stands)
        await session.execute(ADD_CONCLUSION, *build_conclusion_row(seq, after, conclusion, ts))
        policy_id = self._ledger.registry.get_id(after.policy)
        await count_judgements(channel, policy_id, [(concluding.judgement, -1), (after, 1)])
        if conclusion.verdict is not None and after.verdict_seq is not None:
            await session.execute(ADD_VERDICT, *build_verdict_row(after.verdict_seq, after, conclusion, ts))
        if conclusion.settlement is not None:
            await session.execute(SETTLE, *conclusion.settlement)

    # ── looking them up ───────────────────────────────────────────────────────────────────────────────────────────

    async def get_judgement(self, judgement_id: str) -> JudgedTurn:
        """The judgement of that id."""
        row = await self._ledger.readers.fetch_one(_BY_SEQ, parse_event_id(judgement_id))
        found = None if row is None else await self._read(row)
        if found is None or found.judgement_id != judgement_id:
            raise UnknownJudgementError("no such judgement")
        return found

    async def find_decision_turn(self, decision: Decision) -> JudgedTurn | None:
        """The newest turn that was taken as the decision's reward."""
        row = await self._ledger.readers.fetch_one(_NEWEST_OF_DECISION, decision.seq)
        return None if row is None else await self._read(row)

    async def list_judgements(self, states: Collection[JudgementState], before: int, limit: int) -> TurnPage:
        """Judgements in any of ``states``, newest first."""
        rows = await self._ledger.readers.fetch(_PAGE, list(states), before, limit + 1)
        found = [await self._read(row) for row in rows[:limit]]
        return TurnPage(found, found[-1].seq if len(rows) > limit else None)

    async def list_judgement_ids(
        self, states: Collection[JudgementState], since: float, reason: str | None = None
    ) -> list[str]:
        """Ids of the judgements in any of ``states``, taken since a time, oldest first."""
        rows = await self._ledger.readers.fetch(_IDS, list(states), first_seq_at(since), since, reason)
        return [format_id(row["seq"], row["nonce"]) for row in rows]

    async def load_detail(self, judgement: JudgedTurn) -> dict[str, Any]:
        """Its verdicts, and what was made of them."""
        # Each verdict is there with its conclusion, so it is looked for after it; an erasure may have come between.
        conclusions = await self._ledger.readers.fetch(_CONCLUSIONS, judgement.seq)
        verdicts = {seq: (client, ts, document) for seq, client, ts, document in await self._list_verdicts(judgement)}
        return {
            "verdicts": verdicts,
            "conclusions": [
                {
                    "cause": row["cause"],
                    "client": row["client"],
                    "ts": row["ts"],
                    "verdict": row["verdict_seq"],
                    "applied": None if row["applied"] is None else json.loads(row["applied"]),
                    "state": row["state"],
                    "reason": row["reason"],
                    "reward": row["value"] if row["state"] == "taught" else None,
                }
                for row in conclusions
                if row["verdict_seq"] is None or row["verdict_seq"] in verdicts
            ],
        }

    async def find_verdict(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """The verdict that stands."""
        verdicts = await self._list_verdicts(judgement)
        return next((document for seq, _, _, document in verdicts if seq == judgement.verdict_seq), None)

    async def find_last_applied(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """What the gate last applied to the current verdict."""
        rows = await self._ledger.readers.fetch(_CONCLUSIONS, judgement.seq)
        return None if not rows or rows[-1]["applied"] is None else json.loads(rows[-1]["applied"])

    async def list_update_times(self, user_id: str, ts: float) -> list[float]:
        """When turns of the user taught, since ``ts``."""
        rows = await self._ledger.readers.fetch(_UPDATE_TIMES, user_id, first_seq_at(ts), ts)
        return [row["ts"] for row in rows]

    async def load_turn_totals(self) -> list[TurnTotals]:
        """How many judgements stand where, by policy."""
        return [TurnTotals(*row) for row in await self._ledger.readers.fetch(_TOTALS)]

    async def _read(self, row: Any) -> JudgedTurn:
        await self._ledger.prepare_events([row])
        return to_judged_turn(row, self._ledger.registry)

    async def _list_verdicts(self, judgement: JudgedTurn) -> list[tuple[int, str, float, dict[str, Any]]]:
        return [
            (
                row["seq"],
                row["client"],
                row["ts"],
                json.loads(row["document"])
                | {"rationale": "", "raw": None}
                | ({} if row["quotes"] is None else json.loads(row["quotes"])),
            )
            for row in await self._ledger.readers.fetch(_VERDICTS, judgement.seq)
        ]
