-- The ledger of a deployment of many processes. Tables and columns are named as those of the embedded ledger; what differs:
-- `version` numbers the events of a user that move their state (`n` is the event's), given under the user's lock; totals
-- are kept in a stripe of each connection's own, so that no two commits wait for one row; there are no triggers.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- One row. `epoch` grows with every promotion, experiment, shadow and memory: a decision of an older one is not logged.
CREATE TABLE deployment (
    one        BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    epoch      BIGINT NOT NULL,
    shadow_set BIGINT NOT NULL          -- number of the mark that says which policies are in the shadow; 0 for none ever
);
INSERT INTO deployment (epoch, shadow_set) VALUES (1, 0);

-- Who gives out event numbers: one process a slot, for as long as it renews its lease by the database's clock.
CREATE TABLE slots (
    slot     SMALLINT PRIMARY KEY,
    holder   TEXT,
    until    TIMESTAMPTZ,
    last_seq BIGINT NOT NULL            -- no number up to here may be given again
);
INSERT INTO slots (slot, last_seq) SELECT generate_series(0, 255), 0;

-- What one process does for all, as long as it holds the lease; `fence` grows with every new holder.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder TEXT,
    until  TIMESTAMPTZ,
    fence  BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE processes (
    holder TEXT PRIMARY KEY,
    slot   SMALLINT NOT NULL,
    seen   TIMESTAMPTZ NOT NULL,
    software    TEXT NOT NULL,
    config_hash TEXT NOT NULL
);

CREATE TABLE users (
    uid           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id       TEXT COLLATE "C" NOT NULL UNIQUE,
    version       BIGINT NOT NULL DEFAULT 0,      -- number of the newest event that moved their state
    reset_version BIGINT NOT NULL DEFAULT 0,      -- and of the newest reset
    has_tips      BOOLEAN NOT NULL DEFAULT false, -- a pick may come from a generation
    is_shadowed   BOOLEAN NOT NULL DEFAULT false  -- a decision may have shadows, which its reward is to settle
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE policies (
    id                INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name              TEXT NOT NULL,
    hash              TEXT NOT NULL,
    schema            TEXT NOT NULL,
    schema_hash       TEXT NOT NULL,
    schema_definition TEXT NOT NULL,
    UNIQUE (name, hash, schema)
);

CREATE TABLE schemas (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL
);

CREATE TABLE decisions (
    seq        BIGINT NOT NULL,
    nonce      TEXT,                    -- second half of our own id; NULL where the caller chose the id
    uid        BIGINT NOT NULL,
    policy     INTEGER NOT NULL,
    client     TEXT NOT NULL,
    ts         DOUBLE PRECISION NOT NULL,
    tip_id     TEXT NOT NULL,
    pick       INTEGER NOT NULL,
    exploring  BOOLEAN NOT NULL,
    seed       DOUBLE PRECISION NOT NULL,
    score      DOUBLE PRECISION NOT NULL,
    propensity DOUBLE PRECISION NOT NULL,
    floor      DOUBLE PRECISION NOT NULL,
    version    BIGINT NOT NULL,         -- of the state that it was made from
    body       BYTEA NOT NULL,          -- the request: a Zstandard frame, or as it came
    numbers    BYTEA NOT NULL,          -- mean, width, score, probability of each candidate: float64, (4, K)
    picked     BYTEA NOT NULL,          -- a request of the pick alone, which rewards take along
    PRIMARY KEY (seq)
) PARTITION BY RANGE (seq);
ALTER TABLE decisions ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN numbers SET STORAGE EXTERNAL;
CREATE INDEX decisions_by_user ON decisions (uid, seq) INCLUDE (policy, exploring, version, ts);
CREATE TABLE decisions_rest PARTITION OF decisions DEFAULT;

CREATE TABLE decision_ids (
    decision_id TEXT COLLATE "C" PRIMARY KEY,
    seq         BIGINT NOT NULL UNIQUE,
    uid         BIGINT NOT NULL
);
CREATE INDEX decision_ids_by_user ON decision_ids (uid);

CREATE TABLE rewards (
    seq          BIGINT PRIMARY KEY,
    uid          BIGINT NOT NULL,
    n            BIGINT NOT NULL,       -- the user's event
    policy       INTEGER NOT NULL,
    decision_seq BIGINT,
    linked_seq   BIGINT,
    decided      DOUBLE PRECISION,      -- when the decision was made that it names or is linked to
    tip_id       TEXT NOT NULL,
    value        DOUBLE PRECISION NOT NULL,
    weight       DOUBLE PRECISION NOT NULL,
    applied      BOOLEAN NOT NULL,
    reason       TEXT,
    source       TEXT NOT NULL,
    features     BYTEA,                 -- legacy form: raw context and features
    picked       BYTEA,                 -- else the decision's
    shadow_set   BIGINT NOT NULL,       -- which policies were in the shadow as it came
    body_hash    BYTEA NOT NULL,
    client       TEXT NOT NULL,
    ts           DOUBLE PRECISION NOT NULL,
    UNIQUE (uid, n)
);
CREATE INDEX rewards_by_decision ON rewards (decision_seq) WHERE decision_seq IS NOT NULL;
CREATE INDEX rewards_by_link ON rewards (linked_seq) WHERE linked_seq IS NOT NULL;

-- A decision is a reward's or a waiting turn's, whoever inserts first; `holder` is the event's number.
CREATE TABLE claims (
    uid          BIGINT NOT NULL,
    decision_seq BIGINT NOT NULL,
    holder       BIGINT NOT NULL,
    PRIMARY KEY (uid, decision_seq)
);

-- Decisions whose reward is not settled by the first that comes: held ones, and those with a window.
CREATE TABLE windows (
    decision BIGINT PRIMARY KEY,
    uid      BIGINT NOT NULL,
    held     BOOLEAN NOT NULL,          -- nothing is taught before it is activated
    due      DOUBLE PRECISION,          -- when its window ends, seconds since the epoch; NULL for never
    fallback DOUBLE PRECISION,          -- what silence teaches then; NULL for nothing
    awaits   BOOLEAN NOT NULL           -- somebody is to look at it then
);
CREATE INDEX windows_by_due ON windows (due, decision) WHERE awaits;
CREATE INDEX windows_by_user ON windows (uid);

-- What was given for decisions whose reward is settled over time, as it came, in the order of their numbers. What they
-- taught are rows of `rewards`: the aggregate so far, each later one in the place of the one before.
CREATE TABLE reward_parts (
    seq       BIGINT PRIMARY KEY,       -- of the reward that it taught, too
    uid       BIGINT NOT NULL,
    decision  BIGINT NOT NULL,
    policy    INTEGER NOT NULL,
    tip_id    TEXT NOT NULL,
    value     DOUBLE PRECISION NOT NULL,
    taught    DOUBLE PRECISION,         -- what the decision had taught after it; NULL for nothing
    reason    TEXT,                     -- why it does not count; NULL where it does
    metrics   TEXT,                     -- JSON, as sent
    formula   TEXT,                     -- hash of the formula that made the value of the metrics
    body_hash BYTEA NOT NULL,
    client    TEXT NOT NULL,
    ts        DOUBLE PRECISION NOT NULL
);
CREATE INDEX reward_parts_by_decision ON reward_parts (decision, seq);
CREATE INDEX reward_parts_by_user ON reward_parts (uid);

-- Reactions as they were sent, by the reward or the part that each was taken as, and the table that made a number of it.
-- They go with it.
CREATE TABLE reactions (
    seq      BIGINT PRIMARY KEY,
    uid      BIGINT NOT NULL,
    action   TEXT NOT NULL,
    dwell_ms DOUBLE PRECISION,          -- milliseconds; NULL where none was sent
    ts       DOUBLE PRECISION NOT NULL, -- when it came; of a reward that stands in for another, when that came
    name     TEXT NOT NULL,             -- of the table
    version  INTEGER NOT NULL,
    hash     TEXT NOT NULL
);
CREATE INDEX reactions_by_user ON reactions (uid);

CREATE TABLE idempotency (
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  BYTEA NOT NULL,
    reward_seq BIGINT NOT NULL,
    ts         DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_by_reward ON idempotency (reward_seq);
CREATE INDEX idempotency_by_age ON idempotency (ts);

CREATE TABLE revocations (
    seq        BIGINT PRIMARY KEY,
    uid        BIGINT NOT NULL,
    n          BIGINT NOT NULL,
    reward_seq BIGINT NOT NULL UNIQUE,
    reward_n   BIGINT NOT NULL,
    cause      TEXT NOT NULL,
    client     TEXT NOT NULL,
    ts         DOUBLE PRECISION NOT NULL,
    UNIQUE (uid, n)
);

CREATE TABLE marks (
    seq      BIGINT PRIMARY KEY,
    uid      BIGINT,
    n        BIGINT,                    -- the user's event; NULL where it moves no state
    kind     TEXT NOT NULL,
    ts       DOUBLE PRECISION NOT NULL,
    client   TEXT NOT NULL,
    document TEXT,
    UNIQUE (uid, n)
);
CREATE INDEX marks_by_user ON marks (uid, seq);
CREATE INDEX marks_of_nobody ON marks (kind, seq) WHERE uid IS NULL;
CREATE INDEX marks_of_resets ON marks (seq) WHERE kind = 'reset';
CREATE INDEX marks_of_undos ON marks (seq) WHERE kind = 'revocation';

-- A user's state as of a version: whoever has folded enough events past it writes it anew, and it never goes back.
CREATE TABLE checkpoints (
    uid      BIGINT PRIMARY KEY,
    version  BIGINT NOT NULL,
    document BYTEA NOT NULL             -- the profile's JSON with its checksum, as the embedded store's documents
);

-- The state that retention kept in place of the events that it took.
CREATE TABLE baselines (
    uid      BIGINT PRIMARY KEY,
    version  BIGINT NOT NULL,
    last     DOUBLE PRECISION NOT NULL, -- when the newest of them was
    document BYTEA NOT NULL
);

-- What decisions counted that retention took, since the last reset.
CREATE TABLE pulls (
    uid      BIGINT NOT NULL,
    policy   INTEGER NOT NULL,
    pulls    BIGINT NOT NULL,
    explores BIGINT NOT NULL,
    last     DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, policy)
);

CREATE TABLE tombstones (
    user_hash BYTEA PRIMARY KEY,
    seq       BIGINT NOT NULL,
    ts        DOUBLE PRECISION NOT NULL
);
CREATE INDEX tombstones_by_seq ON tombstones (seq);

CREATE TABLE enrolments (
    uid        BIGINT NOT NULL,
    experiment BIGINT NOT NULL,
    arm        TEXT NOT NULL,
    PRIMARY KEY (uid, experiment, arm)
);

CREATE TABLE prompts (
    id      INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    digest  TEXT NOT NULL,
    UNIQUE (name, version, digest)
);

CREATE TABLE generations (
    seq               BIGINT PRIMARY KEY,
    nonce             TEXT NOT NULL,
    uid               BIGINT NOT NULL,
    prompt            INTEGER NOT NULL,
    chosen            TEXT NOT NULL,
    propensity        DOUBLE PRECISION,
    source            TEXT NOT NULL,
    model             TEXT NOT NULL,
    requested         INTEGER NOT NULL,
    tips              TEXT NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    tries             INTEGER NOT NULL,
    tasks_left_out    INTEGER NOT NULL,
    client            TEXT NOT NULL,
    ts                DOUBLE PRECISION NOT NULL
);
CREATE INDEX generations_by_user ON generations (uid, seq);

CREATE TABLE generated_tips (
    uid        BIGINT NOT NULL,
    tip_id     TEXT NOT NULL,
    generation BIGINT NOT NULL,
    prompt     INTEGER NOT NULL,
    PRIMARY KEY (uid, tip_id, generation)
);

CREATE TABLE lineage (
    decision   BIGINT PRIMARY KEY,
    uid        BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    prompt     INTEGER NOT NULL
);
CREATE INDEX lineage_by_user ON lineage (uid);

CREATE TABLE shadows (
    decision      BIGINT NOT NULL,
    policy        INTEGER NOT NULL,
    uid           BIGINT NOT NULL,
    pick          INTEGER NOT NULL,
    exploring     BOOLEAN NOT NULL,
    agrees        BOOLEAN NOT NULL,
    propensity    DOUBLE PRECISION NOT NULL,
    weight        DOUBLE PRECISION NOT NULL,
    probabilities BYTEA NOT NULL,
    reward        DOUBLE PRECISION,     -- that stands for the decision
    PRIMARY KEY (decision, policy)
);
CREATE INDEX shadows_by_user ON shadows (uid);

CREATE TABLE judgements (
    seq           BIGINT PRIMARY KEY,
    nonce         TEXT NOT NULL,
    uid           BIGINT NOT NULL,
    policy        INTEGER NOT NULL,
    decision_seq  BIGINT,
    tip_id        TEXT NOT NULL,
    features      BYTEA,
    taxonomy      TEXT NOT NULL,
    body_hash     BYTEA NOT NULL,
    client        TEXT NOT NULL,
    ts            DOUBLE PRECISION NOT NULL,
    state         TEXT NOT NULL,
    reason        TEXT,
    tries         INTEGER NOT NULL,
    rounds        INTEGER NOT NULL,
    verdict_seq   BIGINT,
    reward_seq    BIGINT,
    version       BIGINT NOT NULL,      -- of its user, as it was taken
    claimed_by    TEXT                  -- the process whose it is to judge, while that lives
);
CREATE INDEX judgements_by_user ON judgements (uid, seq);
CREATE INDEX judgements_by_state ON judgements (state, seq);
CREATE INDEX judgements_by_decision ON judgements (decision_seq) WHERE decision_seq IS NOT NULL;

CREATE TABLE turns (
    judgement BIGINT PRIMARY KEY,
    query_t   TEXT NOT NULL,
    answer_t  TEXT NOT NULL,
    query_t1  TEXT NOT NULL,
    about     TEXT NOT NULL
);

CREATE TABLE verdicts (
    seq       BIGINT PRIMARY KEY,
    judgement BIGINT NOT NULL,
    uid       BIGINT NOT NULL,
    client    TEXT NOT NULL,
    ts        DOUBLE PRECISION NOT NULL,
    document  TEXT NOT NULL,
    quotes    TEXT
);
CREATE INDEX verdicts_by_judgement ON verdicts (judgement, seq);
CREATE INDEX verdicts_by_user ON verdicts (uid);

CREATE TABLE conclusions (
    seq         BIGINT PRIMARY KEY,
    judgement   BIGINT NOT NULL,
    round       INTEGER NOT NULL,
    uid         BIGINT NOT NULL,
    cause       TEXT NOT NULL,
    client      TEXT NOT NULL,
    ts          DOUBLE PRECISION NOT NULL,
    verdict_seq BIGINT,
    applied     TEXT,
    state       TEXT NOT NULL,
    reason      TEXT,
    reward_seq  BIGINT,
    UNIQUE (judgement, round)
);
CREATE INDEX conclusions_by_user ON conclusions (uid);
CREATE INDEX conclusions_by_people ON conclusions (seq) WHERE cause = 'override';
CREATE INDEX conclusions_by_reward ON conclusions (reward_seq) WHERE reward_seq IS NOT NULL;

CREATE TABLE judge_spending (
    seq     BIGINT PRIMARY KEY,
    day     INTEGER NOT NULL,
    tokens  BIGINT NOT NULL,
    usd     DOUBLE PRECISION NOT NULL,
    settled BOOLEAN NOT NULL
);
CREATE INDEX judge_spending_by_day ON judge_spending (day);

-- How late a reward can be: four buckets to a doubling of 1 s + the delay, the last for all beyond three years.
CREATE TABLE delays (
    below  DOUBLE PRECISION PRIMARY KEY,
    bucket INTEGER NOT NULL
);

-- ── totals, each in a stripe of a connection's own ───────────────────────────────────────────────────────────────────────
CREATE TABLE rollups_s (
    hour       INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    stripe     SMALLINT NOT NULL,
    decisions  BIGINT NOT NULL,
    explores   BIGINT NOT NULL,
    rewards    BIGINT NOT NULL,
    reward_sum DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (hour, policy, stripe)
) WITH (fillfactor = 50);

CREATE TABLE draws_s (
    day            INTEGER NOT NULL,
    policy         INTEGER NOT NULL,
    bin            INTEGER NOT NULL,
    stripe         SMALLINT NOT NULL,
    decisions      BIGINT NOT NULL,
    explores       BIGINT NOT NULL,
    floor          DOUBLE PRECISION NOT NULL,
    floor_variance DOUBLE PRECISION NOT NULL,
    picked         BIGINT NOT NULL,
    likeliest      DOUBLE PRECISION NOT NULL,
    variance       DOUBLE PRECISION NOT NULL,
    weight         DOUBLE PRECISION NOT NULL,
    weight_squares DOUBLE PRECISION NOT NULL,
    support        DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (day, policy, bin, stripe)
) WITH (fillfactor = 50);

CREATE TABLE arrivals_s (
    day        INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    source     TEXT NOT NULL,
    bucket     INTEGER NOT NULL,
    stripe     SMALLINT NOT NULL,
    rewards    BIGINT NOT NULL,
    reward_sum DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (day, policy, source, bucket, stripe)
) WITH (fillfactor = 50);

CREATE TABLE prompt_totals_s (
    prompt         INTEGER NOT NULL,
    stripe         SMALLINT NOT NULL,
    generations    BIGINT NOT NULL DEFAULT 0,
    tips           BIGINT NOT NULL DEFAULT 0,
    decisions      BIGINT NOT NULL DEFAULT 0,
    rewards        BIGINT NOT NULL DEFAULT 0,
    reward_sum     DOUBLE PRECISION NOT NULL DEFAULT 0,
    reward_squares DOUBLE PRECISION NOT NULL DEFAULT 0,
    PRIMARY KEY (prompt, stripe)
) WITH (fillfactor = 50);

-- Metrics m of the parts that count; they are of the parts that the ledger has, and go with them.
CREATE TABLE metric_sums_s (
    policy  INTEGER NOT NULL,
    metric  TEXT NOT NULL,
    tip_id  TEXT NOT NULL,
    stripe  SMALLINT NOT NULL,
    parts   BIGINT NOT NULL,
    total   DOUBLE PRECISION NOT NULL,  -- Σ m
    squares DOUBLE PRECISION NOT NULL,  -- Σ m²
    PRIMARY KEY (policy, metric, tip_id, stripe)
) WITH (fillfactor = 50);

CREATE TABLE enrolled_s (
    experiment BIGINT NOT NULL,
    arm        TEXT NOT NULL,
    stripe     SMALLINT NOT NULL,
    users      BIGINT NOT NULL,
    PRIMARY KEY (experiment, arm, stripe)
) WITH (fillfactor = 50);

CREATE TABLE judgement_totals_s (
    policy INTEGER NOT NULL,
    state  TEXT NOT NULL,
    reason TEXT NOT NULL,
    stripe SMALLINT NOT NULL,
    count  BIGINT NOT NULL,
    PRIMARY KEY (policy, state, reason, stripe)
) WITH (fillfactor = 50);

CREATE TABLE shadow_sums_s (
    policy    INTEGER NOT NULL,
    stripe    SMALLINT NOT NULL,
    decisions BIGINT NOT NULL,
    agreed    BIGINT NOT NULL,
    rewarded  BIGINT NOT NULL,
    r         DOUBLE PRECISION NOT NULL,
    rr        DOUBLE PRECISION NOT NULL,
    w         DOUBLE PRECISION NOT NULL,
    ww        DOUBLE PRECISION NOT NULL,
    wr        DOUBLE PRECISION NOT NULL,
    wwr       DOUBLE PRECISION NOT NULL,
    wrr       DOUBLE PRECISION NOT NULL,
    wwrr      DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (policy, stripe)
) WITH (fillfactor = 50);

-- ── sums of gains and of arms, which a follower keeps up behind the commits; columns as in the embedded ledger ────────────
CREATE TABLE gain_days (
    day            INTEGER NOT NULL,
    policy         INTEGER NOT NULL,
    rewarded       BIGINT NOT NULL,
    r              DOUBLE PRECISION NOT NULL,
    rr             DOUBLE PRECISION NOT NULL,
    residuals      DOUBLE PRECISION NOT NULL,
    random         DOUBLE PRECISION NOT NULL,
    random_squares DOUBLE PRECISION NOT NULL,
    random_r       DOUBLE PRECISION NOT NULL,
    random_w       DOUBLE PRECISION NOT NULL,
    random_ww      DOUBLE PRECISION NOT NULL,
    random_v       DOUBLE PRECISION NOT NULL,
    random_lost    DOUBLE PRECISION NOT NULL,
    first          DOUBLE PRECISION NOT NULL,
    first_squares  DOUBLE PRECISION NOT NULL,
    first_r        DOUBLE PRECISION NOT NULL,
    first_w        DOUBLE PRECISION NOT NULL,
    first_ww       DOUBLE PRECISION NOT NULL,
    first_v        DOUBLE PRECISION NOT NULL,
    first_lost     DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (day, policy)
);

-- The part of each user in it, so that an erasure can take it out; retention takes those of its days and leaves the sums.
CREATE TABLE gain_users (
    uid            BIGINT NOT NULL,
    day            INTEGER NOT NULL,
    policy         INTEGER NOT NULL,
    rewarded       BIGINT NOT NULL,
    r              DOUBLE PRECISION NOT NULL,
    rr             DOUBLE PRECISION NOT NULL,
    residuals      DOUBLE PRECISION NOT NULL,
    random         DOUBLE PRECISION NOT NULL,
    random_squares DOUBLE PRECISION NOT NULL,
    random_r       DOUBLE PRECISION NOT NULL,
    random_w       DOUBLE PRECISION NOT NULL,
    random_ww      DOUBLE PRECISION NOT NULL,
    random_v       DOUBLE PRECISION NOT NULL,
    random_lost    DOUBLE PRECISION NOT NULL,
    first          DOUBLE PRECISION NOT NULL,
    first_squares  DOUBLE PRECISION NOT NULL,
    first_r        DOUBLE PRECISION NOT NULL,
    first_w        DOUBLE PRECISION NOT NULL,
    first_ww       DOUBLE PRECISION NOT NULL,
    first_v        DOUBLE PRECISION NOT NULL,
    first_lost     DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (uid, day, policy)
);
CREATE INDEX gain_users_by_day ON gain_users (day);

CREATE TABLE followers (
    name TEXT PRIMARY KEY,
    seq  BIGINT NOT NULL                -- the last event that is in its sums
);
INSERT INTO followers VALUES ('gains', 0);

CREATE TABLE arm_users (
    split     BIGINT NOT NULL,
    uid       BIGINT NOT NULL,
    arm       TEXT NOT NULL,
    metric    TEXT NOT NULL,
    decisions BIGINT NOT NULL,
    n         BIGINT NOT NULL,
    total     DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (split, uid, arm, metric)
);
CREATE INDEX arm_users_by_user ON arm_users (uid);

CREATE TABLE arm_sums (
    split     BIGINT NOT NULL,
    arm       TEXT NOT NULL,
    metric    TEXT NOT NULL,
    users     BIGINT NOT NULL,
    rewarded  BIGINT NOT NULL,
    decisions BIGINT NOT NULL,
    n         BIGINT NOT NULL,
    total     DOUBLE PRECISION NOT NULL,
    nn        BIGINT NOT NULL,
    nt        DOUBLE PRECISION NOT NULL,
    tt        DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (split, arm, metric)
);

-- The same as of the last event of each day.
CREATE TABLE arm_days (
    split     BIGINT NOT NULL,
    day       INTEGER NOT NULL,
    arm       TEXT NOT NULL,
    metric    TEXT NOT NULL,
    users     BIGINT NOT NULL,
    rewarded  BIGINT NOT NULL,
    decisions BIGINT NOT NULL,
    n         BIGINT NOT NULL,
    total     DOUBLE PRECISION NOT NULL,
    nn        BIGINT NOT NULL,
    nt        DOUBLE PRECISION NOT NULL,
    tt        DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (split, day, arm, metric)
);

-- ── what is asked of many places ─────────────────────────────────────────────────────────────────────────────────────────
-- A user's events after one, in order. `held` is the number of the reward that a revocation takes back.
CREATE FUNCTION events_of(of_uid BIGINT, after_n BIGINT)
RETURNS TABLE (n BIGINT, kind TEXT, policy INTEGER, ts DOUBLE PRECISION, value DOUBLE PRECISION, weight DOUBLE PRECISION,
    features BYTEA, picked BYTEA, shadow_set BIGINT, held BIGINT, document TEXT) LANGUAGE sql STABLE AS $$
    SELECT r.n, CASE WHEN NOT r.applied THEN 'void' WHEN v.seq IS NULL THEN 'reward' ELSE 'reward revoked' END, r.policy, r.ts, r.value, r.weight,
        r.features, r.picked, r.shadow_set, NULL::bigint, NULL::text
        FROM rewards AS r LEFT JOIN revocations AS v ON v.reward_seq = r.seq
        WHERE r.uid = of_uid AND r.n > after_n
    UNION ALL
    SELECT v.n, 'revocation', r.policy, r.ts, r.value, r.weight, r.features, r.picked, r.shadow_set, v.reward_n, NULL
        FROM revocations AS v JOIN rewards AS r ON r.seq = v.reward_seq WHERE v.uid = of_uid AND v.n > after_n
    UNION ALL
    SELECT m.n, m.kind, NULL, m.ts, NULL, NULL, NULL, NULL, NULL, NULL, m.document
        FROM marks AS m WHERE m.uid = of_uid AND m.n > after_n AND m.kind IN ('reset', 'import')
    UNION ALL
    SELECT u.version, 'void', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        FROM users AS u WHERE u.uid = of_uid AND u.version > after_n -- though retention has taken the last of them
    ORDER BY 1
$$;

-- The reward that stands for a decision: one that names it is surer than a link.
CREATE FUNCTION standing_reward(of_decision BIGINT) RETURNS DOUBLE PRECISION LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT r.value FROM rewards AS r WHERE r.decision_seq = of_decision
            AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq)),
        (SELECT r.value FROM rewards AS r WHERE r.linked_seq = of_decision
            AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq) ORDER BY r.seq DESC LIMIT 1))
$$;
