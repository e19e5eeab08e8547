-- The ledger of format 4 as it was first made: four scripts, one after the other. Never edited.
-- The ledger: append-only truth. `seq` numbers all events of all tables in one order.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE users (
    uid     INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE
);

-- Every definition a policy ever had here, so that old rows stay readable after the configuration has moved on.
CREATE TABLE policies (
    id                INTEGER PRIMARY KEY,
    name              TEXT NOT NULL,
    hash              TEXT NOT NULL,
    schema            TEXT NOT NULL,
    schema_hash       TEXT NOT NULL,
    schema_definition TEXT NOT NULL,
    UNIQUE (name, hash, schema)
);

-- The encoding under which each schema's sums are kept; a configured one that differs must be migrated or renamed.
CREATE TABLE schemas (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE decisions (
    seq        INTEGER PRIMARY KEY,
    nonce      TEXT,              -- second half of our own id; NULL where the caller chose the id
    uid        INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    client     TEXT NOT NULL,
    ts         REAL NOT NULL,
    tip_id     TEXT NOT NULL,
    pick       INTEGER NOT NULL,
    exploring  INTEGER NOT NULL,
    seed       REAL NOT NULL,
    score      REAL NOT NULL,
    propensity REAL NOT NULL,
    floor      REAL NOT NULL,     -- share of the uniform branch: a seed below it explored
    body       BLOB NOT NULL,     -- the request as it came
    numbers    BLOB NOT NULL      -- mean, width, score, probability of each candidate: float64, (4, K)
);
CREATE INDEX decisions_by_user ON decisions (uid, seq);

CREATE TABLE decision_ids (
    decision_id TEXT PRIMARY KEY,
    seq         INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX decision_ids_by_seq ON decision_ids (seq);

CREATE TABLE rewards (
    seq          INTEGER PRIMARY KEY,
    uid          INTEGER NOT NULL,
    policy       INTEGER NOT NULL,
    decision_seq INTEGER,         -- the decision it names: at most one reward each
    linked_seq   INTEGER,         -- legacy form: the decision it most likely answers
    tip_id       TEXT NOT NULL,
    value        REAL NOT NULL,
    weight       REAL NOT NULL,
    applied      INTEGER NOT NULL,
    reason       TEXT,
    source       TEXT NOT NULL,
    features     BLOB,            -- legacy form: raw context and features
    body_hash    BLOB NOT NULL,
    client       TEXT NOT NULL,
    ts           REAL NOT NULL
);
CREATE INDEX rewards_by_user ON rewards (uid, seq);
CREATE UNIQUE INDEX rewards_by_decision ON rewards (decision_seq) WHERE decision_seq IS NOT NULL;
CREATE INDEX rewards_by_link ON rewards (linked_seq) WHERE linked_seq IS NOT NULL;

CREATE TABLE idempotency (
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  BLOB NOT NULL,
    reward_seq INTEGER NOT NULL,
    ts         REAL NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_reward ON idempotency (reward_seq);
CREATE INDEX idempotency_by_age ON idempotency (ts);

-- Everything rarer: resets, imports, baselines of a user (document: the state as of this event), promotions (uid NULL).
CREATE TABLE marks (
    seq      INTEGER PRIMARY KEY,
    uid      INTEGER,
    kind     TEXT NOT NULL,
    ts       REAL NOT NULL,
    client   TEXT NOT NULL,
    document TEXT
);
CREATE INDEX marks_by_user ON marks (uid, seq);

CREATE TABLE tombstones (
    user_hash BLOB PRIMARY KEY,
    seq       INTEGER NOT NULL,
    ts        REAL NOT NULL
) WITHOUT ROWID;

-- Hourly counts, kept up in the same commit as the events they count.
CREATE TABLE rollups (
    hour       INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    decisions  INTEGER NOT NULL,
    explores   INTEGER NOT NULL,
    rewards    INTEGER NOT NULL,
    reward_sum REAL NOT NULL,
    PRIMARY KEY (hour, policy)
) WITHOUT ROWID;
-- Generations, and which of them each decision's pick came from. The totals are kept by triggers: whatever adds a reward,
-- in whatever form, is counted in the same commit and never twice.
CREATE TABLE prompts (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    digest  TEXT NOT NULL,        -- SHA-256 of the prompt's file; empty where no prompt was used
    UNIQUE (name, version, digest)
);

CREATE TABLE generations (
    seq               INTEGER PRIMARY KEY,
    nonce             TEXT NOT NULL,     -- second half of its id
    uid               INTEGER NOT NULL,
    prompt            INTEGER NOT NULL,
    chosen            TEXT NOT NULL,     -- who chose the prompt: request, default or auto
    propensity        REAL,              -- probability of that choice; NULL where the request made it
    source            TEXT NOT NULL,
    model             TEXT NOT NULL,
    requested         INTEGER NOT NULL,
    tips              TEXT NOT NULL,     -- ids, a JSON array in the order in which they were answered
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    tries             INTEGER NOT NULL,
    tasks_left_out    INTEGER NOT NULL,
    client            TEXT NOT NULL,
    ts                REAL NOT NULL
);
CREATE INDEX generations_by_user ON generations (uid, seq);

-- The same ids, one a row, to find the user's newest generation that holds one.
CREATE TABLE generated_tips (
    uid        INTEGER NOT NULL,
    tip_id     TEXT NOT NULL,
    generation INTEGER NOT NULL,
    prompt     INTEGER NOT NULL,
    PRIMARY KEY (uid, tip_id, generation)
) WITHOUT ROWID;

-- Decisions whose pick a generation holds. The prompt stands here too, for a decision may outlive its generation.
CREATE TABLE lineage (
    decision   INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    prompt     INTEGER NOT NULL
);

-- What each prompt came to since the ledger began; names nobody, and so outlives erasure and retention.
CREATE TABLE prompt_totals (
    prompt         INTEGER PRIMARY KEY,
    generations    INTEGER NOT NULL DEFAULT 0,
    tips           INTEGER NOT NULL DEFAULT 0,
    decisions      INTEGER NOT NULL DEFAULT 0,
    rewards        INTEGER NOT NULL DEFAULT 0,
    reward_sum     REAL NOT NULL DEFAULT 0,
    reward_squares REAL NOT NULL DEFAULT 0
);

CREATE TRIGGER generation_added AFTER INSERT ON generations BEGIN
    INSERT INTO generated_tips SELECT NEW.uid, value, NEW.seq, NEW.prompt FROM json_each(NEW.tips);
    INSERT INTO prompt_totals (prompt, generations, tips) VALUES (NEW.prompt, 1, json_array_length(NEW.tips))
        ON CONFLICT (prompt) DO UPDATE SET generations = generations + 1, tips = tips + excluded.tips;
END;

CREATE TRIGGER generation_gone AFTER DELETE ON generations BEGIN
    DELETE FROM generated_tips WHERE uid = OLD.uid AND generation = OLD.seq
        AND tip_id IN (SELECT value FROM json_each(OLD.tips));
END;

CREATE TRIGGER decision_gone AFTER DELETE ON decisions BEGIN
    DELETE FROM lineage WHERE decision = OLD.seq;
END;

CREATE TRIGGER lineage_added AFTER INSERT ON lineage BEGIN
    UPDATE prompt_totals SET decisions = decisions + 1 WHERE prompt = NEW.prompt;
END;

CREATE TRIGGER reward_added AFTER INSERT ON rewards WHEN NEW.applied BEGIN
    UPDATE prompt_totals SET rewards = rewards + 1, reward_sum = reward_sum + NEW.value,
        reward_squares = reward_squares + NEW.value * NEW.value
        WHERE prompt = (SELECT prompt FROM lineage WHERE decision = coalesce(NEW.decision_seq, NEW.linked_seq));
END;
-- A reward taken back: from here on the sums, live and in a rebuild, are without it. Its row stays, for it was given.
CREATE TABLE revocations (
    seq        INTEGER PRIMARY KEY,
    uid        INTEGER NOT NULL,
    reward_seq INTEGER NOT NULL UNIQUE,
    cause      TEXT NOT NULL,
    client     TEXT NOT NULL,
    ts         REAL NOT NULL
);
CREATE INDEX revocations_by_user ON revocations (uid, seq);

CREATE TRIGGER revocation_added AFTER INSERT ON revocations BEGIN
    UPDATE prompt_totals SET rewards = rewards - 1, reward_sum = reward_sum - r.value,
        reward_squares = reward_squares - r.value * r.value
        FROM (SELECT value, coalesce(decision_seq, linked_seq) AS decision FROM rewards WHERE seq = NEW.reward_seq) AS r
        WHERE prompt = (SELECT prompt FROM lineage WHERE lineage.decision = r.decision);
END;

-- A turn taken as a reward, and how it stands now: waiting, taught, withheld or unscored. While it waits it holds its
-- decision: nothing else may reward that.
CREATE TABLE judgements (
    seq          INTEGER PRIMARY KEY, -- the event that took the turn
    nonce        TEXT NOT NULL,       -- second half of the judgement's id
    uid          INTEGER NOT NULL,
    policy       INTEGER NOT NULL,
    decision_seq INTEGER,             -- the decision it rewards; NULL in the legacy form
    tip_id       TEXT NOT NULL,
    features     BLOB,                -- legacy form: raw context and features
    taxonomy     TEXT NOT NULL,
    body_hash    BLOB NOT NULL,
    client       TEXT NOT NULL,
    ts           REAL NOT NULL,
    state        TEXT NOT NULL,
    reason       TEXT,                -- why it is withheld or unscored
    tries        INTEGER NOT NULL,    -- how often it was handed to a judge that may not have come back
    rounds       INTEGER NOT NULL,    -- how often it was concluded
    verdict_seq  INTEGER,             -- the verdict that stands
    reward_seq   INTEGER              -- the newest reward that it gave
);
CREATE INDEX judgements_by_user ON judgements (uid, seq);
CREATE INDEX judgements_by_state ON judgements (state, seq);
CREATE INDEX judgements_by_decision ON judgements (decision_seq) WHERE decision_seq IS NOT NULL;
CREATE UNIQUE INDEX judgements_holding ON judgements (decision_seq) WHERE state = 'waiting' AND decision_seq IS NOT NULL;

-- The words of a turn, which go before the judgement does.
CREATE TABLE turns (
    judgement INTEGER PRIMARY KEY,
    query_t   TEXT NOT NULL,
    answer_t  TEXT NOT NULL,
    query_t1  TEXT NOT NULL
);

-- Verdicts as they were given; one never changes, but what quotes the turn goes with its words.
CREATE TABLE verdicts (
    seq       INTEGER PRIMARY KEY,
    judgement INTEGER NOT NULL,
    uid       INTEGER NOT NULL,
    client    TEXT NOT NULL,
    ts        REAL NOT NULL,
    document  TEXT NOT NULL,
    quotes    TEXT                    -- rationale and raw reply
);
CREATE INDEX verdicts_by_judgement ON verdicts (judgement, seq);
CREATE INDEX verdicts_by_user ON verdicts (uid);
CREATE INDEX verdicts_quoting ON verdicts (judgement) WHERE quotes IS NOT NULL;

-- What was made of a verdict, each time that anything was: by which map, threshold and calibration, and what it taught.
CREATE TABLE conclusions (
    seq         INTEGER PRIMARY KEY,
    judgement   INTEGER NOT NULL,
    round       INTEGER NOT NULL,
    uid         INTEGER NOT NULL,
    cause       TEXT NOT NULL,        -- judge, override or reapply
    client      TEXT NOT NULL,
    ts          REAL NOT NULL,
    verdict_seq INTEGER,
    applied     TEXT,
    state       TEXT NOT NULL,
    reason      TEXT,
    reward_seq  INTEGER,
    UNIQUE (judgement, round)
);
CREATE INDEX conclusions_by_user ON conclusions (uid);

-- How many judgements stand where, kept up in the same commits; they name nobody.
CREATE TABLE judgement_totals (
    policy INTEGER NOT NULL,
    state  TEXT NOT NULL,
    reason TEXT NOT NULL,             -- empty for none
    count  INTEGER NOT NULL,
    PRIMARY KEY (policy, state, reason)
) WITHOUT ROWID;

-- What the judge's LLM may have cost: reserved before a turn is handed over, settled when it comes back.
CREATE TABLE judge_spending (
    seq     INTEGER PRIMARY KEY,
    day     INTEGER NOT NULL,         -- UTC days since the epoch
    tokens  INTEGER NOT NULL,
    usd     REAL NOT NULL,
    settled INTEGER NOT NULL
);
CREATE INDEX judge_spending_by_day ON judge_spending (day);
-- The learning loop seen from outside: who takes part in an experiment. Promotions and the beginnings and ends of
-- experiments are marks that name no user.
CREATE TABLE enrolments (
    uid        INTEGER NOT NULL,
    experiment INTEGER NOT NULL,      -- event number of its beginning
    arm        TEXT NOT NULL,         -- name of the policy that decided; in a sound split one for each user
    PRIMARY KEY (uid, experiment, arm)
) WITHOUT ROWID;

CREATE TABLE enrolled (
    experiment INTEGER NOT NULL,
    arm        TEXT NOT NULL,
    users      INTEGER NOT NULL,
    PRIMARY KEY (experiment, arm)
) WITHOUT ROWID;

CREATE TRIGGER enrolment_added AFTER INSERT ON enrolments BEGIN
    INSERT INTO enrolled VALUES (NEW.experiment, NEW.arm, 1) ON CONFLICT DO UPDATE SET users = users + 1;
END;

CREATE TRIGGER enrolment_gone AFTER DELETE ON enrolments BEGIN
    UPDATE enrolled SET users = users - 1 WHERE experiment = OLD.experiment AND arm = OLD.arm;
END;

-- What was drawn, beside what was logged of it, by day and by the probability of the likeliest candidate (bin: its
-- tenth). Kept up in the commit of the decisions; names nobody, and so outlives erasure and retention.
CREATE TABLE draws (
    day            INTEGER NOT NULL,  -- of the decision, since the epoch
    policy         INTEGER NOT NULL,
    bin            INTEGER NOT NULL,
    decisions      INTEGER NOT NULL,
    explores       INTEGER NOT NULL,
    floor          REAL NOT NULL,     -- Σ δ: how many should explore
    floor_variance REAL NOT NULL,     -- Σ δ(1 − δ)
    picked         INTEGER NOT NULL,  -- decisions that picked the likeliest candidate
    likeliest      REAL NOT NULL,     -- Σ p of that candidate: how many should
    variance       REAL NOT NULL,     -- Σ p(1 − p)
    weight         REAL NOT NULL,     -- Σ w, w = 1/(K·p) of the pick
    weight_squares REAL NOT NULL,     -- Σ w²
    support        REAL NOT NULL,     -- Σ share of the candidates with p > 0: what Σ w should be
    PRIMARY KEY (day, policy, bin)
) WITHOUT ROWID;

-- How late a reward can be: four buckets to a doubling of 1 s + the delay, the last for all beyond three years.
CREATE TABLE delays (
    below  REAL PRIMARY KEY,          -- seconds
    bucket INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO delays WITH RECURSIVE steps (factor, bucket) AS (
    SELECT 1.1892071150027210667, 0 UNION ALL SELECT factor * 1.1892071150027210667, bucket + 1 FROM steps
    WHERE bucket < 106) SELECT factor - 1.0, bucket FROM steps;
UPDATE delays SET below = 9e999 WHERE bucket = 106;

-- Rewards that stand, by the day of the decision that they answer and by how late they came; one that answers none is of
-- its own day, in bucket -1. Kept by triggers: whatever adds a reward or takes one back is counted, and never twice.
CREATE TABLE arrivals (
    day        INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    source     TEXT NOT NULL,
    bucket     INTEGER NOT NULL,
    rewards    INTEGER NOT NULL,
    reward_sum REAL NOT NULL,
    PRIMARY KEY (day, policy, source, bucket)
) WITHOUT ROWID;

CREATE TRIGGER reward_arrived AFTER INSERT ON rewards BEGIN
    INSERT INTO arrivals VALUES (
        (coalesce(NEW.decision_seq, NEW.linked_seq, NEW.seq) >> 20) / 86400000, NEW.policy, NEW.source,
        CASE WHEN coalesce(NEW.decision_seq, NEW.linked_seq) IS NULL THEN -1 ELSE (SELECT bucket FROM delays
            WHERE below > NEW.ts - (coalesce(NEW.decision_seq, NEW.linked_seq) >> 20) / 1000.0 ORDER BY below LIMIT 1) END,
        1, NEW.value)
        ON CONFLICT DO UPDATE SET rewards = rewards + 1, reward_sum = reward_sum + excluded.reward_sum;
END;

CREATE TRIGGER reward_revoked AFTER INSERT ON revocations BEGIN
    UPDATE arrivals SET rewards = rewards - 1, reward_sum = reward_sum - r.value
        FROM rewards AS r WHERE r.seq = NEW.reward_seq
        AND arrivals.day = (coalesce(r.decision_seq, r.linked_seq, r.seq) >> 20) / 86400000
        AND arrivals.policy = r.policy AND arrivals.source = r.source AND arrivals.bucket =
        CASE WHEN coalesce(r.decision_seq, r.linked_seq) IS NULL THEN -1 ELSE (SELECT bucket FROM delays
            WHERE below > r.ts - (coalesce(r.decision_seq, r.linked_seq) >> 20) / 1000.0 ORDER BY below LIMIT 1) END;
END;

-- Marks that name nobody are few among many: promotions, experiments.
CREATE INDEX marks_of_nobody ON marks (kind, seq) WHERE uid IS NULL;
