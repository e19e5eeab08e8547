"""Reactions: what users did, as it was sent, and the rewards that a table made of it."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bandstand.bandit.aggregation import PartSums
from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.reaction_table import ReactionTable, SentReaction
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import InvalidRequestError
from bandstand.store.ids import format_id
from bandstand.store.records import Decision, Reward, first_seq_at
from bandstand.store.sqlite.statements import Row, build_columns, build_insert, number_fields
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.windows import HELD, NOT_FIRST

ReactionFate = Literal["held", "already", "forgotten", "void"]
"""Whether sums hold what a reaction came to, or will (``held``); or was it taken back, forgotten, or never taught."""


class ReactionInsert(NamedTuple):
    """A row of ``reactions``; see ``reactions.sql`` for each column."""

    seq: int
    action: str
    dwell_ms: float | None
    ts: float
    name: str
    version: int
    hash: str


class ReactionRemap(NamedTuple):
    """A reaction to which another table was applied, and its new reward."""

    before: int
    seq: int
    name: str
    version: int
    hash: str


class PartRevision(NamedTuple):
    """The new reward of a part, and what its decision had taught after it."""

    seq: int
    value: float
    taught: float | None


@dataclass(frozen=True, slots=True)
class RevisedParts:
    """The parts of a decision under another table.

    Attributes:
        sums: over those that count.
        remapped: event numbers of those with another reward.
        revisions: what is to be written of parts.
    """

    sums: PartSums
    remapped: Sequence[int]
    revisions: Sequence[PartRevision]


class KeyMove(NamedTuple):
    """A reward and another in its place."""

    before: int
    seq: int


INSERT_REACTION = build_insert("reactions", ReactionInsert)
REMAP_REACTION = number_fields(
    "UPDATE reactions SET seq = :seq, name = :name, version = :version, hash = :hash WHERE seq = :before", ReactionRemap
)
REVISE_PART = number_fields("UPDATE reward_parts SET value = :value, taught = :taught WHERE seq = :seq", PartRevision)
MOVE_KEY = number_fields("UPDATE idempotency SET reward_seq = :seq WHERE reward_seq = :before", KeyMove)
"""A retry is answered with what stands now."""

_REACTIONS = f"""WITH found AS (
        SELECT {build_columns("x", ReactionInsert)}, p.seq IS NOT NULL AS is_part, coalesce(p.value, r.value) AS value,
            p.reason, coalesce(p.decision, r.decision_seq, iif(r.features IS NULL, r.linked_seq, NULL)) AS decision,
            r.uid, r.features IS NOT NULL AS is_legacy
        FROM reactions AS x LEFT JOIN reward_parts AS p ON p.seq = x.seq LEFT JOIN rewards AS r ON r.seq = x.seq
        WHERE x.seq > ?1 AND x.ts >= ?2),
    whose AS (
        SELECT f.*, u.uid AS owner, u.user_id, d.nonce, i.decision_id, coalesce(w.held, 0) AS is_held,
            iif(f.is_part, (SELECT max(t.seq) FROM rewards AS t
                WHERE t.decision_seq = f.decision OR t.linked_seq = f.decision AND t.features IS NULL), f.seq) AS taught
        FROM found AS f LEFT JOIN decisions AS d ON d.seq = f.decision LEFT JOIN windows AS w ON w.decision = d.seq
        JOIN users AS u ON u.uid = coalesce(d.uid, f.uid)
        LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq WHERE d.seq IS NOT NULL OR f.is_legacy)
    SELECT {", ".join(ReactionInsert._fields)}, user_id, decision, nonce, decision_id, is_part, value, CASE
        WHEN is_part AND reason NOT IN ('{HELD}', '{NOT_FIRST}') THEN 'void'
        WHEN is_held THEN 'held'
        WHEN NOT coalesce((SELECT applied FROM rewards WHERE seq = taught), 0) THEN 'void'
        WHEN EXISTS (SELECT 1 FROM revocations WHERE reward_seq = taught) THEN 'already'
        WHEN taught <= (SELECT max(seq) FROM marks WHERE uid = owner AND kind IN ('reset', 'import')) THEN 'forgotten'
        ELSE 'held' END
    FROM whose ORDER BY seq LIMIT ?3"""  # noqa: S608 (constants)
_PARTS = """SELECT p.seq, p.value, p.taught, p.reason, x.action, x.dwell_ms
    FROM reward_parts AS p LEFT JOIN reactions AS x ON x.seq = p.seq WHERE p.decision = ? ORDER BY p.seq"""
_LEGACY = "SELECT tip_id, features, body_hash, client FROM rewards WHERE seq = ?"


@dataclass(frozen=True, slots=True)
class LoggedReaction:
    """A reaction in the ledger.

    Attributes:
        seq: event number of the reward or the part that was made from it.
        decision_id: what it is for; ``None`` in the legacy form.
        decision_seq: event number of that; 0 for none.
        is_part: it is one part of what its decision is taught.
        value: its reward.
        fate: what has become of that.
    """

    seq: int
    user_id: str
    decision_id: str | None
    decision_seq: int
    is_part: bool
    value: float
    fate: ReactionFate
    sent: SentReaction


class LoggedPart(NamedTuple):
    """A part of what a decision is taught, and the reaction that it came as, if it did."""

    seq: int
    value: float
    taught: float | None
    reason: str | None
    action: str | None
    dwell_ms: float | None

    @property
    def counts(self) -> bool:
        """Whether it is among what is added up."""
        return self.reason in {None, HELD, NOT_FIRST}


class LegacyReward(NamedTuple):
    """What a reward in the legacy form brought."""

    tip_id: str
    features: bytes
    body_hash: bytes
    client: str


def build_replacement(
    decision: Decision, standing: Reward, value: float, *, ts: float, seq: int, x: FloatArray | None = None
) -> Reward:
    """Build what a decision is taught in the place of the reward that stands.

    Args:
        decision: with the policy that made it.
        standing: its reward until now, which came from the same client with the same body.
        value: its new reward.
        ts: seconds since the epoch.
        seq: the event's number.
        x: the features that the policy learns from, where they are known.
    """
    return Reward(
        user_id=decision.user_id,
        policy=decision.policy,
        tip_id=decision.tip_id,
        value=value,
        client=standing.client,
        ts=ts,
        body_hash=standing.body_hash,
        x=x,
        decision_id=decision.decision_id,
        seq=seq,
    )


def build_legacy_replacement(
    user_id: str, brought: LegacyReward, taught: RevocableReward, value: float, *, ts: float, seq: int
) -> Reward:
    """Build what is taught in the place of a reward that named no decision, as :func:`build_replacement` does."""
    return Reward(
        user_id=user_id,
        policy=taught.policy,
        tip_id=brought.tip_id,
        value=value,
        client=brought.client,
        ts=ts,
        body_hash=brought.body_hash,
        x=None,
        features=brought.features,
        weight=taught.weight,
        seq=seq,
    )


def add_reaction_row(rows: list[tuple[str, Row]], reward: Reward) -> None:
    """Keep what a reward came as with its rows, if it came as a reaction; the reward must be numbered."""
    sent = reward.reaction
    if sent is not None:
        row = ReactionInsert(reward.seq, sent.action, sent.dwell_ms, sent.ts, sent.table, sent.version, sent.hash)
        rows.append((INSERT_REACTION, row))


def build_remap_row(before: int, seq: int, table: ReactionTable) -> tuple[str, Row]:
    """A reaction under a table, as the reward ``seq`` in the place of another."""
    return REMAP_REACTION, ReactionRemap(before, seq, table.name, table.version, table.hash)


def list_reactions(connection: sqlite3.Connection, after: int, since: float, limit: int) -> list[LoggedReaction]:
    """Reactions that came at ``since`` or later, in order, from after the event ``after``."""
    return [
        LoggedReaction(
            seq,
            user_id,
            own_id if nonce is None else format_id(decision, nonce),
            decision or 0,
            bool(is_part),
            value,
            fate,
            SentReaction(*sent),
        )
        for seq, *sent, user_id, decision, nonce, own_id, is_part, value, fate in connection.execute(
            _REACTIONS, (max(after, first_seq_at(since) - 1), since, limit)
        )
    ]


def list_parts(connection: sqlite3.Connection, decision: int) -> list[LoggedPart]:
    """Every part that came for a decision, in order."""
    return [LoggedPart(*row) for row in connection.execute(_PARTS, (decision,))]


def add_up(parts: list[LoggedPart]) -> PartSums:
    """Sums over those that count."""
    return PartSums.from_values(part.value for part in parts if part.counts)


def revise_parts(parts: Sequence[LoggedPart], settings: RewardSettings) -> RevisedParts:
    """The rewards of the parts of a decision, in order, under the table of some settings."""
    sums, remapped, revisions = PartSums(), list[int](), list[PartRevision]()
    for part in parts:
        if not part.counts:
            continue
        value = part.value
        if part.action is not None:
            try:
                value = settings.compute_reaction_reward(part.action, part.dwell_ms)
            except InvalidRequestError:
                value = part.value  # the table says nothing of it
        if value != part.value:
            remapped.append(part.seq)
        sums = sums.add(value)
        taught = None if part.taught is None or part.reason == HELD else settings.compute_taught(sums)
        if value != part.value or (revisions and taught != part.taught):
            revisions.append(PartRevision(part.seq, value, taught))
    return RevisedParts(sums, remapped, revisions)


def load_legacy(connection: sqlite3.Connection, seq: int) -> LegacyReward | None:
    """What the reward of that number brought, in the legacy form."""
    row = connection.execute(_LEGACY, (seq,)).fetchone()
    return None if row is None else LegacyReward(*row)
