-- How a reward that retention took was answered, for as long as its Idempotency-Key is kept.
CREATE TABLE past_rewards (
    seq     INTEGER PRIMARY KEY,
    uid     INTEGER NOT NULL,
    policy  INTEGER NOT NULL,
    value   REAL NOT NULL,
    applied INTEGER NOT NULL,
    reason  TEXT
);
CREATE INDEX past_rewards_by_user ON past_rewards (uid);
