"""Decisions of a shared ledger as they are read: the queries, and what becomes of their rows."""

from typing import Any

import numpy as np

from bandstand.store.ids import format_id
from bandstand.store.records import Decision, Reward, RewardWindow
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.tables.policies import PolicyRegistry

_DECISION_FIELDS = """i.decision_id, u.user_id, whom.user_id AS subject, d.seq, d.nonce, d.uid, d.policy, d.client,
    d.ts, d.tip_id, d.pick, d.exploring, d.seed, d.score, d.propensity, d.floor, d.version, d.body, d.numbers,
    d.picked, w.held, w.due, w.fallback, w.awaits"""
_WHOM = "LEFT JOIN subjects AS s ON s.seq = d.seq LEFT JOIN users AS whom ON whom.uid = s.uid"
_GIVEN = """EXISTS (SELECT 1 FROM rewards AS r WHERE r.decision_seq = d.seq) OR EXISTS (
        SELECT 1 FROM rewards AS r WHERE r.linked_seq = d.seq AND r.features IS NULL) AS has_reward,
    EXISTS (SELECT 1 FROM reward_parts AS p WHERE p.decision = d.seq) AS has_parts,
    (SELECT coalesce(max(j.seq), 0) FROM judgements AS j WHERE j.decision_seq = d.seq AND j.state = 'waiting')
        AS pending_turn"""


def _build_find_decision(decision_id: str, seq: str, nonce: str) -> str:
    return f"""SELECT {_DECISION_FIELDS}, {_GIVEN} FROM decisions AS d JOIN users AS u ON u.uid = d.uid
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq LEFT JOIN windows AS w ON w.decision = d.seq
    {_WHOM} WHERE d.seq = {seq} AND d.nonce = {nonce}
    UNION ALL SELECT {_DECISION_FIELDS}, {_GIVEN} FROM decision_ids AS i JOIN decisions AS d ON d.seq = i.seq
    JOIN users AS u ON u.uid = d.uid LEFT JOIN windows AS w ON w.decision = d.seq
    {_WHOM} WHERE i.decision_id = {decision_id} LIMIT 1"""  # noqa: S608 (constants)


DECISION = _build_find_decision("$1", "$2", "$3")
"""A decision, and whether there is more to read of it."""
DECISIONS_BY_ID = f"""SELECT g.place, d.* FROM unnest($1::text[], $2::bigint[], $3::text[]) WITH ORDINALITY
        AS g(decision_id, seq, nonce, place)
    CROSS JOIN LATERAL ({_build_find_decision("g.decision_id", "g.seq", "g.nonce")}) AS d"""  # noqa: S608 (constants)
"""The same for several; the place says of which."""
HISTORY = f"""SELECT {_DECISION_FIELDS} FROM users AS u JOIN decisions AS d ON d.uid = u.uid
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq LEFT JOIN windows AS w ON w.decision = d.seq
    {_WHOM} WHERE u.user_id = $1 AND d.version >= u.reset_version ORDER BY d.seq DESC LIMIT $2"""  # noqa: S608 (constants)
SUBJECT_HISTORY = f"""SELECT {_DECISION_FIELDS} FROM users AS whom JOIN subjects AS s ON s.uid = whom.uid
    JOIN decisions AS d ON d.seq = s.seq JOIN users AS u ON u.uid = d.uid
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq LEFT JOIN windows AS w ON w.decision = d.seq
    WHERE whom.user_id = $1 AND d.version >= u.reset_version ORDER BY s.seq DESC LIMIT $2"""  # noqa: S608 (constants)
REWARD_FIELDS = """r.seq, u.user_id, r.policy, r.tip_id, r.value, r.client, r.ts, r.body_hash, r.decision_seq, r.source,
    r.weight, r.applied AND v.seq IS NULL AS applied, CASE WHEN v.seq IS NULL THEN r.reason ELSE 'revoked' END AS reason
    FROM rewards AS r JOIN users AS u ON u.uid = r.uid LEFT JOIN revocations AS v ON v.reward_seq = r.seq"""
REWARD_OF_DECISION = f"""SELECT {REWARD_FIELDS} WHERE r.decision_seq = $1 OR r.linked_seq = $1 AND r.features IS NULL
    ORDER BY r.n DESC LIMIT 1"""
_NUMBERS = 4


def build_decision_id(row: Any) -> str:
    """The id of a decision's row: the caller's own, or ours."""
    decision_id: str = row["decision_id"] if row["nonce"] is None else format_id(row["seq"], row["nonce"])
    return decision_id


def to_decision(row: Any, registry: PolicyRegistry) -> Decision:
    """A decision of the ledger, without its reward."""
    return Decision(
        decision_id=build_decision_id(row),
        own_id=row["nonce"] is None,
        seq=row["seq"],
        user_id=row["user_id"],
        subject=row["subject"],
        policy=registry.get_ref(row["policy"]),
        client=row["client"],
        ts=row["ts"],
        tip_id=row["tip_id"],
        pick=row["pick"],
        exploring=row["exploring"],
        seed=row["seed"],
        score=row["score"],
        propensity=row["propensity"],
        floor=row["floor"],
        body=unpack_body(row["body"]),
        numbers=np.frombuffer(row["numbers"], dtype=np.float64).reshape(_NUMBERS, -1),
        x=None,
        uid=row["uid"],
        window=None if row["held"] is None else RewardWindow(row["held"], row["due"], row["fallback"]),
    )


def to_reward(row: Any, registry: PolicyRegistry) -> Reward:
    """A reward of the ledger, as it stands."""
    return Reward(
        user_id=row["user_id"],
        policy=registry.get_ref(row["policy"]),
        tip_id=row["tip_id"],
        value=row["value"],
        client=row["client"],
        ts=row["ts"],
        body_hash=row["body_hash"],
        x=None,
        decision_seq=row["decision_seq"],
        source=row["source"],
        weight=row["weight"],
        applied=row["applied"],
        reason=row["reason"],
        seq=row["seq"],
    )
