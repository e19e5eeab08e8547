"""Gains: what decisions earned compared with what random and the caller's first candidate would have earned.

Each decision keeps the means q that its policy had *before* the reward r, so the doubly robust term of a target π,
φ = Σ π(a) q(a) + π(A)/p (r − q(A)), is the target's value in expectation, whatever was learned from earlier decisions:
no model is fitted, and nothing is fitted twice. The sums are made behind the commits, a page of events at a time, and
a page and its place in the log are committed at once. What a page adds to a decision is the term of the reward that
stands after it less that of the one that stood before: so a reward, its revocation and what replaces it are one case.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bandstand.store.records import Array, to_time
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.sqlite.statements import build_columns, build_upsert
from bandstand.store.sqlite.sweep import Sweep
from bandstand.store.sqlite.transaction import transaction
from bandstand.store.tables.arms import LEFT_OUT, REWARD, ArmChange, ArmChanges, apply_changes
from bandstand.store.tables.loop_health import to_day
from bandstand.store.tables.splits import SplitLog, read_splits
from bandstand.store.tables.windows import NOT_FIRST

TARGETS = ("random", "first")
"""What the served policies are compared with: a uniform pick, and the candidate that the caller put first."""

_FOLLOWER = "gains"
_UPDATE_POSITION = "UPDATE followers SET seq = ? WHERE name = ?"
_NTH = "SELECT seq FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?"

# A reward that a reset kept from teaching was given all the same, and one that names its decision is surer than a link:
# as the decision log has it, as of an event.
_STANDING = """(SELECT value FROM rewards AS r WHERE r.{column} = d.seq AND r.seq <= {seq}
    AND (r.applied OR r.reason = 'reset')
    AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq AND v.seq <= {seq})
    ORDER BY {order} DESC LIMIT 1)"""


def build_standing_sql(seq: str, order: str = "r.seq") -> str:
    """The SQL expression of the value of the reward that stands for a decision ``d`` after the event ``seq``.

    Args:
        seq: an expression.
        order: what grows with a reward's number, for a planner that a bare column would lead astray.
    """
    columns = (_STANDING.format(column=column, seq=seq, order=order) for column in ("decision_seq", "linked_seq"))
    return f"coalesce({', '.join(columns)})"


_STANDING_BEFORE, _STANDING_AFTER = build_standing_sql("?1"), build_standing_sql("?2")
# Whose it is: in a loop with one model for everybody, whom the decision was made for.
_OF_PERSON = """LEFT JOIN subjects AS s ON s.seq = d.seq JOIN users AS u ON u.uid = coalesce(s.uid, d.uid)
    JOIN policies AS p ON p.id = d.policy"""
_TOUCHED = f"""SELECT d.seq, u.uid, d.policy, d.ts, d.pick, d.numbers, u.user_id, p.name,
        {_STANDING_BEFORE}, {_STANDING_AFTER}
    FROM (SELECT coalesce(decision_seq, linked_seq) AS seq FROM rewards WHERE seq > ?1 AND seq <= ?2
        UNION SELECT coalesce(r.decision_seq, r.linked_seq)
        FROM revocations AS v JOIN rewards AS r ON r.seq = v.reward_seq
        WHERE v.seq > ?1 AND v.seq <= ?2
        UNION SELECT decision FROM reward_parts WHERE seq > ?1 AND seq <= ?2) AS touched
    JOIN decisions AS d ON d.seq = touched.seq {_OF_PERSON}"""  # noqa: S608 (constants)
_DECIDED = f"""SELECT d.seq, u.uid, u.user_id, p.name FROM decisions AS d {_OF_PERSON}
    WHERE d.seq > ? AND d.seq <= ?"""  # noqa: S608 (constants)
_METRICS = f"""SELECT seq, metrics FROM reward_parts WHERE decision = ? AND seq <= ? AND metrics IS NOT NULL
    AND (reason IS NULL OR reason = '{NOT_FIRST}') ORDER BY seq"""  # noqa: S608 (constants)


class GainDay(NamedTuple):
    """Sums over the rewarded decisions of one policy on one day; see ``gains.sql`` for each."""

    day: int
    policy: Any
    rewarded: int
    r: float
    rr: float
    residuals: float
    random: float
    random_squares: float
    random_r: float
    random_w: float
    random_ww: float
    random_v: float
    random_lost: float
    first: float
    first_squares: float
    first_r: float
    first_w: float
    first_ww: float
    first_v: float
    first_lost: float

    def merge(self, other: "GainDay") -> "GainDay":
        """The sums over these decisions and others, of the same policy and day."""
        amounts: Any = (ours + theirs for ours, theirs in zip(self[2:], other[2:], strict=True))
        return GainDay(self.day, self.policy, *amounts)


class GainUser(NamedTuple):
    """The part of one user in a :class:`GainDay`."""

    uid: int
    day: int
    policy: int
    rewarded: int
    r: float
    rr: float
    residuals: float
    random: float
    random_squares: float
    random_r: float
    random_w: float
    random_ww: float
    random_v: float
    random_lost: float
    first: float
    first_squares: float
    first_r: float
    first_w: float
    first_ww: float
    first_v: float
    first_lost: float


_AMOUNTS = GainDay._fields[2:]
_UPSERT_DAY = build_upsert("gain_days", GainDay, key=2)
_UPSERT_USER = build_upsert("gain_users", GainUser, key=3)
_SUBTRACT_USER = f"""UPDATE gain_days SET {", ".join(f"{name} = gain_days.{name} - g.{name}" for name in _AMOUNTS)}
    FROM (SELECT * FROM gain_users WHERE id = ?) AS g
    WHERE gain_days.day = g.day AND gain_days.policy = g.policy"""  # noqa: S608 (constants)
_DELETE_USER = "DELETE FROM gain_users WHERE id = ?"

ERASE_SWEEP = Sweep(
    "SELECT id, 1 FROM gain_users WHERE uid = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4",
    {"gain_days": _SUBTRACT_USER, "gain_users": _DELETE_USER},
)
"""Takes the part of an erased user out of the sums."""
TRIM_SWEEP = Sweep(
    """SELECT id, day < (?3 >> 20) / 86400000 FROM gain_users
    WHERE uid = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4""",
    {"gain_users": _DELETE_USER},
)
"""Lets go of whose part it was in the sums of days that retention takes."""


@dataclass(frozen=True, slots=True)
class GainSums:
    """What was summed, and how far.

    Attributes:
        days: by day and name of the policy, the oldest first; a policy that was redefined has one for each definition.
        seq: number of the last event that is in them.
    """

    days: Sequence[GainDay]
    seq: int

    def merge(self, other: "GainSums") -> "GainSums":
        """The sums over two parts of the decisions, up to the later event of the two.

        A policy that was redefined has one entry for each definition, as it has in every part.
        """
        merged: dict[tuple[int, Any, int], GainDay] = {}
        for days in (self.days, other.days):
            seen = Counter[tuple[int, Any]]()
            for each in days:
                key = (each.day, each.policy, seen[each.day, each.policy])
                seen[each.day, each.policy] += 1
                merged[key] = merged[key].merge(each) if key in merged else each
        return GainSums([merged[key] for key in sorted(merged)], max(self.seq, other.seq))


@dataclass(slots=True)
class GainPage:
    """What a page of events adds.

    Attributes:
        after: number of the event before its first.
        until: number of its last event.
        is_last: there was nothing after it.
        amounts: by user, day and policy's row, in the order of :class:`GainDay`.
        arms: what it adds to the users of each arm.
    """

    after: int
    until: int
    is_last: bool
    amounts: dict[tuple[int, int, int], Array] = field(default_factory=dict)
    arms: ArmChanges = field(default_factory=lambda: defaultdict(ArmChange))


def compute_terms(means: Array, probabilities: Array, picks: Array, rewards: Array) -> Array:
    """What rewarded decisions of equally many candidates add to the sums.

    Args:
        means: q of each candidate, (n, K).
        probabilities: p of each, (n, K).
        picks: index of the picked one, (n,).
        rewards: (n,).

    Returns:
        The amounts in the order of :class:`GainDay`, (n, 18).
    """
    n, count = means.shape
    rows = np.arange(n)
    residuals, propensities = rewards - means[rows, picks], probabilities[rows, picks]
    has_chance = probabilities > 0.0
    inverse = np.divide(1.0, probabilities, out=np.zeros((n, count)), where=has_chance)
    columns = [np.ones(n), rewards, rewards * rewards, residuals * residuals]
    for weight, baseline, expected, lost in (
        (1.0 / count / propensities, means.mean(axis=1), inverse.sum(axis=1) / count**2, 1.0 - has_chance.mean(axis=1)),
        ((picks == 0) / propensities, means[:, 0], inverse[:, 0], 1.0 - has_chance[:, 0]),
    ):
        phi = baseline + weight * residuals
        columns += [phi, phi * phi, phi * rewards, weight, weight * weight, expected, lost]
    terms: Array = np.stack(columns, axis=1)
    return terms


def read_position(connection: sqlite3.Connection) -> int:
    """The number of the last event that is in the sums."""
    query = "SELECT seq FROM followers WHERE name = ?"
    return int(connection.execute(query, (_FOLLOWER,)).fetchone()[0])


def read_page(connection: sqlite3.Connection, size: int, secret: bytes) -> GainPage | None:
    """What the next events add, no more than ``size`` of a kind; ``None`` for no event.

    Args:
        connection: to the ledger.
        size: events of a kind.
        secret: of the deployment, which says who is in which arm.
    """
    after, last = read_position(connection), find_last_seq(connection)
    if last <= after:
        return None
    splits = read_splits(connection, secret)
    has_splits = splits.is_any_after(after)
    followed = (*_FOLLOWED, "decisions") if has_splits else _FOLLOWED
    ends = [connection.execute(_NTH.format(table=table), (after, size - 1)).fetchone() for table in followed]
    until = min([last, *(int(end[0]) for end in ends if end is not None)])
    page = GainPage(after, until, is_last=until == last)
    if has_splits:
        add_decided(page, connection.execute(_DECIDED, (after, until)), splits)
    touched = connection.execute(_TOUCHED, (after, until)).fetchall()
    add_changes(page, touched, splits, lambda seq: connection.execute(_METRICS, (seq, until)).fetchall())
    return page


def add_changes(
    page: GainPage,
    touched: Sequence[tuple[Any, ...]],
    splits: SplitLog,
    list_parts: Callable[[int], Sequence[tuple[int, str]]],
) -> None:
    """Add the results of decisions to a page.

    Args:
        page: whose.
        touched: number, user, policy's row, time, pick, numbers, user id, policy's name, and the reward that stood
            before and the one that stands now.
        splits: every split that there was.
        list_parts: the parts that count of a decision by now, and what each brought by name, in order.
    """
    for key, terms in _compute_changes(touched):
        so_far = page.amounts.get(key)
        page.amounts[key] = terms if so_far is None else so_far + terms
    for seq, uid, *_, user_id, policy, before, now in touched:
        arms = list(splits.find_arms(user_id, policy, seq))
        for split, arm in arms:
            change = page.arms[split, uid, arm, REWARD]
            change.n += (now is not None) - (before is not None)
            change.total += (now or 0.0) - (before or 0.0)
        if arms:
            parts = list_parts(seq)
            earlier = [part for part in parts if part[0] <= page.after]
            _add_metrics(page, uid, arms, [] if before is None else earlier, -1)
            _add_metrics(page, uid, arms, [] if now is None else parts, 1)


def add_decided(page: GainPage, decided: Iterable[tuple[Any, ...]], splits: SplitLog) -> None:
    """Add decisions, each with its number, user, user id and policy's name, to the arms that they belong to."""
    for seq, uid, user_id, policy in decided:
        for split, arm in splits.find_arms(user_id, policy, seq):
            page.arms[split, uid, arm, REWARD].decisions += 1


