"""The decision log: what was decided, what it earned and what was forgotten, in the order in which it happened.

It is read a page of event numbers at a time, each page in a transaction of its own: a reader that takes hours beside a
service never keeps the write-ahead log from being emptied, and holds a page in memory, whatever the ledger's size.
"""

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from bandstand.bandit.profile import Profile
from bandstand.store.logged_events import (
    PAGE,
    EventLog,
    LoggedDecision,
    LoggedEvent,
    LoggedReset,
    LoggedReward,
    LoggedState,
)
from bandstand.store.maintenance.offline import OpenedDirectory
from bandstand.store.records import first_seq_at
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.sqlite.schema import find_last_seq

# A reward that a reset kept from teaching was given all the same. One that names its decision is surer than a link.
# One that was taken back, for another or for none, never stood.
_NOT_REVOKED = (
    "NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq AND v.seq <= {last} AND v.ts <= {end})"
)
_REWARD = f"""(SELECT value FROM rewards AS r
    WHERE r.{{column}} = d.seq AND r.seq <= ?4 AND r.ts <= ?6 AND (r.applied OR r.reason = 'reset')
      AND {_NOT_REVOKED.format(last="?4", end="?6")} ORDER BY seq DESC LIMIT 1)"""  # noqa: S608 (constants)
_DECISIONS = f"""SELECT seq, uid, policy, ts, seed, pick, propensity, body, numbers,
        coalesce({_REWARD.format(column="decision_seq")}, {_REWARD.format(column="linked_seq")})
    FROM decisions AS d WHERE seq > ?1 AND seq <= ?2 AND seq >= ?3 AND ts >= ?5 AND ts <= ?6
      AND EXISTS (SELECT 1 FROM users AS u WHERE u.uid = d.uid)
      AND NOT EXISTS (SELECT 1 FROM windows AS w WHERE w.decision = d.seq AND w.held)"""  # noqa: S608 (constants)
_REWARDS = f"""SELECT r.seq, r.uid, r.ts, r.value, r.weight, r.features,
        CASE WHEN r.features IS NULL THEN d.seq END, d.body, d.pick
    FROM rewards AS r LEFT JOIN decisions AS d ON d.seq = coalesce(r.decision_seq, r.linked_seq)
    WHERE r.seq > ?1 AND r.seq <= ?2 AND r.applied AND r.ts <= ?4
      AND EXISTS (SELECT 1 FROM users AS u WHERE u.uid = r.uid)
      AND {_NOT_REVOKED.format(last="?3", end="?4")}"""  # noqa: S608 (constants)
_MARKS = """SELECT seq, uid, ts, kind, document FROM marks
    WHERE seq > ? AND seq <= ? AND ts <= ? AND kind IN ('reset', 'import') AND uid IS NOT NULL"""
_NTH = "SELECT seq FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?"
_BASELINES = """SELECT seq, uid, document FROM marks WHERE kind = 'baseline' AND seq > ? ORDER BY seq LIMIT ?"""


@dataclass(frozen=True, slots=True)
class DirectoryEventLog(EventLog):
    """The log of an observed state directory."""

    state: OpenedDirectory

    def read_events(
        self, *, since: float | None = None, until: float | None = None, page: int = PAGE
    ) -> Iterator[list[LoggedEvent]]:
        """As :func:`read_events`."""
        return read_events(self.state, since=since, until=until, page=page)

    def count_events(self) -> int:
        """As :func:`count_events`."""
        return count_events(self.state)


def read_events(
    state: OpenedDirectory, *, since: float | None = None, until: float | None = None, page: int = PAGE
) -> Iterator[list[LoggedEvent]]:
    """Every event of the ledger as of now, in order, in lists of bounded length.

    States that replace events which retention deleted come first. What was decided before them is left out, also where
    the ledger still has it for the sake of a late reward.

    Args:
        state: an observed state directory.
        since: decisions before this time are left out; what they taught is not.
        until: nothing after this time is read, rewards included.
        page: most events of one kind in a list.
    """
    connection = state.connection
    # An event's number is never before its time, and may be long after it: a clock that was ahead, and set back.
    first = 0 if since is None else first_seq_at(since)
    begin, end = -math.inf if since is None else since, math.inf if until is None else until
    with state.snapshot():
        last = find_last_seq(connection)
        state.registry.load(connection)  # a policy may be newer than the registry, but not than its decisions
    kept = dict[int, int]()
    for baselines in _read_baselines(state, page):
        kept.update((each.uid, each.profile.seq) for each in baselines)
        yield list(baselines)
    names = state.registry.get_names()
    after = 0
    while after < last:
        with state.snapshot():
            bound = _find_page_end(connection, after, last, page)
            decisions = connection.execute(_DECISIONS, (after, bound, first, last, begin, end)).fetchall()
            rewards = connection.execute(_REWARDS, (after, bound, last, end)).fetchall()
            marks = connection.execute(_MARKS, (after, bound, end)).fetchall()
        events: list[LoggedEvent] = [_to_decision(row, names) for row in decisions if row[0] > kept.get(row[1], 0)]
        events += [_to_reward(row) for row in rewards if row[0] > kept.get(row[1], 0)]
        events += [_to_mark_event(row) for row in marks if row[0] > kept.get(row[1], 0)]
        events.sort(key=attrgetter("seq"))
        yield events
        after = bound


def count_events(state: OpenedDirectory) -> int:
    """About how many events :func:`read_events` gives: rows of the ledger, few of which it passes over."""
    query = "SELECT (SELECT count(*) FROM decisions) + (SELECT count(*) FROM rewards) + (SELECT count(*) FROM marks)"
    return int(state.connection.execute(query).fetchone()[0])


def _read_baselines(state: OpenedDirectory, page: int) -> Iterator[list[LoggedState]]:
    after = 0
    while rows := state.connection.execute(_BASELINES, (after, page)).fetchall():
        yield [LoggedState(0, uid, 0.0, Profile.from_json(json.loads(document))) for _, uid, document in rows]
        after = rows[-1][0]


def _find_page_end(connection: sqlite3.Connection, after: int, last: int, page: int) -> int:
    """The event number up to which no table has more than a page of rows."""
    ends = [
        connection.execute(_NTH.format(table=table), (after, page - 1)).fetchone()
        for table in ("decisions", "rewards", "marks")
    ]
    return min([last, *(int(end[0]) for end in ends if end is not None)])


def _to_decision(row: tuple[Any, ...], names: Mapping[int, str]) -> LoggedDecision:
    seq, uid, policy, ts, seed, pick, propensity, body, numbers, reward = row
    means, _, _, probabilities = np.frombuffer(numbers, dtype=np.float64).reshape(4, -1)
    request = unpack_body(body)
    return LoggedDecision(seq, uid, names[policy], ts, seed, pick, propensity, probabilities, request, reward, means)


def _to_reward(row: tuple[Any, ...]) -> LoggedReward:
    seq, uid, ts, value, weight, features, decision_seq, body, pick = row
    if features is not None:
        legacy = json.loads(features)
        # Under another schema, context may be read from what was sent as a feature.
        request = {"context": legacy["features"] | legacy["context"], "candidates": [{"features": legacy["features"]}]}
        body, pick = json.dumps(request).encode(), 0
    return LoggedReward(seq, uid, ts, value, weight, decision_seq, pick, unpack_body(body))


def _to_mark_event(row: tuple[Any, ...]) -> LoggedReset | LoggedState:
    seq, uid, ts, kind, document = row
    if kind == "reset":
        return LoggedReset(seq, uid, ts)
    return LoggedState(seq, uid, ts, Profile.from_json(json.loads(document)))
