"""The two statements of the hot path: a group of decisions, and a group of rewards, each in one round trip.

A decision is logged only if its user's version, and the deployment's epoch, still are what it was made under. A reward
is numbered under its user's lock, which is the update of the version itself: who locked the row first, and updated it
then, would come back to it by the version that the statement saw at its start, and meet those who wait there. So
numbers are taken for all rewards that look new, and one that loses its claim leaves a gap. Rows of `users` are locked
in the order of their keys, so that no two groups wait for each other; the lock of a decision is the one that a foreign
key would take, which rewards do not wait for.
"""

from bandstand.store.postgres.schema import build_striped_upsert

DECISION_COLUMNS = (
    ("seq", "bigint"),
    ("nonce", "text"),
    ("uid", "bigint"),
    ("made_at", "bigint"),
    ("force", "boolean"),
    ("own_id", "text"),
    ("policy", "integer"),
    ("client", "text"),
    ("ts", "float8"),
    ("tip_id", "text"),
    ("pick", "integer"),
    ("exploring", "boolean"),
    ("seed", "float8"),
    ("score", "float8"),
    ("propensity", "float8"),
    ("floor", "float8"),
    ("body", "bytea"),
    ("numbers", "bytea"),
    ("request_of_pick", "bytea"),
    ("experiment", "bigint"),
    ("arm", "text"),
    ("bin", "integer"),
    ("picked", "integer"),
    ("likeliest", "float8"),
    ("variance", "float8"),
    ("weight", "float8"),
    ("weight_squares", "float8"),
    ("support", "float8"),
    ("epoch", "bigint"),
    ("window_held", "boolean"),
    ("window_due", "float8"),
    ("window_fallback", "float8"),
)
"""What a decision is sent as: an array for each, in this order, and then the stripe."""

REWARD_COLUMNS = (
    ("seq", "bigint"),
    ("decision_id", "text"),
    ("parsed", "bigint"),
    ("nonce", "text"),
    ("user_id", "text"),
    ("policy", "integer"),
    ("tip_id", "text"),
    ("value", "float8"),
    ("weight", "float8"),
    ("source", "text"),
    ("body_hash", "bytea"),
    ("client", "text"),
    ("ts", "float8"),
    ("withheld", "text"),
    ("scope", "text"),
    ("key", "text"),
    ("action", "text"),
    ("dwell_ms", "float8"),
    ("acted", "float8"),
    ("mapping", "text"),
    ("mapping_version", "integer"),
    ("mapping_hash", "text"),
)
"""What a reward is sent as, and then the stripe; ``withheld`` says why it teaches nothing, if it is not to.

User, policy and tip are those that its decision has to have, where whoever sends it knows of them.
"""


def _unnest(columns: tuple[tuple[str, str], ...], *, ordinality: bool = False) -> str:
    arrays = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(columns, start=1))
    names = ", ".join(name for name, _ in columns)
    return f"unnest({arrays}) {'WITH ORDINALITY ' if ordinality else ''}AS g({names}{', ord' if ordinality else ''})"


_ALIKE = ("policy", "client", "epoch")
ALIKE = tuple(number for number, (name, _) in enumerate(DECISION_COLUMNS) if name in _ALIKE)
"""Places of columns that may be sent as their first value alone, if all are equal."""
_STRIPE = len(DECISION_COLUMNS) + 1
_UID = [name for name, _ in DECISION_COLUMNS].index("uid") + 1
_EVER = "(VALUES (true), (false)) AS v(ever)"
_BUCKET = "(SELECT d.bucket FROM delays AS d WHERE d.below > greatest(0, g.ts - g.decided) ORDER BY d.below LIMIT 1)"

