"""Revocations: rewards taken back out of sums and totals, all in one commit, under the locks of their users."""

import json
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

from bandstand.errors import UnknownDecisionError
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.decision_log import SharedDecisions
from bandstand.store.postgres.decision_statements import SETTLE_SHADOWS
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.reward_statements import FIND_REVOCABLE, LOCK_REWARDED_USERS, REVOKE
from bandstand.store.records import first_seq_at
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.revocations import REVISION, RevocableReward
from bandstand.store.tables.undo import MARK_KIND, SelectedRewards, Selection, UndoRecord, count_selected
from bandstand.store.tables.updates import build_updates

_SELECT = """SELECT r.seq, r.uid, p.name, CASE
        WHEN NOT r.applied THEN 'void'
        WHEN EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq) THEN 'already'
        WHEN r.n <= u.reset_version THEN 'forgotten'
        WHEN EXISTS (SELECT 1 FROM marks AS m WHERE m.uid = r.uid AND m.n > r.n AND m.kind = 'import') THEN 'forgotten'
        ELSE 'held' END
    FROM rewards AS r JOIN policies AS p ON p.id = r.policy JOIN users AS u ON u.uid = r.uid
    WHERE ($1::bigint IS NULL OR r.decision_seq = $1 OR r.linked_seq = $1 AND r.features IS NULL)
        AND ($2::text IS NULL OR r.client = $2 OR EXISTS (SELECT 1 FROM reward_parts AS p WHERE p.client = $2
            AND p.decision = coalesce(r.decision_seq, r.linked_seq) AND r.features IS NULL AND p.seq <= r.seq
            AND (p.reason IS NULL OR p.reason = 'not_first')))
        AND ($3::text IS NULL OR r.seq IN (SELECT c.reward_seq FROM conclusions AS c
            JOIN verdicts AS v ON v.seq = c.verdict_seq
            WHERE $3 IN (v.document::json ->> 'model', v.document::json ->> 'prompt_hash')))
        AND ($4::float8 IS NULL OR r.seq >= $6 AND r.ts >= $4) AND ($5::float8 IS NULL OR r.ts < $5)
    ORDER BY r.seq"""
_BASELINES = "SELECT count(*), max(last) FROM baselines WHERE last >= $1"
_ADD_UNDO = """INSERT INTO marks (seq, uid, kind, ts, client, document) VALUES ($1, $2, $3, $4, $5, $6)"""
_LIST_UNDOS = """SELECT seq, ts, client, document FROM marks WHERE kind = 'revocation' AND seq < $1
    ORDER BY seq DESC LIMIT $2"""
_FIND_DONE = """SELECT v.n, r.seq AS reward_seq, r.uid, u.user_id, r.policy, r.ts, r.value, r.weight, r.features,
        r.picked, r.shadow_set, r.decision_seq, r.linked_seq
    FROM revocations AS v JOIN rewards AS r ON r.seq = v.reward_seq JOIN users AS u ON u.uid = r.uid
    WHERE v.seq = ANY ($1::bigint[]) ORDER BY r.seq"""


