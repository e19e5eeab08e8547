-- In a loop with one model for everybody, events are of the loop's own user, whose sums they move; and here stands whom
-- each decision was made for, who may be erased.
CREATE TABLE subjects (
    seq INTEGER PRIMARY KEY,          -- of the decision
    uid INTEGER NOT NULL
);
CREATE INDEX subjects_by_user ON subjects (uid, seq);
