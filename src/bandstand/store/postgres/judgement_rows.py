"""Rows of turns and judgements in PostgreSQL, and how they are read back."""

from typing import Any

from bandstand.store.ids import format_id
from bandstand.store.postgres.schema import build_striped_upsert
from bandstand.store.tables.judgement_rows import ConclusionInsert, JudgementInsert, TurnInsert, VerdictInsert
from bandstand.store.tables.judgements import JudgedTurn
from bandstand.store.tables.policies import PolicyRegistry


def _build_insert(table: str, fields: tuple[str, ...]) -> str:
    places = ", ".join(f"${number}" for number in range(1, len(fields) + 1))
    return f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({places})"  # noqa: S608 (constants)


_FIELDS = JudgementInsert._fields
ADD_JUDGEMENT = _build_insert("judgements", (*_FIELDS, "version", "claimed_by"))
ADD_TEXTS = _build_insert("turns", TurnInsert._fields)
ADD_VERDICT = _build_insert("verdicts", VerdictInsert._fields)
ADD_CONCLUSION = _build_insert("conclusions", ConclusionInsert._fields)
ADD_RESERVATION = f"""{_build_insert("judge_spending", ("seq", "day", "tokens", "usd", "settled"))}
    ON CONFLICT (seq) DO NOTHING"""
SETTLE = "UPDATE judge_spending SET tokens = $2, usd = $3, settled = true WHERE seq = $1"
COUNT_JUDGEMENTS = build_striped_upsert(
    "judgement_totals",
    """SELECT policy, state, coalesce(reason, ''), $5::smallint, sum(delta)
        FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[]) AS t(policy, state, reason, delta)
        GROUP BY 1, 2, 3""",
)
ADD_CLAIM = "INSERT INTO claims (uid, decision_seq, holder) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

_COLUMNS = ", ".join(f"j.{name}" for name in _FIELDS)
SELECT_JUDGEMENT = f"""SELECT u.user_id, d.nonce AS decision_nonce, i.decision_id AS own_id, {_COLUMNS}, j.version
    FROM judgements AS j JOIN users AS u ON u.uid = j.uid LEFT JOIN decisions AS d ON d.seq = j.decision_seq
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq WHERE"""  # noqa: S608 (constants)
FIND_BY_KEY = f"{SELECT_JUDGEMENT} j.seq = (SELECT reward_seq FROM idempotency WHERE scope = $1 AND key = $2)"  # noqa: S608 (constants)


def to_judged_turn(row: Any, registry: PolicyRegistry) -> JudgedTurn:
    """A judgement of the ledger, without its turn."""
    decision_id = row["own_id"]
    if row["decision_nonce"] is not None:
        decision_id = format_id(row["decision_seq"], row["decision_nonce"])
    return JudgedTurn(
        judgement_id=format_id(row["seq"], row["nonce"]),
        seq=row["seq"],
        user_id=row["user_id"],
        policy=registry.get_ref(row["policy"]),
        tip_id=row["tip_id"],
        taxonomy=row["taxonomy"],
        body_hash=row["body_hash"],
        client=row["client"],
        ts=row["ts"],
        decision_seq=row["decision_seq"],
        decision_id=decision_id,
        features=row["features"],
        uid=row["uid"],
        state=row["state"],
        reason=row["reason"],
        tries=row["tries"],
        rounds=row["rounds"],
        verdict_seq=row["verdict_seq"],
        reward_seq=row["reward_seq"],
    )