_COUNT_DECISIONS = build_striped_upsert(
    "rollups",
    f"""SELECT CASE WHEN ever THEN -1 ELSE floor(g.ts / 3600)::integer END, g.policy, ${_STRIPE}::smallint, count(*),
        count(*) FILTER (WHERE g.exploring), 0, 0 FROM logged JOIN given AS g USING (seq) CROSS JOIN {_EVER}
        GROUP BY 1, 2""",  # noqa: S608 (constants)
)
_COUNT_DRAWS = build_striped_upsert(
    "draws",
    f"""SELECT CASE WHEN ever THEN -1 ELSE floor(g.ts / 86400)::integer END, g.policy, g.bin, ${_STRIPE}::smallint,
        count(*), count(*) FILTER (WHERE g.exploring), sum(g.floor), sum(g.floor * (1 - g.floor)), sum(g.picked),
        sum(g.likeliest), sum(g.variance), sum(g.weight), sum(g.weight_squares), sum(g.support)
        FROM logged JOIN given AS g USING (seq) CROSS JOIN {_EVER} GROUP BY 1, 2, 3""",  # noqa: S608 (constants)
)
_COUNT_ENROLLED = build_striped_upsert(
    "enrolled",
    f"SELECT experiment, arm, ${_STRIPE}::smallint, count(*) FROM enrolling GROUP BY 1, 2",  # noqa: S608 (constants)
)
_COUNT_LINEAGE = build_striped_upsert(
    "prompt_totals",
    f"SELECT prompt, ${_STRIPE}::smallint, 0, 0, count(*), 0, 0, 0 FROM traced GROUP BY 1",  # noqa: S608 (constants)
)
_COUNTS = (_COUNT_DECISIONS, _COUNT_DRAWS, _COUNT_ENROLLED, _COUNT_LINEAGE)


def _name_sent(columns: tuple[tuple[str, str], ...]) -> str:
    """The columns that were sent; where one value was for all, it is in every row."""
    return ", ".join(
        f"coalesce(g.{name}, (${number}::{kind}[])[1]) AS {name}" if name in _ALIKE else f"g.{name}"
        for number, (name, kind) in enumerate(columns, start=1)
    )


def _build_log_decisions(
    columns: tuple[tuple[str, str], ...], *, locked: str, person: str, tips: str, joined: str = "", also: str = ""
) -> str:
    """The statement that logs a group of decisions.

    Args:
        columns: what each is sent as.
        locked: the keys of all users that it names.
        person: the column of ``g`` with the key of whom a decision was made for.
        joined: what tells more of them.
        tips: whether they may be shown what was generated for them.
        also: further common table expressions.
    """
    counts = [count.replace(f"${_STRIPE}::", f"${len(columns) + 1}::") for count in _COUNTS]
    rolled, drawn, enrolled, credited = counts
    return f"""WITH held AS MATERIALIZED (
    SELECT uid, version AS now, greatest(reset_version, parted_version) AS oldest, has_tips
    FROM users WHERE uid = ANY ({locked})
    ORDER BY uid FOR KEY SHARE),
given AS MATERIALIZED (
    SELECT {_name_sent(columns)}, h.now, h.oldest, {tips} AS has_tips
    FROM {_unnest(columns)} JOIN held AS h USING (uid){joined}),
ready AS MATERIALIZED (
    SELECT * FROM given WHERE given.epoch = (SELECT p.epoch FROM deployment AS p)
        AND (made_at = now OR force AND made_at BETWEEN oldest AND now)),
claimed AS (
    INSERT INTO decision_ids (decision_id, seq, uid) SELECT own_id, seq, uid FROM ready WHERE own_id IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING seq),
logged AS (
    INSERT INTO decisions (seq, nonce, uid, policy, client, ts, tip_id, pick, exploring, seed, score, propensity, floor,
        version, body, numbers, picked)
    SELECT seq, nonce, uid, policy, client, ts, tip_id, pick, exploring, seed, score, propensity, floor, made_at, body,
        numbers, request_of_pick FROM ready WHERE own_id IS NULL OR seq IN (SELECT seq FROM claimed)
    ON CONFLICT (seq) DO NOTHING RETURNING seq),
windowed AS (
    INSERT INTO windows (decision, uid, held, due, fallback, awaits)
    SELECT seq, uid, window_held, window_due, window_fallback,
        window_due IS NOT NULL AND window_fallback IS NOT NULL
    FROM logged JOIN given USING (seq) WHERE window_held IS NOT NULL),
rolled AS ({rolled}),
drawn AS ({drawn}),
enrolling AS (
    INSERT INTO enrolments (uid, experiment, arm)
    SELECT DISTINCT g.uid, g.experiment, g.arm FROM logged JOIN given AS g USING (seq) WHERE g.experiment <> 0
    ON CONFLICT DO NOTHING RETURNING experiment, arm),
enrolled AS ({enrolled}),
traced AS (
    INSERT INTO lineage (decision, uid, generation, prompt)
    SELECT g.seq, {person}, t.generation, t.prompt FROM logged JOIN given AS g USING (seq) CROSS JOIN LATERAL (
        SELECT generation, prompt FROM generated_tips AS t WHERE t.uid = {person} AND t.tip_id = g.tip_id
            AND t.generation < g.seq ORDER BY generation DESC LIMIT 1) AS t WHERE g.has_tips RETURNING prompt),
credited AS ({credited}){also}
SELECT g.seq, l.seq IS NOT NULL AS is_logged, g.now, g.now > g.made_at AS is_stale,
    g.epoch = (SELECT p.epoch FROM deployment AS p) AS is_current
FROM given AS g LEFT JOIN logged AS l USING (seq)"""  # noqa: S608 (constants)


