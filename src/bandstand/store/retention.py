"""Retention: decisions past their days go, and each user's state as of then stays as a baseline."""

import json
import sqlite3

from bandstand.bandit.profile import Profile

KEY_SECONDS = 7 * 86_400
_USERS_A_ROUND = 10_000


def forget_keys(connection: sqlite3.Connection, now: float) -> int:
    """Drop Idempotency-Keys older than seven days."""
    return connection.execute("DELETE FROM idempotency WHERE ts < ?", (now - KEY_SECONDS,)).rowcount


def overdue_users(connection: sqlite3.Connection, cutoff: int) -> list[tuple[int, str]]:
    """Users with decisions or rewards at or before ``cutoff`` that retention may trim."""
    query = """SELECT uid, user_id FROM users AS u WHERE
        EXISTS (SELECT 1 FROM decisions AS d WHERE d.uid = u.uid AND d.seq <= ?1 AND NOT EXISTS (
            SELECT 1 FROM rewards AS r WHERE r.decision_seq = d.seq AND r.seq > ?1))
        OR EXISTS (SELECT 1 FROM rewards AS r WHERE r.uid = u.uid AND r.seq <= ?1) LIMIT ?2"""
    return connection.execute(query, (cutoff, _USERS_A_ROUND)).fetchall()


def trim(connection: sqlite3.Connection, uid: int, state: Profile, cutoff: int, seq: int, ts: float) -> None:
    """Put ``state`` (as of ``cutoff``) in the place of the user's events up to there.

    A decision whose reward came after the cutoff stays until that reward goes too: the reward is replayed from it.
    """
    state.seq = cutoff
    document = json.dumps(state.to_json(), separators=(",", ":"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Resets stay: history begins after the last one, and a decision kept for its reward may be older than that.
        gone = "uid = ? AND (kind = 'baseline' OR (kind <> 'reset' AND seq <= ?))"
        connection.execute(f"DELETE FROM marks WHERE {gone}", (uid, cutoff))  # noqa: S608 (a constant)
        # The user may have been erased since the state was read: then no word of them may come back.
        connection.execute(
            "INSERT INTO marks SELECT ?1, uid, 'baseline', ?3, 'retention', ?4 FROM users WHERE uid = ?2",
            (seq, uid, ts, document),
        )
        kept = """uid = ?1 AND seq <= ?2 AND NOT EXISTS (
            SELECT 1 FROM rewards AS r WHERE r.decision_seq = decisions.seq AND r.seq > ?2)"""
        connection.execute(
            f"DELETE FROM decision_ids WHERE seq IN (SELECT seq FROM decisions WHERE {kept})",  # noqa: S608 (a constant)
            (uid, cutoff),
        )
        connection.execute(f"DELETE FROM decisions WHERE {kept}", (uid, cutoff))  # noqa: S608 (a constant)
        connection.execute(
            "DELETE FROM idempotency WHERE reward_seq IN (SELECT seq FROM rewards WHERE uid = ? AND seq <= ?)",
            (uid, cutoff),
        )
        connection.execute("DELETE FROM rewards WHERE uid = ? AND seq <= ?", (uid, cutoff))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled it back already
            connection.execute("ROLLBACK")
        raise
