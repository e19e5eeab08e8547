"""Erasure: the user is gone in one small transaction, and everything that hangs on them in as many as it takes.

The first deletes the user's row and leaves a tombstone: from then on nobody can find out whose the other rows are. It
also notes that they are still there, so that the next process that owns the ledger continues where one died.
"""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from bandstand.errors import BandstandError
from bandstand.store.records import Erasure, Sequence
from bandstand.store.sqlite.sweep import Sweep, Sweeper
from bandstand.store.sqlite.transaction import transaction
from bandstand.store.tables import arms, gains
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

_RETRY_S = 1.0


PARTING: Final = "parting"
"""The kind of the mark of a model of many, from the erasure of one of them: documents from before are not believed."""

# A condition on a user's key ?1 and an event number ?2, for a SELECT without tables.
HAS_PARTING_SINCE: Final = f"EXISTS (SELECT 1 FROM marks WHERE uid = ?1 AND kind = '{PARTING}' AND seq > ?2)"  # noqa: S608 (constants)
"""A user whom this model had learned from was erased after it."""

_OWNERS = "SELECT DISTINCT d.uid FROM subjects AS s JOIN decisions AS d ON d.seq = s.seq WHERE s.uid = ?"


class PartedPulls(NamedTuple):
    """Decisions of an erased user that count in another user's model: whose model, of which policy."""

    owner: str
    policy: str
    schema: str
    pulls: int
    explores: int
    newest: float


def _build_sweep(table: str, deletes: Mapping[str, str], key: str = "seq", *, index: str | None = None) -> Sweep:
    find = (
        f"SELECT {key}, 1 FROM {index or table} WHERE uid = ?1 AND {key} > ?2 AND {key} <= ?3 ORDER BY {key} LIMIT ?4"  # noqa: S608 (constants)
    )
    return Sweep(find, {**deletes, table: f"DELETE FROM {table} WHERE {key} = ?"})  # noqa: S608 (constants)


def _build_delete(table: str, column: str, query: str) -> str:
    return f"DELETE FROM {table} WHERE {column} IN ({query})"  # noqa: S608 (constants)


_DELETE_KEY = "DELETE FROM idempotency WHERE reward_seq = ?"
_SUBJECT_REWARDS = "SELECT seq FROM rewards WHERE decision_seq = ?1 OR linked_seq = ?1 AND features IS NULL"
_SUBJECT_TURNS = "SELECT seq FROM judgements WHERE decision_seq = ?1"
_DELETE_PART_KEYS = "DELETE FROM idempotency WHERE reward_seq IN (SELECT seq FROM reward_parts WHERE decision = ?)"
_SWEEPS = (
    gains.ERASE_SWEEP,
    arms.ERASE_SWEEP,
    _build_sweep("marks", {}),
    _build_sweep("rewards", {"keys": _DELETE_KEY}, index="user_rewards"),
    _build_sweep("past_rewards", {"keys": _DELETE_KEY}),
    _build_sweep(
        "decisions",
        {
            "part keys": _DELETE_PART_KEYS,
            "parts": "DELETE FROM reward_parts WHERE decision = ?",
            "windows": "DELETE FROM windows WHERE decision = ?",
            "decision_ids": "DELETE FROM decision_ids WHERE seq = ?",
            "shadows": "DELETE FROM shadows WHERE decision = ?",
        },
        index="user_decisions",
    ),
    _build_sweep(
        "judgements",
        {
            "texts": "DELETE FROM turns WHERE judgement = ?",
            "keys": _DELETE_KEY,
            "verdicts": "DELETE FROM verdicts WHERE judgement = ?",
            "conclusions": "DELETE FROM conclusions WHERE judgement = ?",
            "totals": """UPDATE judgement_totals SET count = count - 1 WHERE state = 'waiting'
                AND policy = (SELECT policy FROM judgements WHERE seq = ? AND state = 'waiting')""",
        },
    ),
    _build_sweep("revocations", {}),
    # What others' model was taught of this user: it was taken back before, and goes with whom it was made for.
    _build_sweep(
        "subjects",
        {
            "keys": _build_delete("idempotency", "reward_seq", _SUBJECT_REWARDS),
            "revocations": _build_delete("revocations", "reward_seq", _SUBJECT_REWARDS),
            "rewards": _build_delete("rewards", "seq", _SUBJECT_REWARDS),
            "texts": _build_delete("turns", "judgement", _SUBJECT_TURNS),
            "turn keys": _build_delete("idempotency", "reward_seq", _SUBJECT_TURNS),
            "verdicts": _build_delete("verdicts", "judgement", _SUBJECT_TURNS),
            "conclusions": _build_delete("conclusions", "judgement", _SUBJECT_TURNS),
            "totals": """UPDATE judgement_totals SET count = count - 1 WHERE state = 'waiting'
                AND policy = (SELECT policy FROM judgements WHERE decision_seq = ? AND state = 'waiting')""",
            "judgements": "DELETE FROM judgements WHERE decision_seq = ?",
            "part keys": _DELETE_PART_KEYS,
            "parts": "DELETE FROM reward_parts WHERE decision = ?",
            "windows": "DELETE FROM windows WHERE decision = ?",
            "decision_ids": "DELETE FROM decision_ids WHERE seq = ?",
            "shadows": "DELETE FROM shadows WHERE decision = ?",
            "decisions": "DELETE FROM decisions WHERE seq = ?",
        },
    ),
    _build_sweep("generations", {}),
    # The last: nothing hangs on the key any more.
    _build_sweep("erasures", {}, key="uid"),
)


