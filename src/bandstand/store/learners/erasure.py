"""Erasure: the user is gone in one small transaction, and everything that hangs on them in as many as it takes.

The first takes the user's row and leaves a tombstone: nobody finds, from then on, whose the other rows are. It also
notes that they are still there, so that whoever has the ledger next goes on where a process died.
"""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from bandstand.errors import BandstandError
from bandstand.store.records import Erasure
from bandstand.store.sqlite.sweep import Sweep, Sweeper
from bandstand.store.sqlite.transaction import transaction
from bandstand.store.tables import arms, gains
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

_RETRY_S = 1.0


def _build_sweep(table: str, deletes: Mapping[str, str], key: str = "seq") -> Sweep:
    find = f"SELECT {key}, 1 FROM {table} WHERE uid = ?1 AND {key} > ?2 AND {key} <= ?3 ORDER BY {key} LIMIT ?4"  # noqa: S608 (constants)
    return Sweep(find, {**deletes, table: f"DELETE FROM {table} WHERE {key} = ?"})  # noqa: S608 (constants)


_DELETE_KEY = "DELETE FROM idempotency WHERE reward_seq = ?"
_SWEEPS = (
    gains.ERASE_SWEEP,
    arms.ERASE_SWEEP,
    _build_sweep("marks", {}),
    _build_sweep("rewards", {"keys": _DELETE_KEY}),
    _build_sweep("past_rewards", {"keys": _DELETE_KEY}),
    _build_sweep(
        "decisions",
        {
            "decision_ids": "DELETE FROM decision_ids WHERE seq = ?",
            "shadows": "DELETE FROM shadows WHERE decision = ?",
        },
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


def load_unfinished(connection: sqlite3.Connection) -> dict[bytes, int]:
    """Users whose erasure has begun and not ended: their keys, by their tombstones."""
    return dict(connection.execute("SELECT user_hash, uid FROM erasures"))


def finish_all(connection: sqlite3.Connection) -> None:
    """Finish every erasure that has begun, for who has the ledger to themselves."""
    for uid in load_unfinished(connection).values():
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
    """

    def __init__(self, sweep: Callable[[Sweeper], Awaitable[None]]) -> None:
        self._sweep = sweep
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
            await self._sweep(sweeper)
        except BaseException:  # whoever asked has gone, or the disk refused
            self._left.add(tombstone)
            raise
        if self._uids.get(tombstone) == uid:
            del self._uids[tombstone]
        return sweeper.counts

    async def run(self) -> None:
        """Finish what a process that died has left, and what the disk refused."""
        while True:
            for tombstone in list(self._left):
                with suppress(sqlite3.Error, BandstandError):
                    await self.finish(tombstone)
            await asyncio.sleep(_RETRY_S)
