"""When a user's events happened, where a clock was ahead and has been set back since.

Event numbers order events, and never run back. So an event that is dated after a later one was dated by a clock that
was ahead: it cannot have happened after that one, and counts as of then. Nothing else is known of such a moment; if the
clock never ran back, every event counts as of its own time.
"""

import sqlite3

from bandstand.bandit.profile import Profile
from bandstand.times import CLOCK_SLACK_S

_TIMES = """SELECT seq, ts FROM decisions WHERE seq IN (SELECT seq FROM user_decisions WHERE uid = ?1 AND seq > ?2)
    UNION ALL SELECT seq, ts FROM rewards WHERE seq IN (SELECT seq FROM user_rewards WHERE uid = ?1 AND seq > ?2)
    ORDER BY seq"""
_EARLIEST = f"SELECT min(ts) FROM ({_TIMES})"  # noqa: S608 (constants)


class EventTimes:
    """The times of a user's decisions and rewards after an event, as they count.

    Args:
        connection: to the ledger.
        uid: the user.
        after: number of the event after which they are wanted.
    """

    def __init__(self, connection: sqlite3.Connection, uid: int, after: int) -> None:
        events = connection.execute(_TIMES, (uid, after)).fetchall()
        self._bent: dict[int, float] = {}
        earliest = float("inf")
        for seq, ts in reversed(events):
            if ts > earliest + CLOCK_SLACK_S:
                self._bent[seq] = earliest
            earliest = min(earliest, ts)

    @property
    def is_bent(self) -> bool:
        """Whether any event counts as of another time than its own."""
        return bool(self._bent)

    def get_time(self, seq: int, ts: float) -> float:
        """The time of the event ``seq``, which is dated ``ts``, as it counts."""
        return self._bent.get(seq, ts)


def is_dated_ahead(connection: sqlite3.Connection, uid: int, profile: Profile) -> bool:
    """Whether something happened after the events of a profile, and before the time to which its sums have decayed."""
    latest = max((state.as_of for state in profile.policies.values() if state.half_life), default=0.0)
    if not latest:
        return False
    (earliest,) = connection.execute(_EARLIEST, (uid, profile.seq)).fetchone()
    return earliest is not None and earliest < latest - CLOCK_SLACK_S