LOG_DECISIONS = _build_log_decisions(DECISION_COLUMNS, locked=f"${_UID}::bigint[]", person="g.uid", tips="h.has_tips")
"""Returns nothing of a decision whose user is gone."""
LOG_SUBJECTS_DECISIONS = _build_log_decisions(
    (*DECISION_COLUMNS, ("subject", "bigint")),
    locked=f"${_UID}::bigint[] || ${_STRIPE}::bigint[]",
    person="g.subject",
    tips="p.has_tips",
    joined=" JOIN held AS p ON p.uid = g.subject",
    also=""",
named AS (
    INSERT INTO subjects (seq, uid)
    SELECT g.seq, g.subject FROM logged JOIN given AS g USING (seq) WHERE g.subject <> g.uid)""",
)
"""The same where a decision may be made for somebody by another's model; nothing of one where either is gone."""

REGISTER_USERS = """WITH added AS (
    INSERT INTO users (user_id) SELECT id FROM unnest($1::text[]) AS g(id)
    WHERE NOT EXISTS (SELECT 1 FROM users WHERE user_id = id) ON CONFLICT DO NOTHING)
SELECT 1"""
"""The ids in order, so that no two of these wait for each other."""
FIND_USERS = "SELECT user_id, uid, version FROM users WHERE user_id = ANY ($1::text[])"
FIND_LOGGED = "SELECT seq FROM decisions WHERE seq = ANY ($1::bigint[])"


def build_arrival_counts(source: str, stripe: int) -> str:
    """What a CTE of new rewards adds to the totals of how late rewards come."""
    return build_striped_upsert(
        "arrivals",
        f"""SELECT CASE WHEN ever THEN -1 ELSE floor(coalesce(g.decided, g.ts) / 86400)::integer END, g.policy,
            g.source, CASE WHEN g.decided IS NULL THEN -1 ELSE {_BUCKET} END, ${stripe}::smallint, count(*),
            sum(g.value)
            FROM {source} AS g CROSS JOIN {_EVER} GROUP BY 1, 2, 3, 4""",  # noqa: S608 (constants)
    )


def build_reward_counts(source: str, stripe: int) -> str:
    """What a CTE of new rewards adds to the hourly totals."""
    return build_striped_upsert(
        "rollups",
        f"""SELECT CASE WHEN ever THEN -1 ELSE floor(g.ts / 3600)::integer END, g.policy, ${stripe}::smallint, 0, 0,
            count(*), sum(g.value) FROM {source} AS g CROSS JOIN {_EVER} GROUP BY 1, 2""",  # noqa: S608 (constants)
    )


