"""Arms: what the users of each arm of a split earned, by user and summed over them, as of now and of every day."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bandstand.store.sqlite.statements import build_columns, build_upsert
from bandstand.store.sqlite.sweep import Sweep

REWARD = "reward"
"""The metric that there always is."""
LEFT_OUT = ""
"""Under which values are counted, and not added up, whose metric has no place."""
MAX_METRICS = 20
"""Names of other metrics that a split has place for; the first that come have it."""


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

    def merge(self, other: "ArmSums") -> "ArmSums":
        """The sums over these users and others, of the same arm: no user may be in both, for squares are by user."""
        amounts: Any = (ours + theirs for ours, theirs in zip(self[3:], other[3:], strict=True))
        return ArmSums(*self[:3], *amounts)


_NAMES = ArmSums._fields
_KEY, _AMOUNTS = _NAMES[:3], _NAMES[3:]
_UPSERT_SUMS = build_upsert("arm_sums", ArmSums, key=3)
_SELECT_USER = "SELECT decisions, n, total FROM arm_users WHERE split = ? AND uid = ? AND arm = ? AND metric = ?"
_DELETE_USER = "DELETE FROM arm_users WHERE split = ? AND uid = ? AND arm = ? AND metric = ?"
_UPSERT_USER = """INSERT INTO arm_users (split, uid, arm, metric, decisions, n, total)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET decisions = excluded.decisions, n = excluded.n, total = excluded.total"""
_KEEP_DAY = f"""INSERT OR REPLACE INTO arm_days (split, day, {", ".join(_NAMES[1:])})
    SELECT split, ?, {", ".join(_NAMES[1:])} FROM arm_sums WHERE split = ? AND metric = '{REWARD}'"""  # noqa: S608 (constants)
_SELECT_METRICS = "SELECT DISTINCT metric FROM arm_sums WHERE split = ?"
_SUBTRACT_USER = """UPDATE arm_sums SET users = users - 1, rewarded = rewarded - (a.n > 0),
        decisions = arm_sums.decisions - a.decisions, n = arm_sums.n - a.n, total = arm_sums.total - a.total,
        nn = nn - a.n * a.n, nt = nt - a.n * a.total, tt = tt - a.total * a.total
    FROM (SELECT * FROM arm_users WHERE id = ?) AS a
    WHERE arm_sums.split = a.split AND arm_sums.arm = a.arm AND arm_sums.metric = a.metric"""
# Nobody else brought it: the name goes, too. Where names were left out it keeps its place, or what comes of earlier
# values would look for them under another one than they were counted under.
_FREE_NAME = f"""DELETE FROM arm_sums WHERE users = 0 AND metric NOT IN ('{REWARD}', '{LEFT_OUT}')
    AND (split, arm, metric) = (SELECT split, arm, metric FROM arm_users WHERE id = ?)
    AND NOT EXISTS (SELECT 1 FROM arm_sums AS more WHERE more.split = arm_sums.split AND more.metric = '{LEFT_OUT}')"""  # noqa: S608 (constants)

ERASE_SWEEP = Sweep(
    "SELECT id, 1 FROM arm_users WHERE uid = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4",
    {"arm_sums": _SUBTRACT_USER, "arm_names": _FREE_NAME, "arm_users": "DELETE FROM arm_users WHERE id = ?"},
)
"""Takes an erased user out of the sums as of now; those of past days name nobody, and stay."""


@dataclass(slots=True)
class ArmChange:
    """What a page of events adds to one user in one arm, of one metric.

    Attributes:
        first_seq: the first part that it is of; 0 for the reward.
        decisions: of the reward, how many; of another metric, how many brought it.
        n: of these, those with a reward that stands.
        total: the sum of what these brought.
    """

    first_seq: int = 0
    decisions: int = 0
    n: int = 0
    total: float = 0.0

    def __bool__(self) -> bool:
        """Whether it changes anything."""
        return bool(self.decisions or self.n or self.total)


ArmKey = tuple[int, int, str, str]
"""Split, user, arm and metric."""
ArmChanges = dict[ArmKey, ArmChange]
UserAmounts = tuple[int, int, float]
"""Decisions, n and total of a user in an arm."""


@dataclass(frozen=True, slots=True)
class ArmHistory:
    """The arms of one split.

    Attributes:
        now: the newest sums, by metric and arm.
        days: as of the end of each day since the epoch, the oldest first: by arm, of the reward.
        left_out: values whose metric has no place among the first that came.
    """

    now: Mapping[str, Mapping[str, ArmSums]]
    days: Sequence[tuple[int, Mapping[str, ArmSums]]] = field(default_factory=list)
    left_out: int = 0

    def merge(self, other: "ArmHistory") -> "ArmHistory":
        """The arms over these users and others, none in both; of a day that one lacks, its day before."""
        metrics = dict.fromkeys([*self.now, *other.now])
        now = {name: _merge_arms(self.now.get(name, {}), other.now.get(name, {})) for name in metrics}
        ours, theirs = dict(self.days), dict(other.days)
        days, before = [], (dict[str, ArmSums](), dict[str, ArmSums]())
        for day in sorted(ours.keys() | theirs.keys()):
            before = (dict(ours.get(day, before[0])), dict(theirs.get(day, before[1])))
            days.append((day, _merge_arms(*before)))
        return ArmHistory(now, days, self.left_out + other.left_out)


def _merge_arms(ours: Mapping[str, ArmSums], theirs: Mapping[str, ArmSums]) -> dict[str, ArmSums]:
    merged = dict(ours)
    for arm, sums in theirs.items():
        merged[arm] = merged[arm].merge(sums) if arm in merged else sums
    return merged


def build_history(
    sums: Mapping[str, Mapping[str, ArmSums]], days: Sequence[tuple[int, Mapping[str, ArmSums]]]
) -> ArmHistory:
    """The arms of a split, from its sums by metric and arm; what was left out is a number."""
    left_out = sum(each.n for each in sums.get(LEFT_OUT, {}).values())
    return ArmHistory({metric: by_arm for metric, by_arm in sums.items() if metric != LEFT_OUT}, days, left_out)


def find_place(metric: str, known: set[str]) -> str:
    """The name under which a metric of rewards is added up; it is known from then on."""
    if metric not in known and (metric == LEFT_OUT or len(known - {REWARD, LEFT_OUT}) >= MAX_METRICS):
        return LEFT_OUT
    known.add(metric)
    return metric


def apply_changes(connection: sqlite3.Connection, changes: ArmChanges, present: set[int], day: int) -> None:
    """Add what a page brings to the users that are still known and to the sums, inside the caller's transaction."""
    known: dict[int, set[str]] = {}
    for (split, uid, arm, metric), change in sorted(changes.items(), key=lambda each: each[1].first_seq):
        if split not in known:
            known[split] = {name for (name,) in connection.execute(_SELECT_METRICS, (split,))}
        if uid in present and change:
            key = (split, uid, arm, metric if metric == REWARD else find_place(metric, known[split]))
            now, amounts = compute_amounts(key, connection.execute(_SELECT_USER, key).fetchone(), change)
            if now is None:
                connection.execute(_DELETE_USER, key)
            else:
                connection.execute(_UPSERT_USER, (*key, *now))
            connection.execute(_UPSERT_SUMS, (split, arm, key[-1], *amounts))
    for split in known:
        connection.execute(_KEEP_DAY, (day, split))


