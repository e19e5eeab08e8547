"""Undo: which rewards an operator means, and what of them can still be taken back."""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self

from bandstand.errors import UnknownDecisionError
from bandstand.store.records import first_seq_at, to_time
from bandstand.store.tables import decisions
from bandstand.store.tables.event_rows import MarkInsert
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.revocations import REVISION, RevocableReward

MARK_KIND = "revocation"
"""The kind of the mark that records an undo: who, when, what was meant, how much it was."""

_SELECT_REWARDS = """SELECT r.seq, r.uid, p.name, CASE
        WHEN NOT r.applied THEN 'void'
        WHEN EXISTS (SELECT 1 FROM revocations WHERE reward_seq = r.seq) THEN 'already'
        WHEN r.seq <= (SELECT max(seq) FROM marks WHERE uid = r.uid AND kind IN ('reset', 'import')) THEN 'forgotten'
        ELSE 'held' END
    FROM rewards AS r JOIN policies AS p ON p.id = r.policy
    WHERE {conditions} AND EXISTS (SELECT 1 FROM users WHERE uid = r.uid) ORDER BY r.seq"""
# A judge's reward that stands in for another of its decision is linked to that, and has no features of its own.
_BY_DECISION = "(r.decision_seq = :decision OR r.linked_seq = :decision AND r.features IS NULL)"
# What several clients' rewards of a decision came to cannot be told apart: it is of each of them.
_BY_CLIENT = """(r.client = :client OR EXISTS (SELECT 1 FROM reward_parts AS p WHERE p.client = :client
    AND p.decision = coalesce(r.decision_seq, r.linked_seq) AND r.features IS NULL AND p.seq <= r.seq
    AND (p.reason IS NULL OR p.reason = 'not_first')))"""
_BY_JUDGE = """r.seq IN (SELECT c.reward_seq FROM conclusions AS c JOIN verdicts AS v ON v.seq = c.verdict_seq
    WHERE :judge IN (json_extract(v.document, '$.model'), json_extract(v.document, '$.prompt_hash')))"""
_SINCE = "r.seq >= :first AND r.ts >= :since"  # numbers follow the clock, and run ahead of one that went back
_UNTIL = "r.ts < :until"
_BASELINES = """SELECT count(DISTINCT uid), max(reach) FROM
    (SELECT uid, json_extract(document, '$.ledger_seq') AS reach FROM marks WHERE kind = 'baseline') WHERE reach >= ?"""
