-- What came of the users of each arm of a split: an experiment, a holdout, a step of a launch. A split is named by the
-- event that began it. Kept up by the follower of gains, behind the commits.
CREATE TABLE arm_users (
    id        INTEGER PRIMARY KEY,
    split     INTEGER NOT NULL,
    uid       INTEGER NOT NULL,
    arm       TEXT NOT NULL,
    metric    TEXT NOT NULL,          -- 'reward'
    decisions INTEGER NOT NULL,
    n         INTEGER NOT NULL,       -- of them, those with a reward that stands
    total     REAL NOT NULL,          -- the sum of those
    UNIQUE (split, uid, arm, metric)
);
CREATE INDEX arm_users_by_user ON arm_users (uid, id);

-- Their sums over the users, with squares and products, for intervals that take a user's decisions together. They name
-- nobody.
CREATE TABLE arm_sums (
    split     INTEGER NOT NULL,
    arm       TEXT NOT NULL,
    metric    TEXT NOT NULL,
    users     INTEGER NOT NULL,
    rewarded  INTEGER NOT NULL,       -- users with n > 0
    decisions INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    total     REAL NOT NULL,
    nn        INTEGER NOT NULL,       -- sum over users of n^2
    nt        REAL NOT NULL,          -- of n times total
    tt        REAL NOT NULL,          -- of total^2
    PRIMARY KEY (split, arm, metric)
) WITHOUT ROWID;

-- The same as of the last event of each day.
CREATE TABLE arm_days (
    split     INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    arm       TEXT NOT NULL,
    metric    TEXT NOT NULL,
    users     INTEGER NOT NULL,
    rewarded  INTEGER NOT NULL,
    decisions INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    total     REAL NOT NULL,
    nn        INTEGER NOT NULL,
    nt        REAL NOT NULL,
    tt        REAL NOT NULL,
    PRIMARY KEY (split, day, arm, metric)
) WITHOUT ROWID;