def build_prompt_counts(source: str, stripe: int) -> str:
    """What a CTE of new rewards adds to the totals of the prompts that their picks came from."""
    return build_striped_upsert(
        "prompt_totals",
        f"""SELECT l.prompt, ${stripe}::smallint, 0, 0, 0, count(*), sum(g.value), sum(g.value * g.value)
            FROM {source} AS g JOIN lineage AS l ON l.decision = coalesce(g.decision_seq, g.linked_seq)
            WHERE g.applied GROUP BY 1""",  # noqa: S608 (constants)
    )


_REWARD_STRIPE = len(REWARD_COLUMNS) + 1
_OF_DECISION = ("user_id", "policy", "tip_id")
_SENT = ", ".join(f"g.{name}" for name, _ in REWARD_COLUMNS if name not in _OF_DECISION)


def _build_log_rewards(*, subject: str = "", named: str = "", alive: str = "", is_alive: str = "") -> str:
    """The statement that logs a group of rewards.

    Args:
        subject: a column of whom a decision was made for.
        named: the join that brings it.
        alive: a common table expression that locks those people.
        is_alive: the join with those who are still there.
    """
    return f"""WITH given AS MATERIALIZED (
    SELECT g.ord, {_SENT}, o.user_id, d.policy, d.tip_id, d.seq AS decision_seq, d.uid, d.version AS made_at, d.picked,
        d.ts AS decided, NULL::bigint AS linked_seq{subject}
    FROM {_unnest(REWARD_COLUMNS, ordinality=True)} LEFT JOIN decision_ids AS i ON i.decision_id = g.decision_id
    JOIN decisions AS d ON d.seq = coalesce(i.seq, g.parsed) AND (i.seq IS NOT NULL OR d.nonce = g.nonce)
    JOIN users AS o ON o.uid = d.uid{named}
    WHERE d.policy = coalesce(g.policy, d.policy) AND o.user_id = coalesce(g.user_id, o.user_id)
        AND d.tip_id = coalesce(g.tip_id, d.tip_id) AND NOT EXISTS (SELECT 1 FROM windows AS w WHERE w.decision = d.seq)
        AND NOT EXISTS (SELECT 1 FROM idempotency AS k WHERE k.scope = g.scope AND k.key = g.key)),{alive}
locked AS (
    UPDATE users AS u SET version = u.version + m.most
    FROM (SELECT g.uid, count(*) AS most FROM given AS g {is_alive}
        WHERE NOT EXISTS (SELECT 1 FROM claims AS c WHERE c.uid = g.uid AND c.decision_seq = g.decision_seq)
        GROUP BY g.uid ORDER BY g.uid) AS m
    WHERE u.uid = m.uid
    RETURNING u.uid, u.version - m.most AS version, u.reset_version, u.is_shadowed),
claimed AS (
    INSERT INTO claims (uid, decision_seq, holder)
    SELECT g.uid, g.decision_seq, g.seq FROM given AS g JOIN locked AS l ON l.uid = g.uid {is_alive}
    ORDER BY g.ord ON CONFLICT DO NOTHING RETURNING holder),
numbered AS MATERIALIZED (
    SELECT g.*, l.version + row_number() OVER (PARTITION BY g.uid ORDER BY g.ord) AS n,
        g.made_at >= l.reset_version AND g.withheld IS NULL AS applied,
        CASE WHEN g.made_at < l.reset_version THEN 'reset' ELSE g.withheld END AS reason, l.is_shadowed
    FROM given AS g JOIN claimed AS c ON c.holder = g.seq JOIN locked AS l ON l.uid = g.uid),
added AS (
    INSERT INTO rewards (seq, uid, n, policy, decision_seq, decided, tip_id, value, weight, applied, reason, source,
        picked, shadow_set, body_hash, client, ts)
    SELECT seq, uid, n, policy, decision_seq, decided, tip_id, value, weight, applied, reason, source, picked,
        (SELECT shadow_set FROM deployment), body_hash, client, ts FROM numbered RETURNING seq, shadow_set),
reacted AS (
    INSERT INTO reactions (seq, uid, action, dwell_ms, ts, name, version, hash)
    SELECT seq, uid, action, dwell_ms, acted, mapping, mapping_version, mapping_hash FROM numbered
    WHERE action IS NOT NULL),
spent AS (
    INSERT INTO idempotency (scope, key, body_hash, reward_seq, ts)
    SELECT scope, key, body_hash, seq, ts FROM numbered WHERE key IS NOT NULL),
rolled AS ({build_reward_counts("numbered", _REWARD_STRIPE)}),
arrived AS ({build_arrival_counts("numbered", _REWARD_STRIPE)}),
credited AS ({build_prompt_counts("numbered", _REWARD_STRIPE)})
SELECT g.seq, g.uid, g.n, g.user_id, g.policy, g.tip_id, g.decision_seq, g.applied, g.reason, g.picked, g.is_shadowed,
    a.shadow_set
FROM numbered AS g JOIN added AS a USING (seq) ORDER BY g.n"""  # noqa: S608 (constants)