_SELECT_UNDOS = (
    "SELECT seq, ts, client, document FROM marks WHERE kind = 'revocation' AND seq < ? ORDER BY seq DESC LIMIT ?"
)
_REVOKED_SINCE = f"SELECT EXISTS (SELECT 1 FROM revocations WHERE seq > ? AND cause <> '{REVISION}')"  # noqa: S608 (a constant)
"""Where a reward over time was revised, another stands in its place, and its user is looked at again for that."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rewards are meant: those that fit everything that is given.

    Attributes:
        decision_id: the decision that was rewarded.
        client: name of the API key that gave them.
        judge_version: model or prompt hash of the verdicts they came from.
        since: seconds since the epoch; those that came then or later.
        until: seconds since the epoch; those that came before.
    """

    decision_id: str | None = None
    client: str | None = None
    judge_version: str | None = None
    since: float | None = None
    until: float | None = None

    def to_dict(self) -> dict[str, str | float]:
        """What is given, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class SelectedRewards:
    """The rewards that were meant, as the ledger has them now.

    Attributes:
        revocable: event numbers of those that the sums hold, which can be taken back.
        users: how many users these are of.
        policies: how many of these each policy learned from.
        revoked_before: taken back before.
        forgotten: of users who were reset or imported since: the sums are without them.
        never_taught: which never taught.
        out_of_reach: users whose earlier events are in a baseline, where single rewards cannot be told apart.
        out_of_reach_until: the time of the newest of those baselines; ``None`` if there is none.
    """

    revocable: Sequence[int] = ()
    users: int = 0
    policies: Mapping[str, int] = field(default_factory=dict)
    revoked_before: int = 0
    forgotten: int = 0
    never_taught: int = 0
    out_of_reach: int = 0
    out_of_reach_until: float | None = None


@dataclass(frozen=True, slots=True)
class UndoRecord:
    """The record of an undo.

    Attributes:
        seq: its event number.
        ts: seconds since the epoch.
        client: name of the API key of the caller.
        selection: what was meant, by name.
        rewards: how many were taken back.
        users: of how many users.
        policies: how many of them each policy had learned from as the one that decided.
    """

    seq: int
    ts: float
    client: str
    selection: Mapping[str, str | float]
    rewards: int
    users: int
    policies: Mapping[str, int]

    @classmethod
    def from_rewards(
        cls, seq: int, selection: Selection, revoked: Collection[RevocableReward], *, client: str, ts: float
    ) -> Self:
        """The record of an undo that takes these rewards back."""
        policies = dict(sorted(Counter(each.policy.name for each in revoked).items()))
        users = len({each.user_id for each in revoked})
        return cls(seq, ts, client, selection.to_dict(), len(revoked), users, policies)


def select_rewards(connection: sqlite3.Connection, registry: PolicyRegistry, selection: Selection) -> SelectedRewards:
    """Find the rewards that are meant.

    Raises:
        UnknownDecisionError: the ledger does not have the decision, or no longer.
    """
    decision = None
    if selection.decision_id is not None:
        found = decisions.find_decision(connection, registry, selection.decision_id)
        if found is None:
            raise UnknownDecisionError("no such decision, or retention has taken it")
        decision = found.seq
    values = {
        "decision": decision,
        "client": selection.client,
        "judge": selection.judge_version,
        "first": first_seq_at(selection.since or 0.0),
        "since": selection.since,
        "until": selection.until,
    }
    conditions = [
        condition
        for condition, value in (
            (_BY_DECISION, decision),
            (_BY_CLIENT, selection.client),
            (_BY_JUDGE, selection.judge_version),
            (_SINCE, selection.since),
            (_UNTIL, selection.until),
        )
        if value is not None
    ]
    rows = connection.execute(_SELECT_REWARDS.format(conditions=" AND ".join(conditions)), values).fetchall()
    out_of_reach, until = (0, None) if decision else find_out_of_reach(connection, selection.since or 0.0)
    return replace(count_selected(rows), out_of_reach=out_of_reach, out_of_reach_until=until)


def count_selected(rows: Iterable[tuple[int, int, str, str]]) -> SelectedRewards:
    """The rewards that are meant, by event number, user, policy and fate: void, already, forgotten or held."""
    fates: Counter[str] = Counter()
    revocable = []
    for seq, uid, policy, fate in rows:
        fates[fate] += 1
        if fate == "held":
            revocable.append((seq, uid, policy))
    return SelectedRewards(
        revocable=[seq for seq, _, _ in revocable],
        users=len({uid for _, uid, _ in revocable}),
        policies=dict(sorted(Counter(policy for _, _, policy in revocable).items())),
        revoked_before=fates["already"],
        forgotten=fates["forgotten"],
        never_taught=fates["void"],
    )


def find_out_of_reach(connection: sqlite3.Connection, since: float) -> tuple[int, float | None]:
    """How many users have events from ``since`` or later in a baseline, and the time of the newest of those."""
    users, reach = connection.execute(_BASELINES, (first_seq_at(since),)).fetchone()
    return users, None if reach is None else to_time(reach)


def build_undo_row(
    seq: int, selection: Selection, revoked: Sequence[RevocableReward], *, client: str, ts: float
) -> MarkInsert:
    """The mark that says what was meant and how much it was; of one decision it is its user's, and goes with them."""
    undo = asdict(UndoRecord.from_rewards(seq, selection, revoked, client=client, ts=ts))
    document = {name: undo[name] for name in ("selection", "rewards", "users", "policies")}
    uid = revoked[0].uid if selection.decision_id is not None else None
    return MarkInsert(seq, uid, MARK_KIND, ts, client, json.dumps(document, separators=(",", ":")))


def list_undos(connection: sqlite3.Connection, before: int, limit: int) -> list[UndoRecord]:
    """Records of undos, the newest first, from before the event ``before``."""
    return [
        UndoRecord(seq, ts, client, **json.loads(document))
        for seq, ts, client, document in connection.execute(_SELECT_UNDOS, (before, limit))
    ]


def has_revocations_since(connection: sqlite3.Connection, seq: int) -> bool:
    """Whether anything was taken back after the event ``seq``."""
    return bool(connection.execute(_REVOKED_SINCE, (seq,)).fetchone()[0])
