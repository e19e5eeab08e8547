"""Baselines of a directory made of what retention has left in a shared ledger.

There, decisions go by their age and leave counts; rewards go later and leave a state, and keep their features. A
directory has one state in place of all events up to one of them. So a user who has lost something gets a baseline as of
the last event that a directory could not fold: what retention has folded, resets and imports before counts, rewards
whose decision is gone, and what takes back any of these.
"""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.bandit.profile import Profile, StateKey
from bandstand.store.learners.documents import parse
from bandstand.store.maintenance.offline import Tick
from bandstand.store.postgres.connections import Session
from bandstand.store.postgres.folding import fold_events
from bandstand.store.postgres.profiles import EVENTS
from bandstand.store.postgres.returned_rows import IS_READABLE
from bandstand.store.records import first_seq_at
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.tables.policies import PolicyRegistry

_USERS = f"""SELECT u.uid, u.user_id, u.reset_version, coalesce(b.version, 0) AS version, b.last, b.document
    FROM users AS u LEFT JOIN baselines AS b ON b.uid = u.uid WHERE u.uid IN (
        SELECT uid FROM baselines UNION SELECT uid FROM pulls UNION SELECT uid FROM users WHERE user_id = $1
        UNION SELECT r.uid FROM rewards AS r WHERE NOT {IS_READABLE}) ORDER BY u.uid"""  # noqa: S608 (constants)
_UNREADABLE = f"SELECT max(n) FROM rewards AS r WHERE uid = $1 AND NOT {IS_READABLE}"  # noqa: S608 (constants)
_REVOCATIONS = "SELECT n, reward_n FROM revocations WHERE uid = $1 ORDER BY n"
_NUMBERED = """SELECT n, seq, kind FROM marks WHERE uid = $1 AND n IS NOT NULL
    UNION ALL SELECT n, seq, 'reward' FROM rewards WHERE uid = $1
    UNION ALL SELECT n, seq, 'revocation' FROM revocations WHERE uid = $1"""
_DECISIONS = "SELECT seq, policy, exploring, version, ts FROM decisions WHERE uid = $1"
_PULLS = "SELECT policy, pulls, explores, last FROM pulls WHERE uid = $1"
_PULLS_OF_ALL = """SELECT policy, sum(pulls)::bigint AS pulls, sum(explores)::bigint AS explores, max(last) AS last
    FROM (
        SELECT policy, pulls, explores, last FROM pulls WHERE uid = $1
        UNION ALL SELECT policy, decisions, explores, 0 FROM rollups_s WHERE hour = -1 AND policy > 0
        UNION ALL SELECT d.policy, -1, -d.exploring::integer, 0 FROM decisions AS d JOIN users AS u ON u.uid = d.uid
        WHERE d.uid = $1 AND d.version >= u.reset_version) AS p
    GROUP BY policy HAVING sum(pulls) <> 0 OR sum(explores) <> 0"""
"""Of everybody's model: what the totals of all decisions have, and the decisions that are there have not."""
_ADD_MARK = "INSERT INTO marks (seq, uid, kind, ts, client, document) VALUES (?, ?, ?, ?, 'retention', ?)"
_IS_TAKEN = "SELECT EXISTS (SELECT 1 FROM {table} WHERE seq = ?)"