LOG_REWARDS = _build_log_rewards()
"""Returns nothing of a reward that is not logged: why, a second question tells."""
LOG_SUBJECTS_REWARDS = _build_log_rewards(
    subject=", coalesce(s.uid, d.uid) AS person",
    named=" LEFT JOIN subjects AS s ON s.seq = d.seq",
    alive="""
alive AS MATERIALIZED (
    SELECT uid AS person FROM users WHERE uid IN (SELECT person FROM given) ORDER BY uid FOR KEY SHARE),""",
    is_alive="JOIN alive USING (person)",
)
"""The same where a decision may be made for somebody by another's model: who is being erased teaches it no more.

People are locked before models, as an erasure does it.
"""

FIND_REWARDED = """SELECT r.seq, r.uid, r.n, u.user_id, r.policy, r.tip_id, r.decision_seq, r.applied, r.reason,
        r.picked, r.shadow_set
    FROM rewards AS r JOIN users AS u ON u.uid = r.uid WHERE r.seq = ANY ($1::bigint[]) ORDER BY r.n"""
LOCK_DECIDERS = """SELECT uid FROM users WHERE uid IN (SELECT uid FROM decisions WHERE seq = ANY ($1::bigint[]))
    ORDER BY uid FOR NO KEY UPDATE"""
SETTLE_SHADOWS = f"""WITH touched AS MATERIALIZED (
    SELECT s.decision, s.policy, s.weight AS w, s.reward AS old, standing_reward(s.decision) AS new
    FROM shadows AS s WHERE s.decision = ANY ($1::bigint[])),
changed AS MATERIALIZED (SELECT * FROM touched WHERE old IS DISTINCT FROM new),
settled AS (
    UPDATE shadows AS s SET reward = c.new FROM changed AS c WHERE s.decision = c.decision AND s.policy = c.policy),
terms AS (
    SELECT policy, -1 AS sign, old AS r, w FROM changed WHERE old IS NOT NULL
    UNION ALL SELECT policy, 1, new, w FROM changed WHERE new IS NOT NULL),
summed AS ({
    build_striped_upsert(
        "shadow_sums",
        '''SELECT policy, $2::smallint, 0, 0, sum(sign), sum(sign * r), sum(sign * r * r), sum(sign * w),
            sum(sign * w * w), sum(sign * w * r), sum(sign * w * w * r), sum(sign * w * r * r),
            sum(sign * w * w * r * r)
            FROM terms GROUP BY 1''',
    )
})
SELECT 1"""  # noqa: S608 (constants)
"""Brings what the shadows of decisions are held to up to the rewards that stand, under the lock of their user."""
