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
-- tenth). Kept up in the commit of the decisions; names nobody, and so outlives erasure and retention. Day -1 sums all
-- days, so that nobody has to add up years; in `arrivals` too.
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
-- its own day, in bucket -1. Kept by the triggers of all_time.sql.
CREATE TABLE arrivals (
    day        INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    source     TEXT NOT NULL,
    bucket     INTEGER NOT NULL,
    rewards    INTEGER NOT NULL,
    reward_sum REAL NOT NULL,
    PRIMARY KEY (day, policy, source, bucket)
) WITHOUT ROWID;

-- Marks that name nobody are few among many: promotions, experiments, shadows.
CREATE INDEX marks_of_nobody ON marks (kind, seq) WHERE uid IS NULL;