_FOLLOWED = ("rewards", "revocations", "reward_parts")


def _add_metrics(
    page: GainPage, uid: int, arms: Sequence[tuple[int, str]], parts: Iterable[tuple[int, str]], sign: int
) -> None:
    """Add what the parts of a decision brought by name, or take it out: they stand while its reward does."""
    brought: dict[str, tuple[int, float]] = {}
    for seq, document in parts:
        for metric, value in json.loads(document).items():
            first, total = brought.get(metric, (seq, 0.0))
            brought[metric] = (first, total + value)
    for split, arm in arms:
        for metric, (first, total) in brought.items():
            place = LEFT_OUT if metric == REWARD else metric  # the name is taken
            change = page.arms[split, uid, arm, place]
            change.first_seq = min(change.first_seq or first, first)
            change.decisions += sign
            change.n += sign
            change.total += sign * total


def _compute_changes(touched: Iterable[tuple[Any, ...]]) -> Iterator[tuple[tuple[int, int, int], Array]]:
    """What each decision adds: the term of the reward that stands now less that of the one that stood before."""
    groups: dict[int, list[tuple[tuple[int, int, int], int, int, bytes, float]]] = defaultdict(list)
    for _, uid, policy, ts, pick, numbers, _, _, before, now in touched:
        if before == now or not numbers:
            continue
        key = (uid, to_day(ts), policy)
        for reward, sign in ((before, -1), (now, 1)):
            if reward is not None:
                groups[len(numbers)].append((key, sign, pick, numbers, reward))
    for rows in groups.values():
        keys, signs, picks, numbers, rewards = zip(*rows, strict=True)
        logged = np.frombuffer(b"".join(numbers)).reshape(len(rows), 4, -1)
        terms = compute_terms(logged[:, 0], logged[:, 3], np.array(picks), np.array(rewards))
        yield from zip(keys, np.array(signs)[:, np.newaxis] * terms, strict=True)


