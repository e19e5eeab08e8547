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

-- Hourly counts, kept up in the same commit as the events they count. Hour -1 sums all hours.
CREATE TABLE rollups (
    hour       INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    decisions  INTEGER NOT NULL,
    explores   INTEGER NOT NULL,
    rewards    INTEGER NOT NULL,
    reward_sum REAL NOT NULL,
    PRIMARY KEY (hour, policy)
) WITHOUT ROWID;
