"""Erasure: everything the ledger holds about one user goes in one transaction, and a tombstone stays."""

import hashlib
import sqlite3

from bandstand.store.records import Erasure
from bandstand.store.sqlite.transaction import transaction
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert


def compute_tombstone(secret: bytes, user_id: str) -> bytes:
    """A keyed hash: recognises the user's old documents without naming the user."""
    return hashlib.blake2b(user_id.encode("utf-8"), key=secret, digest_size=16, person=b"tombstone").digest()


def delete_user(
    connection: sqlite3.Connection, *, uid: int, tombstone: bytes, seq: int, ts: float, client: str
) -> Erasure:
    """Delete the rows of ``uid``; pages are overwritten (``secure_delete``)."""
    with transaction(connection):
        for table in ("rewards", "past_rewards"):
            rewarded = f"(SELECT seq FROM {table} WHERE uid = ?)"  # noqa: S608 (constants)
            connection.execute(f"DELETE FROM idempotency WHERE reward_seq IN {rewarded}", (uid,))  # noqa: S608 (constants)
        connection.execute("DELETE FROM past_rewards WHERE uid = ?", (uid,))
        connection.execute("DELETE FROM decision_ids WHERE seq IN (SELECT seq FROM decisions WHERE uid = ?)", (uid,))
        decided = "(SELECT seq FROM decisions WHERE uid = ?)"
        shadows = connection.execute(f"DELETE FROM shadows WHERE decision IN {decided}", (uid,)).rowcount  # noqa: S608 (constants)
        decisions = connection.execute("DELETE FROM decisions WHERE uid = ?", (uid,)).rowcount
        rewards = connection.execute("DELETE FROM rewards WHERE uid = ?", (uid,)).rowcount
        judged = "(SELECT seq FROM judgements WHERE uid = ?)"
        for table, column in (("turns", "judgement"), ("idempotency", "reward_seq")):
            connection.execute(f"DELETE FROM {table} WHERE {column} IN {judged}", (uid,))  # noqa: S608 (constants)
        connection.execute(
            """UPDATE judgement_totals SET count = count - (SELECT count(*) FROM judgements AS j
                WHERE j.uid = ? AND j.state = 'waiting' AND j.policy = judgement_totals.policy)
                WHERE state = 'waiting'""",
            (uid,),
        )
        connection.execute("DELETE FROM conclusions WHERE uid = ?", (uid,))
        verdicts = connection.execute("DELETE FROM verdicts WHERE uid = ?", (uid,)).rowcount
        turns = connection.execute("DELETE FROM judgements WHERE uid = ?", (uid,)).rowcount
        revocations = connection.execute("DELETE FROM revocations WHERE uid = ?", (uid,)).rowcount
        enrolments = connection.execute("DELETE FROM enrolments WHERE uid = ?", (uid,)).rowcount
        marks = connection.execute("DELETE FROM marks WHERE uid = ?", (uid,)).rowcount
        generations = connection.execute("DELETE FROM generations WHERE uid = ?", (uid,)).rowcount
        if connection.execute("DELETE FROM users WHERE uid = ?", (uid,)).rowcount:
            connection.execute(
                "INSERT OR REPLACE INTO tombstones (user_hash, seq, ts) VALUES (?, ?, ?)", (tombstone, seq, ts)
            )
            connection.execute(INSERT_ONE_MARK, MarkInsert(seq, None, "erasure", ts, client, None))
    return Erasure(
        decisions,
        rewards,
        marks,
        generations=generations,
        revocations=revocations,
        turns=turns,
        verdicts=verdicts,
        enrolments=enrolments,
        shadows=shadows,
    )


def find_tombstone_seq(connection: sqlite3.Connection, secret: bytes, user_id: str) -> int:
    """The number of the user's last erasure; -1 for none. A document no newer than it is discarded."""
    query = "SELECT seq FROM tombstones WHERE user_hash = ?"
    row = connection.execute(query, (compute_tombstone(secret, user_id),)).fetchone()
    return -1 if row is None else int(row[0])