def apply_page(connection: sqlite3.Connection, page: GainPage) -> bool:
    """Add a page to the sums and move on, in one transaction; returns whether it did: another may have been quicker.

    A user who was erased since the page was read adds nothing: no word of them may come back.
    """
    with transaction(connection):
        if read_position(connection) != page.after:
            return False
        present = _find_users(connection, {uid for uid, _, _ in page.amounts} | {uid for _, uid, *_ in page.arms})
        days: dict[tuple[int, int], Array] = {}
        for (uid, *rest), amounts in page.amounts.items():
            if uid in present:
                day, policy = rest
                connection.execute(_UPSERT_USER, (uid, day, policy, *to_row(amounts)))
                so_far = days.get((day, policy))
                days[day, policy] = amounts if so_far is None else so_far + amounts
        for key, amounts in days.items():
            connection.execute(_UPSERT_DAY, (*key, *to_row(amounts)))
        apply_changes(connection, page.arms, present, to_day(to_time(page.until)))
        connection.execute(_UPDATE_POSITION, (page.until, _FOLLOWER))
    return True


def find_overdue_users(connection: sqlite3.Connection, cutoff: int) -> list[int]:
    """Users, by key, with a part in the sums of days before that of the event ``cutoff``."""
    query = "SELECT DISTINCT uid FROM gain_users WHERE day < (? >> 20) / 86400000"
    return [uid for (uid,) in connection.execute(query, (cutoff,))]


def load_gain_sums(connection: sqlite3.Connection) -> GainSums:
    """The sums of every day and policy."""
    names = dict(connection.execute("SELECT id, name FROM policies"))
    query = f"SELECT {build_columns('g', GainDay)} FROM gain_days AS g ORDER BY day, policy"  # noqa: S608 (constants)
    days = [GainDay(day, names[policy], *amounts) for day, policy, *amounts in connection.execute(query)]
    return GainSums(days, read_position(connection))


def to_row(amounts: Array) -> tuple[float, ...]:
    """Amounts in the order of :class:`GainDay` as a row has them."""
    rewarded, *sums = amounts.tolist()
    return int(rewarded), *sums


def _find_users(connection: sqlite3.Connection, uids: Iterable[int]) -> set[int]:
    known = "SELECT EXISTS (SELECT 1 FROM users WHERE uid = ?)"
    return {uid for uid in uids if connection.execute(known, (uid,)).fetchone()[0]}
