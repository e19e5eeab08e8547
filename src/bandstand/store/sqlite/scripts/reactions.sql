-- Reactions as they were sent, by the reward or the part that each was taken as, and the table that made a number of it.
-- They go with it.
CREATE TABLE reactions (
    seq      INTEGER PRIMARY KEY,
    action   TEXT NOT NULL,
    dwell_ms NUMERIC,                 -- milliseconds; NULL where none was sent
    ts       REAL NOT NULL,           -- when it came; of a reward that stands in for another, when that came
    name     TEXT NOT NULL,           -- of the table
    version  INTEGER NOT NULL,
    hash     TEXT NOT NULL
);

CREATE TRIGGER reacted_reward_gone AFTER DELETE ON rewards BEGIN
    DELETE FROM reactions WHERE seq = OLD.seq AND NOT EXISTS (SELECT 1 FROM reward_parts WHERE seq = OLD.seq);
END;

CREATE TRIGGER reacted_part_gone AFTER DELETE ON reward_parts BEGIN
    DELETE FROM reactions WHERE seq = OLD.seq AND NOT EXISTS (SELECT 1 FROM rewards WHERE seq = OLD.seq);
END;
