-- Whom a decision was made for, where that is not whose model it is: in a loop with one model for everybody.
CREATE TABLE subjects (
    seq BIGINT PRIMARY KEY,             -- of the decision
    uid BIGINT NOT NULL
);
CREATE INDEX subjects_by_user ON subjects (uid, seq);
-- As of the newest erasure of somebody who had taught this user's model: no state from before it is believed.
ALTER TABLE users ADD COLUMN parted_version BIGINT NOT NULL DEFAULT 0;