def compute_tombstone(secret: bytes, user_id: str) -> bytes:
    """A keyed hash: recognises the user's old documents without naming the user."""
    return hashlib.blake2b(user_id.encode("utf-8"), key=secret, digest_size=16, person=b"tombstone").digest()


def begin_erasure(
    connection: sqlite3.Connection, *, uid: int, tombstone: bytes, seq: int, ts: float, client: str
) -> tuple[bool, int]:
    """Make the user ``uid`` unknown; returns whether there was one, and in how many experiments they were."""
    with transaction(connection):
        if not connection.execute("DELETE FROM users WHERE uid = ?", (uid,)).rowcount:
            return False, 0
        enrolments = connection.execute("DELETE FROM enrolments WHERE uid = ?", (uid,)).rowcount
        connection.execute(
            "INSERT OR REPLACE INTO tombstones (user_hash, seq, ts) VALUES (?, ?, ?)", (tombstone, seq, ts)
        )
        connection.execute(INSERT_ONE_MARK, MarkInsert(seq, None, "erasure", ts, client, None))
        connection.execute("INSERT INTO erasures (uid, user_hash) VALUES (?, ?)", (uid, tombstone))
    return True, enrolments


def find_taught(connection: sqlite3.Connection, uid: int) -> list[int]:
    """The rewards, by event number, that models of others were taught for this user."""
    query = """SELECT r.seq FROM subjects AS s JOIN rewards AS r
        ON r.decision_seq = s.seq OR r.linked_seq = s.seq AND r.features IS NULL WHERE s.uid = ?"""
    return [seq for (seq,) in connection.execute(query, (uid,))]


def count_pulls(connection: sqlite3.Connection, uid: int) -> list[PartedPulls]:
    """Count the decisions made for this user in the models of others, where single ones can be distinguished."""
    query = """SELECT u.user_id, p.name, p.schema, count(*), sum(d.exploring), max(d.ts)
        FROM subjects AS s JOIN decisions AS d ON d.seq = s.seq JOIN policies AS p ON p.id = d.policy
        JOIN users AS u ON u.uid = d.uid
        WHERE s.uid = ? AND d.seq > coalesce((SELECT max(iif(kind = 'baseline', document ->> '$.ledger_seq', seq))
            FROM marks WHERE uid = d.uid AND kind IN ('reset', 'import', 'baseline')), 0)
        GROUP BY d.uid, p.name, p.schema"""
    return [PartedPulls(*row) for row in connection.execute(query, (uid,))]


def log_parting(connection: sqlite3.Connection, *, uid: int, seq: int, ts: float, client: str) -> None:
    """Write down, for every model that learned from this user as one of many, that they are gone."""
    for (owner,) in connection.execute(_OWNERS, (uid,)).fetchall():
        connection.execute(INSERT_ONE_MARK, MarkInsert(seq, owner, PARTING, ts, client, None))