class SharedRevocations:
    """The revocations of a shared ledger, as :class:`bandstand.store.protocol.UndoLog` has them."""

    def __init__(self, ledger: SharedLedger, decisions: SharedDecisions) -> None:
        self._ledger = ledger
        self._decisions = decisions

    async def select_rewards(self, selection: Selection) -> SelectedRewards:
        """The rewards that an operator means, and what of them can be taken back."""
        decision = None
        if selection.decision_id is not None:
            found = await self._decisions.find_receipt(selection.decision_id)
            if found is None:
                raise UnknownDecisionError("no such decision, or retention has taken it")
            decision = found.seq
        first = first_seq_at(selection.since or 0.0)
        given = (decision, selection.client, selection.judge_version, selection.since, selection.until, first)
        selected = count_selected(tuple(row) for row in await self._ledger.readers.fetch(_SELECT, *given))
        if decision is not None:
            return selected
        users, until = await self.find_out_of_reach(selection.since or 0.0)
        return replace(selected, out_of_reach=users, out_of_reach_until=until)

    async def find_out_of_reach(self, since: float) -> tuple[int, float | None]:
        """How many users have events from ``since`` or later in a baseline, and the time of the newest of those."""
        users, last = await self._ledger.readers.fetch_one(_BASELINES, since)
        return users, last

    async def has_revocations_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""
        query = f"SELECT EXISTS (SELECT 1 FROM revocations WHERE seq > $1 AND cause <> '{REVISION}')"  # noqa: S608 (a constant)
        return bool((await self._ledger.readers.fetch_one(query, seq))[0])

    async def list_undos(self, before: int, limit: int) -> list[UndoRecord]:
        """Records of undos, the newest first, from before the event ``before``."""
        rows = await self._ledger.readers.fetch(_LIST_UNDOS, before, limit)
        return [UndoRecord(row["seq"], row["ts"], row["client"], **json.loads(row["document"])) for row in rows]

    async def revoke(
        self, reward_seqs: Collection[int], *, cause: str, client: str, selection: Selection | None = None
    ) -> list[RevocableReward]:
        """Take rewards back out of sums and totals."""
        ledger, ts, meant = self._ledger, self._ledger.clock(), sorted(reward_seqs)
        seqs = [ledger.next_seq(ts) for _ in meant]
        record_seq = ledger.next_seq(ts)

        async def revoke(channel: Channel, tries: int) -> list[Any]:
            session = channel.session
            if tries and (done := await session.fetch(_FIND_DONE, seqs)):
                return list(done)
            await session.fetch(LOCK_REWARDED_USERS, meant)
            rows = await take_back(channel, meant, seqs, cause=cause, client=client, ts=ts)
            if selection is not None and rows:
                revoked = to_revocable(ledger.registry, rows)
                record = asdict(UndoRecord.from_rewards(record_seq, selection, revoked, client=client, ts=ts))
                document = {name: record[name] for name in ("selection", "rewards", "users", "policies")}
                uid = revoked[0].uid if selection.decision_id is not None else None
                values = (record_seq, uid, MARK_KIND, ts, client, json.dumps(document, separators=(",", ":")))
                await session.execute(_ADD_UNDO, *values)
            return rows

        rows = await ledger.writers.transact(revoke, is_long=True)
        for user_id in {row["user_id"] for row in rows}:
            ledger.users.drop(user_id)
        return to_revocable(ledger.registry, rows)

    async def find_revocable(self, channel: Channel, reward_seqs: Collection[int]) -> list[RevocableReward]:
        """Those of the rewards that their users' sums hold, as the transaction of a channel sees them."""
        return to_revocable(self._ledger.registry, await channel.session.fetch(FIND_REVOCABLE, sorted(reward_seqs)))


async def take_back(
    channel: Channel, reward_seqs: list[int], seqs: list[int], *, cause: str, client: str, ts: float
) -> list[Any]:
    """Take rewards back, under the locks of their users; returns a row for each that was."""
    session = channel.session
    rows = await session.fetch(REVOKE, reward_seqs, seqs, cause, client, ts, channel.stripe)
    decisions = {row["decision_seq"] or row["linked_seq"] for row in rows} - {None}
    if decisions:
        await session.execute(SETTLE_SHADOWS, sorted(decisions), channel.stripe)
    return list(rows)


def to_revocable(registry: PolicyRegistry, rows: list[Any]) -> list[RevocableReward]:
    """Rewards, and what they added to the sums."""
    return [
        RevocableReward(
            row["reward_seq"],
            row["user_id"],
            row["uid"],
            registry.get_ref(row["policy"]),
            row["policy"],
            row["ts"],
            row["value"],
            row["weight"],
            x,
            tuple(also),
        )
        for row in rows
        for (_, x), *also in [
            build_updates(
                registry, registry.get_ref(row["policy"]), row["shadow_set"], row["features"], row["picked"], 0
            )
        ]
    ]
