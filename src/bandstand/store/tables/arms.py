"""Arms: what came of the users of each arm of a split, by user and summed over them, as of now and of every day."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bandstand.store.sqlite.statements import build_columns, build_upsert
from bandstand.store.sqlite.sweep import Sweep

REWARD = "reward"
"""The metric that there always is."""


class ArmSums(NamedTuple):
    """Sums over the users of one arm; see ``arms.sql`` for each."""

    split: int
    arm: str
    metric: str
    users: int = 0
    rewarded: int = 0
    decisions: int = 0
    n: int = 0
    total: float = 0.0
    nn: int = 0
    nt: float = 0.0
    tt: float = 0.0


_NAMES = ArmSums._fields
_KEY, _AMOUNTS = _NAMES[:3], _NAMES[3:]
_UPSERT_SUMS = build_upsert("arm_sums", ArmSums, key=3)
_SELECT_USER = "SELECT decisions, n, total FROM arm_users WHERE split = ? AND uid = ? AND arm = ? AND metric = 'reward'"
_UPSERT_USER = """INSERT INTO arm_users (split, uid, arm, metric, decisions, n, total)
    VALUES (?, ?, ?, 'reward', ?, ?, ?)
    ON CONFLICT DO UPDATE SET decisions = excluded.decisions, n = excluded.n, total = excluded.total"""
_KEEP_DAY = f"""INSERT OR REPLACE INTO arm_days (split, day, {", ".join(_NAMES[1:])})
    SELECT split, ?, {", ".join(_NAMES[1:])} FROM arm_sums WHERE split = ?"""  # noqa: S608 (constants)
_SUBTRACT_USER = """UPDATE arm_sums SET users = users - 1, rewarded = rewarded - (a.n > 0),
        decisions = arm_sums.decisions - a.decisions, n = arm_sums.n - a.n, total = arm_sums.total - a.total,
        nn = nn - a.n * a.n, nt = nt - a.n * a.total, tt = tt - a.total * a.total
    FROM (SELECT * FROM arm_users WHERE id = ?) AS a
    WHERE arm_sums.split = a.split AND arm_sums.arm = a.arm AND arm_sums.metric = a.metric"""

ERASE_SWEEP = Sweep(
    "SELECT id, 1 FROM arm_users WHERE uid = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4",
    {"arm_sums": _SUBTRACT_USER, "arm_users": "DELETE FROM arm_users WHERE id = ?"},
)
"""Takes an erased user out of the sums as of now; those of past days name nobody, and stay."""


@dataclass(slots=True)
class ArmChange:
    """What a page of events adds to one user in one arm."""

    decisions: int = 0
    n: int = 0
    total: float = 0.0


ArmChanges = dict[tuple[int, int, str], ArmChange]
"""By split, user and arm."""


@dataclass(frozen=True, slots=True)
class ArmHistory:
    """The arms of one split.

    Attributes:
        now: the newest sums, by metric and arm.
        days: as of the end of each day since the epoch, the oldest first: by arm, of the reward.
    """

    now: Mapping[str, Mapping[str, ArmSums]]
    days: Sequence[tuple[int, Mapping[str, ArmSums]]] = field(default_factory=list)


def apply_changes(connection: sqlite3.Connection, changes: ArmChanges, present: set[int], day: int) -> None:
    """Add what a page brings to the users that are still known and to the sums, inside the caller's transaction."""
    touched = set()
    for (split, uid, arm), change in changes.items():
        if uid not in present:
            continue
        row = connection.execute(_SELECT_USER, (split, uid, arm)).fetchone()
        now, amounts = compute_amounts(row, change)
        connection.execute(_UPSERT_USER, (split, uid, arm, *now))
        connection.execute(_UPSERT_SUMS, (split, arm, REWARD, *amounts))
        touched.add(split)
    for split in touched:
        connection.execute(_KEEP_DAY, (day, split))


def compute_amounts(
    before: tuple[int, int, float] | None, change: ArmChange
) -> tuple[tuple[int, int, float], tuple[float, ...]]:
    """What a change makes of a user in an arm, and what it adds to the arm's sums.

    Args:
        before: decisions, n and total of the user; ``None`` where the arm has not met them.
        change: what a page adds.

    Returns:
        The user's decisions, n and total; and the amounts of :class:`ArmSums`.
    """
    decisions, n, total = before or (0, 0, 0.0)
    now = (max(decisions + change.decisions, 0), n + change.n, total + change.total)
    return now, (
        int(before is None),
        int(now[1] > 0) - int(n > 0),
        now[0] - decisions,
        change.n,
        change.total,
        now[1] * now[1] - n * n,
        now[1] * now[2] - n * total,
        now[2] * now[2] - total * total,
    )


def load_arms(connection: sqlite3.Connection, split: int) -> ArmHistory:
    """The sums of a split's arms."""
    columns = build_columns("a", ArmSums)
    now: dict[str, dict[str, ArmSums]] = defaultdict(dict)
    for row in connection.execute(f"SELECT {columns} FROM arm_sums AS a WHERE split = ?", (split,)):  # noqa: S608 (constants)
        sums = ArmSums(*row)
        now[sums.metric][sums.arm] = sums
    days: dict[int, dict[str, ArmSums]] = defaultdict(dict)
    query = f"SELECT day, {columns} FROM arm_days AS a WHERE split = ? AND metric = ? ORDER BY day"  # noqa: S608 (constants)
    for day, *rest in connection.execute(query, (split, REWARD)):
        sums = ArmSums(*rest)
        days[day][sums.arm] = sums
    return ArmHistory(now, list(days.items()))
