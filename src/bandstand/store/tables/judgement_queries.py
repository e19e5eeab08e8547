"""Questions about judgements: what waits, what was made of a turn, how many stand where, what was spent on them."""

import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any

from bandstand.store.ids import build_id_sql, format_id, parse_event_id
from bandstand.store.records import first_seq_at
from bandstand.store.sqlite.statements import build_columns
from bandstand.store.sqlite.sweep import Sweep, Sweeper
from bandstand.store.tables.judgement_rows import JudgementInsert
from bandstand.store.tables.judgements import JudgedTurn, JudgementState, TurnPage, TurnTotals
from bandstand.store.tables.policies import PolicyRegistry

_SPENDING_DAYS = 35
_ROWS_PER_ROUND = 500
_TEXTS = (
    Sweep(
        "SELECT judgement, 1 FROM turns WHERE judgement > ?2 AND judgement <= ?3 ORDER BY judgement LIMIT ?4",
        {"turns": "DELETE FROM turns WHERE judgement = ?"},
    ),
    Sweep(
        """SELECT judgement, 1 FROM verdicts WHERE quotes IS NOT NULL AND judgement > ?2 AND judgement <= ?3
            ORDER BY judgement LIMIT ?4""",
        {"quotes": "UPDATE verdicts SET quotes = NULL WHERE judgement = ?"},
    ),
)
_SELECT_JUDGEMENT = f"""SELECT u.user_id, coalesce(i.decision_id, {build_id_sql("d")}),
        {build_columns("j", JudgementInsert)}
    FROM judgements AS j JOIN users AS u ON u.uid = j.uid LEFT JOIN decisions AS d ON d.seq = j.decision_seq
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq WHERE"""  # noqa: S608 (constants)

_HAS_USER = "EXISTS (SELECT 1 FROM users WHERE uid = judgements.uid)"
"""Not one of a user who is gone, which is yet to be deleted."""


def find_judgement(connection: sqlite3.Connection, registry: PolicyRegistry, judgement_id: str) -> JudgedTurn | None:
    """The judgement of that id."""
    row = connection.execute(f"{_SELECT_JUDGEMENT} j.seq = ?", (parse_event_id(judgement_id),)).fetchone()
    found = None if row is None else _to_judged_turn(row, registry)
    return found if found is not None and found.judgement_id == judgement_id else None


def find_by_decision(
    connection: sqlite3.Connection, registry: PolicyRegistry, decision_seq: int, body_hash: bytes
) -> JudgedTurn | None:
    """The judgement of a decision that the same request made."""
    query = f"{_SELECT_JUDGEMENT} j.decision_seq = ? AND j.body_hash = ? ORDER BY j.seq LIMIT 1"
    row = connection.execute(query, (decision_seq, body_hash)).fetchone()
    return None if row is None else _to_judged_turn(row, registry)


def find_newest_of_decision(
    connection: sqlite3.Connection, registry: PolicyRegistry, decision_seq: int
) -> JudgedTurn | None:
    """The newest judgement that was to reward a decision."""
    row = connection.execute(
        f"{_SELECT_JUDGEMENT} j.decision_seq = ? ORDER BY j.seq DESC LIMIT 1", (decision_seq,)
    ).fetchone()
    return None if row is None else _to_judged_turn(row, registry)


def find_by_key(connection: sqlite3.Connection, registry: PolicyRegistry, scope: str, key: str) -> JudgedTurn | None:
    """The judgement that was requested with that Idempotency-Key."""
    query = f"{_SELECT_JUDGEMENT} j.seq = (SELECT reward_seq FROM idempotency WHERE scope = ? AND key = ?)"  # noqa: S608 (constants)
    row = connection.execute(query, (scope, key)).fetchone()
    return None if row is None else _to_judged_turn(row, registry)


def is_key_used(connection: sqlite3.Connection, scope: str, key: str) -> bool:
    """Whether anything was given with that Idempotency-Key."""
    query = "SELECT EXISTS (SELECT 1 FROM idempotency WHERE scope = ? AND key = ?)"
    return bool(connection.execute(query, (scope, key)).fetchone()[0])


