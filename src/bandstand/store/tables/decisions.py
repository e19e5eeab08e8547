"""Questions about decisions, rewards and users: each a function of a read-only connection, run off the event loop."""

import sqlite3
from typing import Any

import numpy as np

from bandstand.store.ids import format_id, parse_event_id
from bandstand.store.records import (
    LAST_SEQ,
    Decision,
    PolicyTotals,
    Reward,
    RewardWindow,
    UserPage,
    first_seq_at,
)
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.sqlite.schema import EVER
from bandstand.store.sqlite.statements import build_columns
from bandstand.store.tables import windows
from bandstand.store.tables.event_rows import DecisionInsert
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.windows import DueDecision

_DECISION_COLUMNS = f"i.decision_id, u.user_id, whom.user_id, {build_columns('d', DecisionInsert)}"
# The decisions of a subject who has been erased are not found, while they go.
_NAMED = """FROM decisions AS d JOIN users AS u ON u.uid = d.uid
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq
    LEFT JOIN subjects AS s ON s.seq = d.seq LEFT JOIN users AS whom ON whom.uid = s.uid
    WHERE (s.uid IS NULL OR whom.uid IS NOT NULL)"""
_DECISION = f"SELECT {_DECISION_COLUMNS} {_NAMED} AND d.seq = ?"
_HISTORY = f"""SELECT {_DECISION_COLUMNS} {_NAMED}
    AND d.seq IN (SELECT seq FROM user_decisions WHERE uid = ?1 AND seq > coalesce(
            (SELECT max(seq) FROM marks WHERE uid = ?1 AND kind = 'reset'), 0)
        ORDER BY seq DESC LIMIT ?2)
    ORDER BY d.seq DESC"""  # noqa: S608 (constants)
_SUBJECT_HISTORY = f"""SELECT {_DECISION_COLUMNS} {_NAMED}
    AND d.seq IN (SELECT seq FROM subjects WHERE uid = (SELECT uid FROM users WHERE user_id = ?1)
        ORDER BY seq DESC LIMIT ?2) AND d.seq > coalesce(
        (SELECT max(seq) FROM marks WHERE uid = d.uid AND kind = 'reset'), 0)
    ORDER BY d.seq DESC"""  # noqa: S608 (constants)
_REWARD = """SELECT r.seq, u.user_id, r.policy, r.tip_id, r.value, r.client, r.ts, r.body_hash, r.decision_seq,
    r.source, r.weight, r.applied AND v.seq IS NULL, iif(v.seq IS NULL, r.reason, 'revoked')
    FROM rewards AS r JOIN users AS u ON u.uid = r.uid LEFT JOIN revocations AS v ON v.reward_seq = r.seq WHERE"""
_REWARD_BY_KEY = f"""WITH k AS MATERIALIZED (SELECT reward_seq, body_hash FROM idempotency WHERE scope = ? AND key = ?)
    {_REWARD} r.seq = (SELECT reward_seq FROM k)
    UNION ALL SELECT p.seq, u.user_id, p.policy, '', p.value, '', 0.0, k.body_hash, NULL, '', 1.0, p.applied, p.reason
    FROM k JOIN past_rewards AS p ON p.seq = k.reward_seq JOIN users AS u ON u.uid = p.uid"""  # noqa: S608 (constants)
_REWARD_OF_DECISION = f"""SELECT * FROM ({_REWARD} r.decision_seq = ?1
    UNION ALL {_REWARD} r.linked_seq = ?1 AND r.features IS NULL) ORDER BY 1 DESC LIMIT 1"""  # noqa: S608 (constants)
"""The reward of a decision; of one that was taken back for another, that other."""
_PENDING_TURN = "SELECT coalesce(max(seq), 0) FROM judgements WHERE decision_seq = ? AND state = 'waiting'"
_DUE = f"""SELECT {_DECISION_COLUMNS}, w.held, w.due, w.fallback,
        EXISTS (SELECT 1 FROM rewards AS r WHERE r.decision_seq = w.decision)
        OR EXISTS (SELECT 1 FROM rewards AS r WHERE r.linked_seq = w.decision),
        EXISTS (SELECT 1 FROM reward_parts AS p WHERE p.decision = w.decision)
    FROM windows AS w JOIN decisions AS d ON d.seq = w.decision JOIN users AS u ON u.uid = d.uid
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq
    LEFT JOIN subjects AS s ON s.seq = d.seq LEFT JOIN users AS whom ON whom.uid = s.uid
    WHERE w.awaits = 1 AND w.due <= ? AND (s.uid IS NULL OR whom.uid IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM judgements AS j WHERE j.decision_seq = w.decision AND j.state = 'waiting')
    ORDER BY w.due, w.decision LIMIT ?"""  # noqa: S608 (constants)
_OWN_ID = "SELECT seq FROM decision_ids WHERE decision_id = ?"


def find_decision(connection: sqlite3.Connection, registry: PolicyRegistry, decision_id: str) -> Decision | None:
    """The decision of that id, in full, with the reward that names it."""
    row = None
    seq = parse_event_id(decision_id)
    if seq is not None:
        row = connection.execute(_DECISION, (seq,)).fetchone()
    decision = None if row is None else _to_decision(row, registry)
    if decision is None or decision.decision_id != decision_id:
        own = connection.execute(_OWN_ID, (decision_id,)).fetchone()
        row = None if own is None else connection.execute(_DECISION, own).fetchone()
        if row is None:
            return None
        decision = _to_decision(row, registry)
    reward = connection.execute(_REWARD_OF_DECISION, (decision.seq,)).fetchone()
    if reward is not None:
        decision.reward = _to_reward(reward, registry)
    decision.pending_turn_seq = connection.execute(_PENDING_TURN, (decision.seq,)).fetchone()[0]
    windows.complete_decision(connection, registry, decision)
    return decision


