"""The events of one day, read from the ledger as rows of a file: a page at a time, each in a transaction of its own."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np

from bandstand.store.event_files.form import EventRow
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.maintenance.offline import OpenedDirectory
from bandstand.store.records import first_seq_at, to_time
from bandstand.store.sqlite.packing import unpack_body

PAGE: Final = 2000
"""Most events of one kind in a page, and rows of a file's group."""

_TABLES: Final = ("decisions", "rewards", "marks", "revocations")
# Where a model is everybody's, a decision is about whom it was made for; who is being erased is nobody any more.
_ABOUT: Final = """JOIN users AS u ON u.uid = {row}.uid LEFT JOIN subjects AS s ON s.seq = {decision}
    LEFT JOIN users AS su ON su.uid = s.uid"""
_WHOLE: Final = "(s.seq IS NULL OR su.uid IS NOT NULL)"
_STANDS: Final = """(SELECT value FROM rewards AS r WHERE r.{column} = d.seq AND (r.applied OR r.reason = 'reset')
    AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq) ORDER BY seq DESC LIMIT 1)"""
_DECISIONS: Final = f"""SELECT d.seq, d.uid, coalesce(su.user_id, u.user_id), d.ts, d.policy, d.seed, d.pick,
        d.propensity, d.body, d.numbers,
        coalesce({_STANDS.format(column="decision_seq")}, {_STANDS.format(column="linked_seq")}),
        EXISTS (SELECT 1 FROM windows AS w WHERE w.decision = d.seq AND w.held)
    FROM decisions AS d {_ABOUT.format(row="d", decision="d.seq")}
    WHERE d.seq > ?1 AND d.seq <= ?2 AND {_WHOLE}"""  # noqa: S608 (constants)
_REWARDS: Final = f"""SELECT r.seq, r.uid, coalesce(su.user_id, u.user_id), r.ts, r.value, r.weight, r.features,
        coalesce(r.decision_seq, r.linked_seq), r.decision_seq IS NULL, r.applied, d.body, d.pick
    FROM rewards AS r LEFT JOIN decisions AS d ON d.seq = coalesce(r.decision_seq, r.linked_seq)
    {_ABOUT.format(row="r", decision="d.seq")}
    WHERE r.seq > ?1 AND r.seq <= ?2 AND (r.applied OR r.reason = 'reset') AND {_WHOLE}
      AND (r.features IS NOT NULL OR d.body IS NOT NULL)"""  # noqa: S608 (constants)
_REVOCATIONS: Final = """SELECT v.seq, v.uid, u.user_id, v.ts, v.reward_seq
    FROM revocations AS v JOIN users AS u ON u.uid = v.uid WHERE v.seq > ?1 AND v.seq <= ?2"""
_MARKS: Final = """SELECT m.seq, m.uid, u.user_id, m.ts, m.kind, m.document
    FROM marks AS m JOIN users AS u ON u.uid = m.uid
    WHERE m.seq > ?1 AND m.seq <= ?2 AND m.kind IN ('reset', 'import')"""
_BASELINES: Final = """SELECT m.uid, u.user_id, m.document FROM marks AS m JOIN users AS u ON u.uid = m.uid
    WHERE m.kind = 'baseline' AND m.uid > ? ORDER BY m.uid LIMIT ?"""
_IDS: Final = ("user_id", "decision_id")
"""What a caller names, and may name people by."""

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_MAX_PICKS: Final = 5_000
"""Picks remembered until their reward comes, which spares reading the request again."""

_NTH: Final = "SELECT seq FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?"


class Baselines(NamedTuple):
    """The states that replace what retention has deleted.

    Attributes:
        rows: one a user, of kind ``baseline``.
        kept_until: by user, the event up to which everything is in the state.
    """

    rows: list[EventRow]
    kept_until: dict[int, int]


