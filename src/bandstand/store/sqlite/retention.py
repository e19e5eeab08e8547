"""Retention: decisions past their days go, and each user's state as of then stays as a baseline."""

import json
import sqlite3

from bandstand.bandit.profile import Profile
from bandstand.store.records import first_seq_at, to_time
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.sqlite.transaction import transaction
from bandstand.times import CLOCK_SLACK_S, is_ahead

KEY_SECONDS = 7 * 86_400
_USERS_PER_ROUND = 10_000

# A reward is replayed after the cutoff ?1 if it came after it, or is taken back after it; then its decision is needed.
_IS_REPLAYED = "(r.seq > ?1 OR EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq AND v.seq > ?1))"
_IS_REWARDED = f"""(EXISTS (SELECT 1 FROM rewards AS r WHERE r.decision_seq = d.seq AND {_IS_REPLAYED})
    OR EXISTS (SELECT 1 FROM rewards AS r WHERE r.linked_seq = d.seq AND r.features IS NULL AND {_IS_REPLAYED}))"""  # noqa: S608 (constants)


_LAST_BEFORE = (
    "SELECT max(seq) FROM decisions WHERE seq > ? AND ts < ?",
    "SELECT max(seq) FROM rewards WHERE seq > ? AND ts < ?",
    "SELECT max(seq) FROM judgements WHERE seq > ? AND ts < ?",
)
_HAS_KEY = "EXISTS (SELECT 1 FROM idempotency AS k WHERE k.reward_seq = r.seq)"
_PAST_REWARD = """r.seq, r.uid, r.policy, r.value, r.applied AND v.seq IS NULL, iif(v.seq IS NULL, r.reason, 'revoked')
    FROM rewards AS r LEFT JOIN revocations AS v ON v.reward_seq = r.seq"""


def find_cutoff(connection: sqlite3.Connection, ts: float, now: float) -> int:
    """The number of the last event from before ``ts``.

    Event numbers follow the clock, and so tell; but while they run ahead of one that was set back, the events' own
    times do.
    """
    cutoff = first_seq_at(ts)
    if not is_ahead(to_time(find_last_seq(connection)), now):
        return cutoff
    found = [connection.execute(query, (cutoff, ts)).fetchone()[0] for query in _LAST_BEFORE]
    return max([cutoff, *(int(seq) for seq in found if seq is not None)])


def delete_old_keys(connection: sqlite3.Connection, now: float) -> int:
    """Drop Idempotency-Keys older than seven days, and how past rewards were answered that came with them.

    One that a clock was ahead for is of now from here on.
    """
    connection.execute("UPDATE idempotency SET ts = ?1 WHERE ts > ?1 + ?2", (now, CLOCK_SLACK_S))
    keys = connection.execute("DELETE FROM idempotency WHERE ts < ?", (now - KEY_SECONDS,)).rowcount
    connection.execute(f"DELETE FROM past_rewards AS r WHERE NOT {_HAS_KEY}")  # noqa: S608 (a constant)
    return keys


def find_overdue_users(connection: sqlite3.Connection, cutoff: int) -> list[tuple[int, str]]:
    """Users with decisions or rewards at or before ``cutoff`` that retention may trim."""
    query = f"""SELECT uid, user_id FROM users AS u WHERE
        EXISTS (SELECT 1 FROM decisions AS d WHERE d.uid = u.uid AND d.seq <= ?1 AND NOT {_IS_REWARDED})
        OR EXISTS (SELECT 1 FROM rewards AS r WHERE r.uid = u.uid AND NOT {_IS_REPLAYED}) LIMIT ?2"""  # noqa: S608 (constants)
    return connection.execute(query, (cutoff, _USERS_PER_ROUND)).fetchall()


def trim_user(connection: sqlite3.Connection, uid: int, state: Profile, cutoff: int, seq: int, ts: float) -> None:
    """Put ``state`` (as of ``cutoff``) in the place of the user's events up to there.

    A reward that is taken back after the cutoff stays until that goes too, and so does a decision whose reward stays or
    came after the cutoff: they are replayed from these.
    """
    state.seq = cutoff
    document = json.dumps(state.to_json(), separators=(",", ":"))
    with transaction(connection):
        # Resets stay: history begins after the last one, and a decision kept for its reward may be older than that.
        gone = "uid = ? AND (kind = 'baseline' OR (kind <> 'reset' AND seq <= ?))"
        connection.execute(f"DELETE FROM marks WHERE {gone}", (uid, cutoff))  # noqa: S608 (a constant)
        # The user may have been erased since the state was read: then no word of them may come back.
        connection.execute(
            "INSERT INTO marks SELECT ?1, uid, 'baseline', ?3, 'retention', ?4 FROM users WHERE uid = ?2",
            (seq, uid, ts, document),
        )
        past = f"SELECT seq FROM decisions AS d WHERE uid = ?2 AND seq <= ?1 AND NOT {_IS_REWARDED}"  # noqa: S608 (a constant)
        connection.execute(f"DELETE FROM decision_ids WHERE seq IN ({past})", (cutoff, uid))  # noqa: S608 (a constant)
        connection.execute(f"DELETE FROM decisions WHERE seq IN ({past})", (cutoff, uid))  # noqa: S608 (a constant)
        past = f"SELECT seq FROM rewards AS r WHERE uid = ?2 AND NOT {_IS_REPLAYED}"  # noqa: S608 (a constant)
        keyed = f"SELECT {_PAST_REWARD} WHERE r.seq IN ({past}) AND {_HAS_KEY}"
        connection.execute(f"INSERT INTO past_rewards {keyed}", (cutoff, uid))
        connection.execute(f"DELETE FROM rewards WHERE seq IN ({past})", (cutoff, uid))  # noqa: S608 (a constant)
        connection.execute("DELETE FROM revocations WHERE uid = ? AND seq <= ?", (uid, cutoff))
