"""Statements of windows that end: which have, and what silence comes to, for many users at once."""

from bandstand.store.postgres.decision_statements import (
    build_arrival_counts,
    build_prompt_counts,
    build_reward_counts,
)
from bandstand.store.tables.windows import LATE, LOGGING_ONLY, RESET, WINDOW_CLIENT

MAX_GROUP = 32
"""Windows that are closed in one transaction at most."""

FIND_DUE = f"""SELECT due, decision, uid FROM (
        SELECT w.due, w.decision, w.uid FROM windows AS w
        WHERE w.awaits AND w.due <= $1 AND (w.due, w.decision) > ($2::float8, $3::bigint)
            AND NOT EXISTS (SELECT 1 FROM judgements AS j WHERE j.decision_seq = w.decision AND j.state = 'waiting')
        ORDER BY w.due, w.decision LIMIT {MAX_GROUP}) AS w
    ORDER BY due, decision LIMIT $4"""  # noqa: S608 (constants)
"""Windows that have ended, after one of them: what was closed before it need not be walked past again.

The bound inside is there to be planned with: nobody would know that the one outside is small.
"""
HAS_AWAITING = "SELECT EXISTS (SELECT 1 FROM windows WHERE awaits)"

LOCK_SILENT = """WITH lead AS MATERIALIZED (
    SELECT 1 FROM leases WHERE name = 'upkeep' AND holder = $2 AND fence = $3 AND until > clock_timestamp() FOR SHARE)
SELECT uid FROM users WHERE uid = ANY ($1::bigint[]) AND ($2::text IS NULL OR EXISTS (SELECT 1 FROM lead))
    ORDER BY uid FOR NO KEY UPDATE"""
"""In order, as rewards lock their users: no two wait for each other. Nothing where another process leads by now."""

_STRIPE = 5
_RETURNED = """g.seq, g.uid, g.user_id, g.n, g.policy, g.decision_seq, g.nonce, i.decision_id, g.tip_id, g.value, g.ts,
    g.applied, g.reason, g.picked"""
_OWN_ID = "LEFT JOIN decision_ids AS i ON g.nonce IS NULL AND i.seq = g.decision_seq"
CLOSE_WINDOWS = f"""WITH due AS MATERIALIZED (
    SELECT w.decision, w.uid, w.due, w.held, w.fallback FROM windows AS w
    WHERE w.decision = ANY ($2::bigint[]) AND w.uid = ANY ($1::bigint[]) AND w.awaits AND w.fallback IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM judgements AS j WHERE j.decision_seq = w.decision AND j.state = 'waiting')),
settled AS (UPDATE windows AS w SET awaits = false FROM due WHERE w.decision = due.decision),
numbered AS MATERIALIZED (
    SELECT ($3::bigint[])[row_number() OVER (ORDER BY due.due, due.decision)] AS seq, d.uid, u.user_id, u.is_shadowed,
        u.version + row_number() OVER (PARTITION BY d.uid ORDER BY due.due, due.decision) AS n, d.policy,
        d.seq AS decision_seq, NULL::bigint AS linked_seq, d.nonce, d.ts AS decided, d.tip_id, due.fallback AS value,
        d.version >= u.reset_version AND $6::boolean AS applied,
        CASE WHEN d.version < u.reset_version THEN '{RESET}' WHEN NOT $6 THEN '{LOGGING_ONLY}' END AS reason,
        'default'::text AS source, d.picked, $4::float8 AS ts
    FROM due JOIN decisions AS d ON d.seq = due.decision JOIN users AS u ON u.uid = due.uid
    WHERE NOT due.held
        AND NOT EXISTS (SELECT 1 FROM rewards AS r WHERE r.decision_seq = due.decision)
        AND NOT EXISTS (SELECT 1 FROM rewards AS r WHERE r.linked_seq = due.decision)
        AND NOT EXISTS (SELECT 1 FROM reward_parts AS p WHERE p.decision = due.decision
            AND (p.reason IS NULL OR p.reason NOT IN ('{LATE}', '{RESET}')))),
claimed AS (
    INSERT INTO claims (uid, decision_seq, holder) SELECT uid, decision_seq, seq FROM numbered ON CONFLICT DO NOTHING),
added AS (
    INSERT INTO rewards (seq, uid, n, policy, decision_seq, decided, tip_id, value, weight, applied, reason, source,
        picked, shadow_set, body_hash, client, ts)
    SELECT seq, uid, n, policy, decision_seq, decided, tip_id, value, 1, applied, reason, source, picked,
        (SELECT shadow_set FROM deployment), '', '{WINDOW_CLIENT}', ts FROM numbered RETURNING seq, shadow_set),
bumped AS (
    UPDATE users AS u SET version = m.n FROM (SELECT uid, max(n) AS n FROM numbered GROUP BY uid) AS m
    WHERE u.uid = m.uid),
rolled AS ({build_reward_counts("numbered", _STRIPE)}),
arrived AS ({build_arrival_counts("numbered", _STRIPE)}),
credited AS ({build_prompt_counts("numbered", _STRIPE)})
SELECT {_RETURNED}, g.is_shadowed, a.shadow_set FROM numbered AS g JOIN added AS a USING (seq) {_OWN_ID}
ORDER BY g.seq"""  # noqa: S608 (constants)
"""Settles windows of users who are locked, and teaches each silence under the next numbers of its user."""

FIND_CLOSED = f"""WITH stood AS MATERIALIZED (
    SELECT r.*, u.user_id, u.is_shadowed, d.nonce FROM rewards AS r JOIN users AS u ON u.uid = r.uid
    LEFT JOIN decisions AS d ON d.seq = r.decision_seq WHERE r.seq = ANY ($1::bigint[]))
SELECT {_RETURNED}, g.is_shadowed, g.shadow_set FROM stood AS g {_OWN_ID} ORDER BY g.seq"""  # noqa: S608 (constants)
"""The same of silences that were taught under these numbers, and nobody heard of it."""
