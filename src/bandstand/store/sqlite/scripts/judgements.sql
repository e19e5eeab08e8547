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