def list_waiting(connection: sqlite3.Connection) -> list[tuple[int, str, int]]:
    """Every turn that waits, oldest first: its event number, its user, how often it was tried."""
    query = """SELECT j.seq, u.user_id, j.tries FROM judgements AS j JOIN users AS u ON u.uid = j.uid
        WHERE j.state = 'waiting' ORDER BY j.seq"""
    return connection.execute(query).fetchall()


def load_waiting(connection: sqlite3.Connection, registry: PolicyRegistry, seqs: Collection[int]) -> list[JudgedTurn]:
    """Those of the judgements ``seqs`` that still wait, each with its turn."""
    marks = ", ".join("?" * len(seqs))
    found = [
        _to_judged_turn(row, registry)
        for row in connection.execute(f"{_SELECT_JUDGEMENT} j.seq IN ({marks}) AND j.state = 'waiting'", tuple(seqs))
    ]
    texts = {
        seq: (query_t, answer_t, query_t1, about)
        for seq, query_t, answer_t, query_t1, about in connection.execute(
            f"SELECT judgement, query_t, answer_t, query_t1, about FROM turns WHERE judgement IN ({marks})",  # noqa: S608
            tuple(seqs),
        )
    }
    for each in found:
        each.texts = texts.get(each.seq)
    return found


def list_judgements(
    connection: sqlite3.Connection,
    registry: PolicyRegistry,
    states: Collection[JudgementState],
    before: int,
    limit: int,
) -> TurnPage:
    """Judgements in any of ``states``, newest first, from the cursor ``before``."""
    # The newest of each state, by its index; several states at once would all be sorted first.
    newest = f"""SELECT seq FROM (SELECT seq FROM judgements WHERE state = ? AND seq < ? AND {_HAS_USER}
        ORDER BY seq DESC LIMIT ?)"""  # noqa: S608 (a constant)
    query = f"{_SELECT_JUDGEMENT} j.seq IN ({' UNION ALL '.join([newest] * len(states))}) ORDER BY j.seq DESC LIMIT ?"
    values = [value for state in states for value in (state, before, limit + 1)]
    rows = connection.execute(query, (*values, limit + 1)).fetchall()
    found = [_to_judged_turn(row, registry) for row in rows[:limit]]
    return TurnPage(found, found[-1].seq if len(rows) > limit else None)


def list_judgement_ids(
    connection: sqlite3.Connection, states: Collection[JudgementState], since: float, reason: str | None
) -> list[str]:
    """Ids of the judgements in any of ``states``, taken since a time, oldest first."""
    marks, reason_at = ", ".join("?" * len(states)), len(states) + 3
    query = f"""SELECT {build_id_sql("judgements")} FROM judgements
        WHERE {_HAS_USER} AND state IN ({marks}) AND seq >= ? AND ts >= ?
            AND (?{reason_at} IS NULL OR reason = ?{reason_at})
        ORDER BY seq"""  # noqa: S608 (marks)
    return [row[0] for row in connection.execute(query, (*states, first_seq_at(since), since, reason))]


def load_detail(connection: sqlite3.Connection, judgement: JudgedTurn) -> dict[str, Any]:
    """All that is kept of a judgement: its verdicts, and what was made of them, oldest first."""
    verdicts = {seq: (client, ts, document) for seq, client, ts, document in _iter_verdicts(connection, judgement.seq)}
    query = """SELECT seq, cause, client, ts, verdict_seq, applied, state, reason, reward_seq,
            (SELECT value FROM rewards AS r WHERE r.seq = c.reward_seq)
        FROM conclusions AS c WHERE judgement = ? ORDER BY round"""
    return {
        "verdicts": verdicts,
        "conclusions": [
            {
                "cause": cause,
                "client": client,
                "ts": ts,
                "verdict": verdict_seq,
                "applied": None if applied is None else json.loads(applied),
                "state": state,
                "reason": reason,
                "reward": value if state == "taught" else None,
            }
            for _, cause, client, ts, verdict_seq, applied, state, reason, _, value in connection.execute(
                query, (judgement.seq,)
            )
        ],
    }


def is_out_of_reach(connection: sqlite3.Connection, reward_seq: int) -> bool:
    """Whether what a reward taught has become part of a baseline or was replaced by an import."""
    query = """SELECT r.applied AND v.seq IS NULL FROM rewards AS r LEFT JOIN revocations AS v ON v.reward_seq = r.seq
        WHERE r.seq = ?"""
    row = connection.execute(query, (reward_seq,)).fetchone()
    return row is None or bool(row[0])