def compute_amounts(
    key: ArmKey, before: UserAmounts | None, change: ArmChange
) -> tuple[UserAmounts | None, tuple[float, ...]]:
    """What a change makes of a user in an arm, of a metric, and what it adds to the arm's sums.

    Args:
        key: split, user, arm and metric.
        before: decisions, n and total of the user; ``None`` if the arm has not met them.
        change: what a page adds.

    Returns:
        The user's decisions, n and total, ``None`` if nothing is left; and the amounts of :class:`ArmSums`.
    """
    decisions, n, total = before or (0, 0, 0.0)
    now = (max(decisions + change.decisions, 0), max(n + change.n, 0), total + change.total)
    is_there = any(now[:2])
    if key[-1] == LEFT_OUT or not is_there:
        now = (*now[:2], 0.0)  # of many metrics, or of none
    return now if is_there else None, (
        int(is_there) - int(before is not None),
        int(now[1] > 0) - int(n > 0),
        now[0] - decisions,
        now[1] - n,
        now[2] - total,
        now[1] * now[1] - n * n,
        now[1] * now[2] - n * total,
        now[2] * now[2] - total * total,
    )


def load_arms(connection: sqlite3.Connection, split: int) -> ArmHistory:
    """The sums of a split's arms."""
    columns = build_columns("a", ArmSums)
    now: dict[str, dict[str, ArmSums]] = defaultdict(dict)
    for row in connection.execute(f"SELECT {columns} FROM arm_sums AS a WHERE split = ? AND users > 0", (split,)):  # noqa: S608 (constants)
        sums = ArmSums(*row)
        now[sums.metric][sums.arm] = sums
    days: dict[int, dict[str, ArmSums]] = defaultdict(dict)
    query = f"SELECT day, {columns} FROM arm_days AS a WHERE split = ? AND metric = ? ORDER BY day"  # noqa: S608 (constants)
    for day, *rest in connection.execute(query, (split, REWARD)):
        sums = ArmSums(*rest)
        days[day][sums.arm] = sums
    return build_history(now, list(days.items()))