def list_due(connection: sqlite3.Connection, registry: PolicyRegistry, ts: float, limit: int) -> list[DueDecision]:
    """Decisions whose windows have ended by ``ts`` and are not closed yet, in the order of their ends.

    Each is as :func:`find_decision` has it. One that a turn holds is not among them.
    """
    due: list[DueDecision] = []
    for *columns, held, end, fallback, is_rewarded, has_parts in connection.execute(_DUE, (ts, limit)).fetchall():
        decision = _to_decision(tuple(columns), registry)
        decision.window = RewardWindow(bool(held), end, fallback)
        if has_parts:
            windows.complete_decision(connection, registry, decision)
        due.append(DueDecision(decision, is_settled=bool(held or is_rewarded)))
    return due


def find_reward_by_key(connection: sqlite3.Connection, registry: PolicyRegistry, scope: str, key: str) -> Reward | None:
    """The reward that was given with that Idempotency-Key; of one that retention took, no more than its answer."""
    if (part := windows.find_part_by_key(connection, registry, scope, key)) is not None:
        return part
    row = connection.execute(_REWARD_BY_KEY, (scope, key)).fetchone()
    return None if row is None else _to_reward(row, registry)


def list_history(connection: sqlite3.Connection, registry: PolicyRegistry, user_id: str, limit: int) -> list[Decision]:
    """The user's newest decisions since the last reset, oldest first."""
    uid = find_uid(connection, user_id)
    rows = [] if uid is None else connection.execute(_HISTORY, (uid, limit)).fetchall()
    rows = rows or connection.execute(_SUBJECT_HISTORY, (user_id, limit)).fetchall()
    return [_to_decision(row, registry) for row in reversed(rows)]


def list_users(connection: sqlite3.Connection, prefix: str, after: int, limit: int) -> UserPage:
    """A page of user ids in order of first sight."""
    query = "SELECT uid, user_id FROM users WHERE uid > ? AND substr(user_id, 1, ?) = ? ORDER BY uid LIMIT ?"
    rows = connection.execute(query, (after, len(prefix), prefix, limit + 1)).fetchall()
    page = rows[:limit]
    return UserPage([user_id for _, user_id in page], page[-1][0] if len(rows) > limit else None)


def load_policy_totals(connection: sqlite3.Connection) -> dict[str, PolicyTotals]:
    """Counts by policy name: the rollups of all hours; a policy that was redefined has some for each definition."""
    query = """SELECT p.name, sum(decisions), sum(explores), sum(rewards), sum(reward_sum)
        FROM rollups AS r JOIN policies AS p ON p.id = r.policy WHERE r.hour = ? GROUP BY p.name"""
    return {name: PolicyTotals(*counts) for name, *counts in connection.execute(query, (EVER,))}


def count_users(connection: sqlite3.Connection) -> int:
    """How many users the ledger knows."""
    return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])


def find_uid(connection: sqlite3.Connection, user_id: str) -> int | None:
    """The ledger's key of a user."""
    row = connection.execute("SELECT uid FROM users WHERE user_id = ?", (user_id,)).fetchone()
    return None if row is None else int(row[0])


def _to_decision(row: tuple[Any, ...], registry: PolicyRegistry) -> Decision:
    own_id, user_id, subject, *columns = row
    stored = DecisionInsert(*columns)
    return Decision(
        decision_id=own_id if stored.nonce is None else format_id(stored.seq, stored.nonce),
        own_id=stored.nonce is None,
        seq=stored.seq,
        user_id=user_id,
        policy=registry.get_ref(stored.policy),
        client=stored.client,
        ts=stored.ts,
        tip_id=stored.tip_id,
        pick=stored.pick,
        exploring=bool(stored.exploring),
        seed=stored.seed,
        score=stored.score,
        propensity=stored.propensity,
        floor=stored.floor,
        body=unpack_body(stored.body),
        numbers=np.frombuffer(stored.numbers, dtype=np.float64).reshape(4, -1),
        x=None,
        subject=subject,
        uid=stored.uid,
    )


def _to_reward(row: tuple[Any, ...], registry: PolicyRegistry) -> Reward:
    seq, user_id, policy, tip_id, value, client, ts, body_hash, decision_seq, source, weight, applied, reason = row
    return Reward(
        user_id=user_id,
        policy=registry.get_ref(policy),
        tip_id=tip_id,
        value=value,
        client=client,
        ts=ts,
        body_hash=body_hash,
        x=None,
        decision_seq=decision_seq,
        source=source,
        weight=weight,
        applied=bool(applied),
        reason=reason,
        seq=seq,
    )


def find_decision_times(
    connection: sqlite3.Connection, since: float | None = None, until: float | None = None
) -> tuple[float, float] | None:
    """When the first and the last decision of a range of time were made; ``None`` if there is none."""
    after = 0 if since is None else first_seq_at(since)
    before = LAST_SEQ if until is None else first_seq_at(until)
    found = [
        connection.execute(
            f"SELECT ts FROM decisions WHERE seq >= ? AND seq < ? ORDER BY seq {order} LIMIT 1",  # noqa: S608 (constants)
            (after, before),
        ).fetchone()
        for order in ("ASC", "DESC")
    ]
    return None if found[0] is None else (float(found[0][0]), float(found[1][0]))