class ReturnedBaselines:
    """Writes the baselines of a new ledger.

    Args:
        connection: to it.
        session: of the shared ledger, in the snapshot that was copied.
        registry: the policies by the ids that rows use.
        moved: new event numbers by old ones.
        has_one_model: whether all decisions are one user's.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        session: Session,
        registry: PolicyRegistry,
        moved: Mapping[int, int],
        *,
        has_one_model: bool = False,
    ) -> None:
        self._has_one_model = has_one_model
        self._connection = connection
        self._session = session
        self._registry = registry
        self._moved = moved
        self._last = 0
        self._written = 0

    async def write(self, tick: Tick) -> int:
        """Write all; returns how many."""
        spent = int(await self._session.fetchval("SELECT max(last_seq) FROM slots"))
        self._last = max(spent, find_last_seq(self._connection))
        self._connection.execute("BEGIN")
        for user in await self._session.fetch(_USERS, EVERYBODY if self._has_one_model else ""):
            await self._write_user(user)
            tick()
        self._connection.execute("COMMIT")
        return self._written

    async def _write_user(self, user: Any) -> None:
        uid, session = user["uid"], self._session
        is_everybody = self._has_one_model and user["user_id"] == EVERYBODY
        pulls = await session.fetch(_PULLS_OF_ALL if is_everybody else _PULLS, uid)
        if is_everybody and not pulls and user["document"] is None and await session.fetchval(_UNREADABLE, uid) is None:
            return  # every event is there
        places = {row["n"]: self._moved.get(row["seq"], row["seq"]) for row in await session.fetch(_NUMBERED, uid)}
        decisions = await session.fetch(_DECISIONS, uid)
        last_n = await self._find_last(user)
        profile = Profile(user["user_id"]) if user["document"] is None else parse(user["document"])
        for key in profile.policies:
            profile.restart(key, self._registry.get_memory(key[0]).since)
        events = await session.fetch(EVENTS, uid, profile.seq)
        fold_events(self._registry, profile, [event for event in events if event["n"] <= last_n])
        profile.reset_seq = self._place_reset(user, places, decisions)
        following = [seq for n, seq in places.items() if n > last_n]
        profile.seq = max(places.get(last_n) or first_seq_at(user["last"] or 0.0), profile.reset_seq)
        if following:
            profile.seq = min(profile.seq, min(following) - 1)
        self._count(profile, user["reset_version"], decisions, pulls)
        self._add_mark(uid, "baseline", user["last"] or 0.0, json.dumps(profile.to_json(), separators=(",", ":")))
        self._written += 1

    async def _find_last(self, user: Any) -> int:
        """The number of the last event that goes into the baseline."""
        uid, session = user["uid"], self._session
        imported = await session.fetchval("SELECT max(n) FROM marks WHERE uid = $1 AND kind = 'import'", uid)
        unreadable = await session.fetchval(_UNREADABLE, uid)
        last_n = max(user["version"], user["reset_version"], imported or 0, unreadable or 0)
        for row in await session.fetch(_REVOCATIONS, uid):  # in order: each may bring the next in
            if row["reward_n"] <= last_n:
                last_n = max(last_n, row["n"])
        return int(last_n)

    def _place_reset(self, user: Any, places: Mapping[int, int], decisions: list[Any]) -> int:
        """The event number of the newest reset; it is marked again if a decision from before it is still there."""
        version = user["reset_version"]
        if not version or version in places:
            return places[version] if version else 0
        before = max((row["seq"] for row in decisions if row["version"] < version), default=0)
        seq = before + 1
        if before:
            while self._is_taken(seq):
                seq += 1
            self._connection.execute(_ADD_MARK, (seq, user["uid"], "reset", user["last"] or 0.0, None))
        return seq

    def _is_taken(self, seq: int) -> bool:
        return any(
            self._connection.execute(_IS_TAKEN.format(table=table), (seq,)).fetchone()[0]
            for table in ("decisions", "rewards", "revocations", "marks", "reward_parts", "judgements", "generations")
        )

    def _count(self, profile: Profile, reset_version: int, decisions: list[Any], pulls: list[Any]) -> None:
        """Let the baseline count what the decisions after it do not."""
        counts: dict[StateKey, list[int]] = {key: [0, 0] for key in profile.policies}
        for row in pulls:
            key = self._registry.get_ref(row["policy"]).key
            count = counts.setdefault(key, [0, 0])
            count[0] += row["pulls"]
            count[1] += row["explores"]
            state = profile.get_state(key)
            state.last_updated = max(state.last_updated or 0.0, row["last"])
        for row in decisions:
            counted = (row["version"] >= reset_version) - (row["seq"] > profile.seq)
            if counted:
                key = self._registry.get_ref(row["policy"]).key
                count = counts.setdefault(key, [0, 0])
                count[0] += counted
                count[1] += counted * row["exploring"]
                state = profile.get_state(key)
                state.last_updated = max(state.last_updated or 0.0, row["ts"])
        for key, (pulled, explored) in counts.items():
            state = profile.get_state(key)
            state.pulls, state.explores = pulled, explored

    def _add_mark(self, uid: int, kind: str, ts: float, document: str) -> None:
        self._last += 1
        self._connection.execute(_ADD_MARK, (self._last, uid, kind, ts, document))