def has_parting_since(connection: sqlite3.Connection, uid: int, seq: int) -> bool:
    """Whether a user whom this model had learned from was erased after the event ``seq``."""
    return bool(connection.execute(f"SELECT {HAS_PARTING_SINCE}", (uid, seq)).fetchone()[0])


def load_unfinished(connection: sqlite3.Connection) -> dict[bytes, int]:
    """Users whose erasure has begun and not ended: their keys, by their tombstones."""
    return dict(connection.execute("SELECT user_hash, uid FROM erasures"))


def finish_all(connection: sqlite3.Connection, sequence: Sequence, now: float) -> None:
    """Finish every erasure that has begun, for who has the ledger to themselves."""
    for uid in load_unfinished(connection).values():
        log_parting(connection, uid=uid, seq=sequence.next(now), ts=now, client="erasure")
        build_sweeper(uid).run_all(connection)


def build_sweeper(uid: int) -> Sweeper:
    """What deletes the rows that hang on the key of a user who is gone; pages are overwritten (``secure_delete``)."""
    return Sweeper(_SWEEPS, owner=uid)


def to_erasure(counts: Mapping[str, int], enrolments: int) -> Erasure:
    """What was deleted, as the receipt has it."""
    return Erasure(
        counts["decisions"],
        counts["rewards"],
        counts["marks"],
        generations=counts["generations"],
        revocations=counts["revocations"],
        turns=counts["judgements"],
        verdicts=counts["verdicts"],
        enrolments=enrolments,
        shadows=counts["shadows"],
        parts=counts["parts"],
    )


def find_tombstone_seq(connection: sqlite3.Connection, secret: bytes, user_id: str) -> int:
    """The number of the user's last erasure; -1 for none. A document no newer than it is discarded."""
    query = "SELECT seq FROM tombstones WHERE user_hash = ?"
    row = connection.execute(query, (compute_tombstone(secret, user_id),)).fetchone()
    return -1 if row is None else int(row[0])


class UnfinishedErasures:
    """Erasures that have begun and not ended, by the tombstone of their user.

    Args:
        sweep: deletes what a sweeper finds.
        part: takes what a user, by their key, taught out of a model that is not theirs.
    """

    def __init__(self, sweep: Callable[[Sweeper], Awaitable[None]], part: Callable[[int], Awaitable[None]]) -> None:
        self._sweep = sweep
        self._part = part
        self._parted: set[int] = set()  # of these, who has
        self._uids: dict[bytes, int] = {}
        self._left: set[bytes] = set()  # of these, what nobody is about

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._uids)

    def load(self, connection: sqlite3.Connection) -> None:
        """Read which a process that died has left."""
        self._uids = load_unfinished(connection)
        self._left = set(self._uids)

    def add(self, tombstone: bytes, uid: int) -> None:
        """Note that one has begun."""
        self._uids[tombstone] = uid

    async def finish(self, tombstone: bytes) -> Counter[str]:
        """Finish that of a user, if there is one; returns what was deleted, by table."""
        self._left.discard(tombstone)
        if (uid := self._uids.get(tombstone)) is None:
            return Counter()
        sweeper = build_sweeper(uid)
        try:
            if uid not in self._parted:
                await self._part(uid)
                self._parted.add(uid)
            await self._sweep(sweeper)
        except BaseException:  # whoever asked has gone, or the disk refused
            self._left.add(tombstone)
            raise
        if self._uids.get(tombstone) == uid:
            del self._uids[tombstone]
            self._parted.discard(uid)
        return sweeper.counts

    async def finish_all(self) -> None:
        """Finish every one: a model of many is read once nothing of those who are gone is left."""
        for tombstone in list(self._uids):
            await self.finish(tombstone)

    async def run(self) -> None:
        """Finish what a process that died has left, and what the disk refused."""
        while True:
            for tombstone in list(self._left):
                with suppress(sqlite3.Error, BandstandError):
                    await self.finish(tombstone)
            await asyncio.sleep(_RETRY_S)
