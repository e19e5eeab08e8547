"""Statements of rewards that need a look at the ledger under their user's lock: legacy ones, a judge's, and undos."""

from bandstand.store.postgres.decision_statements import (
    build_arrival_counts,
    build_prompt_counts,
    build_reward_counts,
)
from bandstand.store.postgres.schema import build_striped_upsert

MAX_LINKABLE = 1000
"""A legacy reward is linked among the user's newest thousand decisions: a bound on one insert's work."""

LOCK_USER = """SELECT uid, version, reset_version, has_tips FROM users WHERE user_id = $1 FOR NO KEY UPDATE"""
IS_KEY_USED = "SELECT EXISTS (SELECT 1 FROM idempotency WHERE scope = $1 AND key = $2)"
SPEND_KEY = "INSERT INTO idempotency (scope, key, body_hash, reward_seq, ts) VALUES ($1, $2, $3, $4, $5)"

FIND_LINK = f"""SELECT d.seq, d.ts FROM (
        SELECT seq, policy, tip_id, ts FROM decisions WHERE uid = $1 AND seq > $2 AND ts > $3
        ORDER BY seq DESC LIMIT {MAX_LINKABLE}) AS d
    WHERE d.tip_id = $4 AND d.policy IN (SELECT id FROM policies WHERE name = $5)
        AND NOT EXISTS (SELECT 1 FROM rewards WHERE decision_seq = d.seq)
        AND NOT EXISTS (SELECT 1 FROM rewards WHERE linked_seq = d.seq)
    ORDER BY d.seq DESC LIMIT 1"""  # noqa: S608 (constants)
"""The user's newest decision of a policy and tip that nothing has rewarded."""

REWARD_ORDER = "r.seq + 0"
"""Finds a decision's newest reward by the decision: for the bare column a plan without statistics walks all rewards."""
NEWEST_REWARD = """SELECT * FROM (
        SELECT seq, value, applied, reason FROM rewards WHERE decision_seq = d.seq
        UNION ALL SELECT seq, value, applied, reason FROM rewards WHERE linked_seq = d.seq) AS given
    ORDER BY seq + 0 DESC LIMIT 1"""
"""The newest reward of a decision ``d``, found in the same way."""

REWARD_VALUES = (
    ("seq", "bigint"),
    ("uid", "bigint"),
    ("n", "bigint"),
    ("policy", "integer"),
    ("decision_seq", "bigint"),
    ("linked_seq", "bigint"),
    ("decided", "float8"),
    ("tip_id", "text"),
    ("value", "float8"),
    ("weight", "float8"),
    ("applied", "boolean"),
    ("reason", "text"),
    ("source", "text"),
    ("features", "bytea"),
    ("picked", "bytea"),
    ("body_hash", "bytea"),
    ("client", "text"),
    ("ts", "float8"),
)
_STRIPE = len(REWARD_VALUES) + 1
_NAMES = ", ".join(name for name, _ in REWARD_VALUES)
_VALUES = ", ".join(f"${number}::{kind} AS {name}" for number, (name, kind) in enumerate(REWARD_VALUES, start=1))

INSERT_REWARD = f"""WITH given AS MATERIALIZED (SELECT {_VALUES}),
added AS (
    INSERT INTO rewards ({_NAMES}, shadow_set) SELECT {_NAMES}, (SELECT shadow_set FROM deployment) FROM given
    RETURNING shadow_set),
bumped AS (UPDATE users AS u SET version = g.n FROM given AS g WHERE u.uid = g.uid),
rolled AS ({build_reward_counts("given", _STRIPE)}),
arrived AS ({build_arrival_counts("given", _STRIPE)}),
credited AS ({build_prompt_counts("given", _STRIPE)})
SELECT shadow_set FROM added"""  # noqa: S608 (constants)
"""One reward, numbered under its user's lock; returns which policies are in the shadow."""

FIND_OWN_REWARD = """SELECT seq, uid, n, policy, decision_seq, linked_seq, applied, reason, features, picked, shadow_set
    FROM rewards WHERE seq = $1"""

LOCK_REWARDED_USERS = """SELECT uid FROM users WHERE uid IN (SELECT uid FROM rewards WHERE seq = ANY ($1::bigint[]))
    ORDER BY uid FOR NO KEY UPDATE"""
_REVOCABLE = """SELECT r.seq AS reward_seq, r.uid, u.user_id, r.n AS reward_n, r.policy, r.ts, r.decided, r.value,
        r.weight, r.source, r.features, r.picked, r.shadow_set, r.decision_seq, r.linked_seq, u.version
    FROM rewards AS r JOIN users AS u ON u.uid = r.uid
    WHERE r.seq = ANY ($1::bigint[]) AND r.applied AND r.n > u.reset_version
        AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq)
        AND NOT EXISTS (SELECT 1 FROM marks AS m WHERE m.uid = r.uid AND m.n > r.n AND m.kind = 'import')"""
FIND_REVOCABLE = f"{_REVOCABLE} ORDER BY r.seq"
"""Those of rewards that their users' sums hold."""

_UNCOUNT_REWARDS = build_striped_upsert(
    "rollups",
    """SELECT CASE WHEN ever THEN -1 ELSE floor(g.ts / 3600)::integer END, g.policy, $6::smallint, 0, 0, -count(*),
        -sum(g.value) FROM numbered AS g CROSS JOIN (VALUES (true), (false)) AS v(ever) GROUP BY 1, 2""",
)
_UNCOUNT_ARRIVALS = build_striped_upsert(
    "arrivals",
    """SELECT CASE WHEN ever THEN -1 ELSE floor(coalesce(g.decided, g.ts) / 86400)::integer END, g.policy, g.source,
        CASE WHEN g.decided IS NULL THEN -1 ELSE (SELECT d.bucket FROM delays AS d
            WHERE d.below > greatest(0, g.ts - g.decided) ORDER BY d.below LIMIT 1) END, $6::smallint, -count(*),
        -sum(g.value) FROM numbered AS g CROSS JOIN (VALUES (true), (false)) AS v(ever) GROUP BY 1, 2, 3, 4""",
)
_UNCOUNT_PROMPTS = build_striped_upsert(
    "prompt_totals",
    """SELECT l.prompt, $6::smallint, 0, 0, 0, -count(*), -sum(g.value), -sum(g.value * g.value)
        FROM numbered AS g JOIN lineage AS l ON l.decision = coalesce(g.decision_seq, g.linked_seq) GROUP BY 1""",
)
REVOKE = f"""WITH given AS MATERIALIZED ({_REVOCABLE}),
numbered AS MATERIALIZED (
    SELECT g.*, ($2::bigint[])[row_number() OVER (ORDER BY g.reward_seq)] AS seq,
        g.version + row_number() OVER (PARTITION BY g.uid ORDER BY g.reward_n) AS n FROM given AS g),
added AS (
    INSERT INTO revocations (seq, uid, n, reward_seq, reward_n, cause, client, ts)
    SELECT seq, uid, n, reward_seq, reward_n, $3, $4, $5 FROM numbered),
bumped AS (
    UPDATE users AS u SET version = m.n FROM (SELECT uid, max(n) AS n FROM numbered GROUP BY uid) AS m
    WHERE u.uid = m.uid),
rolled AS ({_UNCOUNT_REWARDS}),
arrived AS ({_UNCOUNT_ARRIVALS}),
credited AS ({_UNCOUNT_PROMPTS})
SELECT * FROM numbered ORDER BY reward_seq"""  # noqa: S608 (constants)
"""Takes rewards back, each by an event of its own; to be done under the locks of their users."""