def find_verdict(connection: sqlite3.Connection, judgement: JudgedTurn) -> dict[str, Any] | None:
    """The current verdict, as it was given, with what was last applied to it."""
    for seq, _, _, document in _iter_verdicts(connection, judgement.seq):
        if seq == judgement.verdict_seq:
            return document
    return None


def find_last_applied(connection: sqlite3.Connection, judgement: JudgedTurn) -> dict[str, Any] | None:
    """What the gate last applied to the current verdict."""
    query = "SELECT applied FROM conclusions WHERE judgement = ? ORDER BY round DESC LIMIT 1"
    row = connection.execute(query, (judgement.seq,)).fetchone()
    return None if row is None or row[0] is None else json.loads(row[0])


def list_update_times(connection: sqlite3.Connection, user_id: str, since: float) -> list[float]:
    """When the user's turns taught, since a time."""
    query = """SELECT r.ts FROM rewards AS r WHERE r.seq IN (
            SELECT seq FROM user_rewards WHERE uid = (SELECT uid FROM users WHERE user_id = ?) AND seq >= ?)
        AND r.ts >= ? AND r.source = 'judge' AND r.applied ORDER BY r.seq"""
    return [row[0] for row in connection.execute(query, (user_id, first_seq_at(since), since))]


def load_turn_totals(connection: sqlite3.Connection) -> list[TurnTotals]:
    """How many judgements stand where, by policy name."""
    query = """SELECT p.name, t.state, t.reason, sum(t.count) FROM judgement_totals AS t
        JOIN policies AS p ON p.id = t.policy GROUP BY p.name, t.state, t.reason HAVING sum(t.count) <> 0"""
    return [TurnTotals(*row) for row in connection.execute(query)]


def load_spending(connection: sqlite3.Connection, day: int) -> tuple[int, float]:
    """Tokens and US dollars of a day, with what is still reserved."""
    query = "SELECT coalesce(sum(tokens), 0), coalesce(sum(usd), 0.0) FROM judge_spending WHERE day = ?"
    tokens, usd = connection.execute(query, (day,)).fetchone()
    return int(tokens), float(usd)


def build_text_sweeper(cutoff: int) -> Sweeper:
    """What deletes the words of turns taken at or before ``cutoff``, and what quotes them."""
    return Sweeper(_TEXTS, until=cutoff)


def delete_old_spending(connection: sqlite3.Connection, today: int) -> bool:
    """Drop some of what was spent more than a month ago; returns whether there may be more."""
    old = "SELECT seq FROM judge_spending WHERE day < ? LIMIT ?"
    delete = f"DELETE FROM judge_spending WHERE seq IN ({old})"  # noqa: S608 (a constant)
    return connection.execute(delete, (today - _SPENDING_DAYS, _ROWS_PER_ROUND)).rowcount == _ROWS_PER_ROUND


def _iter_verdicts(connection: sqlite3.Connection, seq: int) -> Iterator[tuple[int, str, float, dict[str, Any]]]:
    query = "SELECT seq, client, ts, document, quotes FROM verdicts WHERE judgement = ? ORDER BY seq"
    for verdict_seq, client, ts, document, quotes in connection.execute(query, (seq,)):
        words = {"rationale": "", "raw": None} | ({} if quotes is None else json.loads(quotes))
        yield verdict_seq, client, ts, json.loads(document) | words


def _to_judged_turn(row: tuple[Any, ...], registry: PolicyRegistry) -> JudgedTurn:
    user_id, decision_id, *columns = row
    stored = JudgementInsert(*columns)
    return JudgedTurn(
        judgement_id=format_id(stored.seq, stored.nonce),
        seq=stored.seq,
        user_id=user_id,
        policy=registry.get_ref(stored.policy),
        tip_id=stored.tip_id,
        taxonomy=stored.taxonomy,
        body_hash=stored.body_hash,
        client=stored.client,
        ts=stored.ts,
        decision_seq=stored.decision_seq,
        decision_id=decision_id,
        features=stored.features,
        uid=stored.uid,
        state=stored.state,
        reason=stored.reason,
        tries=stored.tries,
        rounds=stored.rounds,
        verdict_seq=stored.verdict_seq,
        reward_seq=stored.reward_seq,
    )
