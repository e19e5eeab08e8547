"""Undo: which rewards an operator means, and what of them can still be taken back."""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

from bandstand.errors import UnknownDecisionError
from bandstand.store.records import LAST_SEQ, seq_at, time_of
from bandstand.store.sqlite.schema import Row
from bandstand.store.tables import decisions
from bandstand.store.tables.policies import Registry
from bandstand.store.tables.revocations import Counted

KIND = "revocation"
"""The kind of the mark that records an undo: who, when, what was meant, how much it was."""

_MEANT = """SELECT r.seq, r.uid, p.name, CASE
        WHEN NOT r.applied THEN 'void'
        WHEN EXISTS (SELECT 1 FROM revocations WHERE reward_seq = r.seq) THEN 'already'
        WHEN r.seq <= (SELECT max(seq) FROM marks WHERE uid = r.uid AND kind IN ('reset', 'import')) THEN 'forgotten'
        ELSE 'held' END
    FROM rewards AS r JOIN policies AS p ON p.id = r.policy WHERE {conditions} ORDER BY r.seq"""
# A judge's reward that stands in for another of its decision is linked to that, and has no features of its own.
_DECISION = "(r.decision_seq = :decision OR r.linked_seq = :decision AND r.features IS NULL)"
_CLIENT = "r.client = :client"
_JUDGE = """r.seq IN (SELECT c.reward_seq FROM conclusions AS c JOIN verdicts AS v ON v.seq = c.verdict_seq
    WHERE :judge IN (json_extract(v.document, '$.model'), json_extract(v.document, '$.prompt_hash')))"""
_SINCE = "r.seq >= :first AND r.ts >= :since"  # numbers follow the clock, and run ahead of one that went back
_UNTIL = "r.ts < :until"
_BASELINES = """SELECT count(DISTINCT uid), max(reach) FROM
    (SELECT uid, json_extract(document, '$.ledger_seq') AS reach FROM marks WHERE kind = 'baseline') WHERE reach >= ?"""
_DONE = "SELECT seq, ts, client, document FROM marks WHERE kind = 'revocation' AND seq < ? ORDER BY seq DESC LIMIT ?"
_SINCE_THEN = "SELECT EXISTS (SELECT 1 FROM revocations WHERE seq > ?)"


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

    def given(self) -> dict[str, str | float]:
        """What is given, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Selected:
    """The rewards that were meant, as the ledger has them now.

    Attributes:
        held: event numbers of those that the sums hold, which can be taken back.
        users: how many users these are of.
        policies: how many of these each policy learned from.
        already: taken back before.
        forgotten: of users who were reset or imported since: the sums are without them.
        void: which never taught.
        beyond: users whose earlier events retention has put into a baseline, where single rewards cannot be told apart.
        reaches_back: the time of the newest of those baselines; ``None`` where there is none.
    """

    held: Sequence[int] = ()
    users: int = 0
    policies: Mapping[str, int] = field(default_factory=dict)
    already: int = 0
    forgotten: int = 0
    void: int = 0
    beyond: int = 0
    reaches_back: float | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """The record of an undo.

    Attributes:
        seq: its event number.
        ts: seconds since the epoch.
        client: name of the API key that asked.
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
    def of(cls, seq: int, selection: Selection, taken: Collection[Counted], *, client: str, ts: float) -> Self:
        """The record of an undo that takes these rewards back."""
        policies = dict(sorted(Counter(each.policy.name for each in taken).items()))
        users = len({each.user_id for each in taken})
        return cls(seq, ts, client, selection.given(), len(taken), users, policies)


def selected(connection: sqlite3.Connection, registry: Registry, selection: Selection) -> Selected:
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
        "first": min(max(0, seq_at(selection.since or 0.0)), LAST_SEQ),
        "since": selection.since,
        "until": selection.until,
    }
    conditions = [
        condition
        for condition, value in (
            (_DECISION, decision),
            (_CLIENT, selection.client),
            (_JUDGE, selection.judge_version),
            (_SINCE, selection.since),
            (_UNTIL, selection.until),
        )
        if value is not None
    ]
    rows = connection.execute(_MEANT.format(conditions=" AND ".join(conditions)), values).fetchall()
    fates = Counter(fate for *_, fate in rows)
    held = [(seq, uid, policy) for seq, uid, policy, fate in rows if fate == "held"]
    beyond, reach = (0, None) if decision else connection.execute(_BASELINES, (values["first"],)).fetchone()
    return Selected(
        held=[seq for seq, _, _ in held],
        users=len({uid for _, uid, _ in held}),
        policies=dict(sorted(Counter(policy for _, _, policy in held).items())),
        already=fates["already"],
        forgotten=fates["forgotten"],
        void=fates["void"],
        beyond=beyond,
        reaches_back=None if reach is None else time_of(reach),
    )


def record(seq: int, selection: Selection, taken: Sequence[Counted], *, client: str, ts: float) -> Row:
    """The mark that says what was meant and how much it was; of one decision it is its user's, and goes with them."""
    undone = asdict(Undone.of(seq, selection, taken, client=client, ts=ts))
    document = {name: undone[name] for name in ("selection", "rewards", "users", "policies")}
    uid = taken[0].uid if selection.decision_id is not None else None
    return (seq, uid, KIND, ts, client, json.dumps(document, separators=(",", ":")))


def done(connection: sqlite3.Connection, before: int, limit: int) -> list[Undone]:
    """Records of undos, the newest first, from before the event ``before``."""
    return [
        Undone(seq, ts, client, **json.loads(document))
        for seq, ts, client, document in connection.execute(_DONE, (before, limit))
    ]


def any_since(connection: sqlite3.Connection, seq: int) -> bool:
    """Whether anything was taken back after the event ``seq``."""
    return bool(connection.execute(_SINCE_THEN, (seq,)).fetchone()[0])