class DayReader:
    """Reads days of a ledger.

    Args:
        state: an observed state directory.
    """

    def __init__(self, state: OpenedDirectory) -> None:
        self._state = state
        self._secret = state.read_secret()
        self._users: dict[str, str] = {}
        self._picks: dict[int, dict[str, Any]] = {}  # by decision

    def find_first_day(self) -> date | None:
        """The day of the first event; None if there is none."""
        firsts = [
            self._state.connection.execute(f"SELECT min(seq) FROM {table}").fetchone()[0]  # noqa: S608 (a constant)
            for table in _TABLES
        ]
        known = [int(seq) for seq in firsts if seq is not None]
        return datetime.fromtimestamp(to_time(min(known)), UTC).date() if known else None

    def read_baselines(self) -> Baselines:
        """Read the states that replace deleted events."""
        connection, after = self._state.connection, -1
        rows: list[EventRow] = []
        while page := connection.execute(_BASELINES, (after, PAGE)).fetchall():
            rows += [self._build_state("baseline", *row) for row in page]
            after = page[-1][0]
        return Baselines(rows, {row.uid: row.seq for row in rows})

    def read_day(self, day: date, baselines: Baselines, *, is_first: bool) -> Iterator[list[EventRow]]:
        """Read a day's events, in order, a page at a time.

        What retention has taken before anybody wrote it down is a state in its place: on the first day of all before
        everything, on later ones where it ends.
        """
        self._state.registry.load(self._state.connection)  # a policy may be newer than the registry
        self._users.clear()
        names = self._state.registry.get_names()
        first, last = (first_seq_at(find_midnight(each)) - 1 for each in (day, day + timedelta(days=1)))
        if is_first:
            yield baselines.rows
        taken = [] if is_first else [row for row in baselines.rows if first < row.seq <= last]
        after = first
        while after < last:
            with self._state.snapshot():
                end = self._find_page_end(after, last)
                rows = [
                    row for row in self._read_page(after, end, names) if row.seq > baselines.kept_until.get(row.uid, 0)
                ]
            rows += [row._replace(kind="state") for row in taken if after < row.seq <= end]
            yield sorted(rows, key=attrgetter("seq"))
            after = end

    def _find_page_end(self, after: int, last: int) -> int:
        """The event number up to which no table has more than a page of rows."""
        ends = [
            self._state.connection.execute(_NTH.format(table=table), (after, PAGE - 1)).fetchone() for table in _TABLES
        ]
        return min([last, *(int(end[0]) for end in ends if end is not None)])

    def _read_page(self, after: int, end: int, names: Any) -> Iterator[EventRow]:
        connection, bounds = self._state.connection, (after, end)
        for row in connection.execute(_DECISIONS, bounds):
            yield self._build_decision(names, *row)
        for row in connection.execute(_REWARDS, bounds):
            yield self._build_reward(*row)
        for seq, uid, user_id, ts, revoked in connection.execute(_REVOCATIONS, bounds):
            yield EventRow("revocation", seq, uid, self._hash_user(user_id), ts, revoked=revoked)
        for seq, uid, user_id, ts, kind, document in connection.execute(_MARKS, bounds):
            if kind == "reset":
                yield EventRow("reset", seq, uid, self._hash_user(user_id), ts)
            else:
                yield self._build_state("state", uid, user_id, document)._replace(seq=seq, ts=ts)

    def _build_decision(self, names: Any, *row: Any) -> EventRow:
        seq, uid, user_id, ts, policy, seed, pick, propensity, body, numbers, reward, held = row
        means, _, _, probabilities = np.frombuffer(numbers, dtype=np.float64).reshape(4, -1)
        request = json.loads(unpack_body(body))
        for name in _IDS:
            request.pop(name, None)
        if reward is not None:
            if len(self._picks) >= _MAX_PICKS:
                del self._picks[next(iter(self._picks))]
            self._picks[seq] = _select_pick(request, pick)
        return EventRow(
            kind="decision",
            seq=seq,
            uid=uid,
            user=self._hash_user(user_id),
            ts=ts,
            policy=names[policy],
            seed=seed,
            pick=pick,
            propensity=propensity,
            probabilities=probabilities,
            means=means,
            request=_to_text(request),
            held=bool(held),
            reward=reward,
        )

    def _build_reward(self, *row: Any) -> EventRow:
        seq, uid, user_id, ts, value, weight, features, decision, linked, applied, body, pick = row
        if features is not None:
            legacy = json.loads(features)
            # Under another schema, context may be read from what was sent as a feature.
            picked = {
                "candidates": [{"features": legacy["features"]}],
                "context": legacy["features"] | legacy["context"],
            }
        else:
            known = self._picks.pop(decision, None)
            picked = _select_pick(json.loads(unpack_body(body)), pick) if known is None else known
        return EventRow(
            kind="reward",
            seq=seq,
            uid=uid,
            user=self._hash_user(user_id),
            ts=ts,
            reward=value,
            weight=weight,
            decision=decision,
            linked=bool(linked),
            legacy=features is not None,
            applied=bool(applied),
            picked=_to_text(picked),
        )

    def _build_state(self, kind: str, uid: int, user_id: str, document: str) -> EventRow:
        state = json.loads(document)
        seq = int(state["ledger_seq"])
        text = _to_text(state | {"user_id": ""})
        return EventRow(kind, seq, uid, self._hash_user(user_id), to_time(seq), document=text)

    def _hash_user(self, user_id: str) -> str:
        found = self._users.get(user_id)
        if found is None:
            found = self._users[user_id] = compute_tombstone(self._secret, user_id).hex()
        return found


def _select_pick(request: dict[str, Any], pick: int) -> dict[str, Any]:
    """A request with the picked candidate alone."""
    return {"candidates": [request["candidates"][pick]]} | (
        {"context": request["context"]} if "context" in request else {}
    )


def find_midnight(day: date) -> float:
    """When a day begins, in seconds since the epoch."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _to_text(document: Any) -> str:
    return _ENCODER.encode(document)
