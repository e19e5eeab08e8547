-- Priors that were learned offline from every user: each process takes them up as it starts.
CREATE TABLE priors (
    policy   TEXT PRIMARY KEY,
    document BYTEA NOT NULL             -- as the embedded store's file
);
-- Whom they were learned from: a prior goes with the first of them who is erased.
CREATE TABLE prior_members (
    policy TEXT NOT NULL,
    uid    BIGINT NOT NULL,
    PRIMARY KEY (uid, policy)
);
