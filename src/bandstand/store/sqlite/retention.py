"""Retention: decisions past their days go, and each user's state as of then stays as a baseline."""

import json
import sqlite3

from bandstand.bandit.profile import Profile
from bandstand.store.records import first_seq_at, to_time
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.sqlite.sweep import Sweep, Sweeper
from bandstand.store.sqlite.transaction import transaction
from bandstand.times import CLOCK_SLACK_S, is_ahead

KEY_SECONDS = 7 * 86_400
USERS_PER_ROUND = 10_000

_KEYS_PER_ROUND = 200

# A reward is replayed after the cutoff {cutoff} if it came after it, or is taken back after it; then its decision is
# needed.
_IS_REPLAYED = """(r.seq > {cutoff} OR EXISTS (SELECT 1 FROM revocations AS v
    WHERE v.reward_seq = r.seq AND v.seq > {cutoff}))"""
_IS_REWARDED = f"""(EXISTS (SELECT 1 FROM rewards AS r WHERE r.decision_seq = d.seq AND {_IS_REPLAYED})
    OR EXISTS (SELECT 1 FROM rewards AS r WHERE r.linked_seq = d.seq AND r.features IS NULL AND {_IS_REPLAYED}))"""  # noqa: S608 (constants)


_LAST_BEFORE = (
    "SELECT max(seq) FROM decisions WHERE seq > ? AND ts < ?",
    "SELECT max(seq) FROM rewards WHERE seq > ? AND ts < ?",
    "SELECT max(seq) FROM judgements WHERE seq > ? AND ts < ?",
)
_HAS_KEY = "EXISTS (SELECT 1 FROM idempotency AS k WHERE k.reward_seq = r.seq)"
_KEEP_ANSWER = f"""INSERT INTO past_rewards (seq, uid, policy, value, applied, reason)
    SELECT r.seq, r.uid, r.policy, r.value, r.applied AND v.seq IS NULL, iif(v.seq IS NULL, r.reason, 'revoked')
    FROM rewards AS r LEFT JOIN revocations AS v ON v.reward_seq = r.seq
    WHERE r.{{key}} = ? AND {_HAS_KEY}"""  # noqa: S608 (constants)
_KEEP_PART_ANSWER = f"""INSERT OR REPLACE INTO past_rewards (seq, uid, policy, value, applied, reason)
    SELECT r.seq, d.uid, d.policy, r.value, r.reason IS NULL, r.reason
    FROM reward_parts AS r JOIN decisions AS d ON d.seq = r.decision WHERE r.decision = ? AND {_HAS_KEY}"""  # noqa: S608 (constants)
_OF_USER = "uid = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4"
_TRIM_SWEEPS = (
    Sweep(
        f"SELECT seq, NOT {_IS_REWARDED.format(cutoff='?3')} FROM user_decisions AS d WHERE {_OF_USER}",  # noqa: S608 (constants)
        {
            "answers": _KEEP_ANSWER.format(key="decision_seq"),
            "rewards": "DELETE FROM rewards WHERE decision_seq = ?",
            # What stands in for another has no features of its own: nobody can read it without the decision.
            "linked answers": _KEEP_ANSWER.format(key="features IS NULL AND r.linked_seq"),
            "linked rewards": "DELETE FROM rewards WHERE features IS NULL AND linked_seq = ?",
            "part answers": _KEEP_PART_ANSWER,
            "decision_ids": "DELETE FROM decision_ids WHERE seq = ?",
            "subjects": "DELETE FROM subjects WHERE seq = ?",
            "decisions": "DELETE FROM decisions WHERE seq = ?",
        },
    ),
    Sweep(
        f"SELECT seq, NOT {_IS_REPLAYED.format(cutoff='?3')} FROM user_rewards AS r WHERE {_OF_USER}",  # noqa: S608 (constants)
        {"answers": _KEEP_ANSWER.format(key="seq"), "rewards": "DELETE FROM rewards WHERE seq = ?"},
    ),
    Sweep(f"SELECT seq, 1 FROM revocations WHERE {_OF_USER}", {"revocations": "DELETE FROM revocations WHERE seq = ?"}),  # noqa: S608 (constants)
)


