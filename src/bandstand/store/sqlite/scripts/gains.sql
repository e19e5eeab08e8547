-- What the decisions earned, and what random and the caller's first candidate would have earned, by the doubly robust
-- term phi = sum pi(a) q(a) + pi(A)/p (r - q(A)) with the means q that the policy had before the reward. Over decisions
-- with a reward that stands, by the decision's day; w is pi(A)/p. A follower behind the commits keeps them up.
CREATE TABLE gain_days (
    day            INTEGER NOT NULL,  -- of the decision, since the epoch
    policy         INTEGER NOT NULL,  -- that decided
    rewarded       INTEGER NOT NULL,
    r              REAL NOT NULL,
    rr             REAL NOT NULL,
    residuals      REAL NOT NULL,     -- of (r - q(A))^2
    random         REAL NOT NULL,     -- sum of phi
    random_squares REAL NOT NULL,     -- of phi^2
    random_r       REAL NOT NULL,     -- of phi r
    random_w       REAL NOT NULL,
    random_ww      REAL NOT NULL,
    random_v       REAL NOT NULL,     -- of what w^2 was to be expected: sum over a of pi(a)^2/p(a)
    random_lost    REAL NOT NULL,     -- of pi over the candidates with p = 0
    first          REAL NOT NULL,
    first_squares  REAL NOT NULL,
    first_r        REAL NOT NULL,
    first_w        REAL NOT NULL,
    first_ww       REAL NOT NULL,
    first_v        REAL NOT NULL,
    first_lost     REAL NOT NULL,
    PRIMARY KEY (day, policy)
) WITHOUT ROWID;

-- The part of each user in it, so that an erasure can take it out; retention takes those of its days and leaves the sums.
CREATE TABLE gain_users (
    id             INTEGER PRIMARY KEY,
    uid            INTEGER NOT NULL,
    day            INTEGER NOT NULL,
    policy         INTEGER NOT NULL,
    rewarded       INTEGER NOT NULL,
    r              REAL NOT NULL,
    rr             REAL NOT NULL,
    residuals      REAL NOT NULL,
    random         REAL NOT NULL,
    random_squares REAL NOT NULL,
    random_r       REAL NOT NULL,
    random_w       REAL NOT NULL,
    random_ww      REAL NOT NULL,
    random_v       REAL NOT NULL,
    random_lost    REAL NOT NULL,
    first          REAL NOT NULL,
    first_squares  REAL NOT NULL,
    first_r        REAL NOT NULL,
    first_w        REAL NOT NULL,
    first_ww       REAL NOT NULL,
    first_v        REAL NOT NULL,
    first_lost     REAL NOT NULL,
    UNIQUE (uid, day, policy)
);

-- How far whoever reads the ledger behind its commits has come.
CREATE TABLE followers (
    name TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL             -- the last event that is in its sums
) WITHOUT ROWID;
INSERT INTO followers VALUES ('gains', 0);
