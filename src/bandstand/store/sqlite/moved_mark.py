"""The mark of a ledger whose events have been moved elsewhere: no service may write here any more."""

import json
import sqlite3
from dataclasses import dataclass

from bandstand.errors import ConfigurationError
from bandstand.times import to_datetime

_KEY = "moved"


@dataclass(frozen=True, slots=True)
class MovedMark:
    """Where a ledger went.

    Attributes:
        target: the database and its schema, without what is secret.
        ts: when, in seconds since the epoch.
    """

    target: str
    ts: float


def read_moved_mark(connection: sqlite3.Connection) -> MovedMark | None:
    """The mark, or ``None`` if events are still written here."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return None if row is None else MovedMark(**json.loads(row[0]))


def write_moved_mark(connection: sqlite3.Connection, mark: MovedMark) -> None:
    """Let nobody write here from now on."""
    document = json.dumps({"target": mark.target, "ts": mark.ts}).encode()
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_KEY, document))


def require_not_moved(connection: sqlite3.Connection) -> None:
    """Refuse to write to a ledger that was moved.

    Raises:
        ConfigurationError: it was.
    """
    mark = read_moved_mark(connection)
    if mark is not None:
        day = to_datetime(mark.ts).isoformat(timespec="seconds")
        raise ConfigurationError(
            f"this ledger was moved to {mark.target} at {day}: set STATE_URL; nothing is written here any more"
        )