def build_key_sweeper() -> Sweeper:
    """What deletes how past rewards were answered whose Idempotency-Key is gone."""
    find = f"SELECT seq, NOT {_HAS_KEY} FROM past_rewards AS r WHERE seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4"  # noqa: S608 (a constant)
    return Sweeper([Sweep(find, {"past_rewards": "DELETE FROM past_rewards WHERE seq = ?"})])


def find_cutoff(connection: sqlite3.Connection, ts: float, now: float) -> int:
    """The number of the last event from before ``ts``.

    Event numbers follow the clock and so give the time; but while they run ahead of a clock that was set back, the
    events' own times do.
    """
    cutoff = first_seq_at(ts)
    if not is_ahead(to_time(find_last_seq(connection)), now):
        return cutoff
    found = [connection.execute(query, (cutoff, ts)).fetchone()[0] for query in _LAST_BEFORE]
    return max([cutoff, *(int(seq) for seq in found if seq is not None)])


def delete_old_keys(connection: sqlite3.Connection, now: float) -> bool:
    """Drop some Idempotency-Keys older than seven days; returns whether there may be more.

    One that a clock was ahead for is of now from here on.
    """
    connection.execute("UPDATE idempotency SET ts = ?1 WHERE ts > ?1 + ?2", (now, CLOCK_SLACK_S))
    old = "SELECT scope, key FROM idempotency WHERE ts < ? LIMIT ?"
    delete = f"DELETE FROM idempotency WHERE (scope, key) IN ({old})"  # noqa: S608 (constants)
    return connection.execute(delete, (now - KEY_SECONDS, _KEYS_PER_ROUND)).rowcount == _KEYS_PER_ROUND


def find_overdue_users(connection: sqlite3.Connection, cutoff: int) -> list[tuple[int, str]]:
    """Users with decisions or rewards at or before ``cutoff`` that retention may trim."""
    is_rewarded, is_replayed = _IS_REWARDED.format(cutoff="?1"), _IS_REPLAYED.format(cutoff="?1")
    query = f"""SELECT uid, user_id FROM users AS u WHERE
        EXISTS (SELECT 1 FROM user_decisions AS d WHERE d.uid = u.uid AND d.seq <= ?1 AND NOT {is_rewarded})
        OR EXISTS (SELECT 1 FROM user_rewards AS r WHERE r.uid = u.uid AND NOT {is_replayed}) LIMIT ?2"""  # noqa: S608 (constants)
    return connection.execute(query, (cutoff, USERS_PER_ROUND)).fetchall()


def begin_trim(connection: sqlite3.Connection, uid: int, state: Profile, cutoff: int, seq: int, ts: float) -> None:
    """Put ``state`` (as of ``cutoff``) in the place of the user's events up to there: nothing replays them any more."""
    state.seq = cutoff
    document = json.dumps(state.to_json(), separators=(",", ":"))
    with transaction(connection):
        # Resets stay: history begins after the last one, and a decision kept for its reward may be older than that.
        gone = "uid = ? AND (kind = 'baseline' OR (kind <> 'reset' AND seq <= ?))"
        connection.execute(f"DELETE FROM marks WHERE {gone}", (uid, cutoff))  # noqa: S608 (a constant)
        # The user may have been erased since the state was read: then no word of them may come back.
        connection.execute(
            """INSERT INTO marks (seq, uid, kind, ts, client, document)
                SELECT ?1, uid, 'baseline', ?3, 'retention', ?4 FROM users WHERE uid = ?2""",
            (seq, uid, ts, document),
        )


def build_trim_sweeper(uid: int, cutoff: int) -> Sweeper:
    """What deletes a user's events up to ``cutoff``, once a baseline stands in their place.

    A reward that is taken back after the cutoff stays until that goes too, and so does a decision whose reward stays or
    came after the cutoff: they are replayed from these. A decision goes in one transaction with its reward, or it could
    be rewarded again; a revocation after the reward that it takes back, or that could be taken back again.
    """
    return Sweeper(_TRIM_SWEEPS, owner=uid, until=cutoff)


def trim_user(connection: sqlite3.Connection, uid: int, state: Profile, cutoff: int, seq: int, ts: float) -> None:
    """Trim a user, for who has the ledger to themselves."""
    begin_trim(connection, uid, state, cutoff, seq, ts)
    build_trim_sweeper(uid, cutoff).run_all(connection)
