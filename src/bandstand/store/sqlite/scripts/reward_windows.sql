-- Decisions whose reward is not settled by the first that comes: held ones, and those with a window. Both tables hang on
-- their decision, and go with it.
CREATE TABLE windows (
    decision INTEGER PRIMARY KEY,
    held     INTEGER NOT NULL,        -- 1: nothing is taught before it is activated
    due      REAL,                    -- when its window ends, seconds since the epoch; NULL for never
    fallback REAL,                    -- what silence teaches then; NULL for nothing
    awaits   INTEGER NOT NULL         -- 1: somebody is to look at it then
);
CREATE INDEX windows_by_due ON windows (due, decision) WHERE awaits = 1;

-- What was given for such decisions, as it came. What they taught are rows of `rewards`: the aggregate so far, each later
-- one in the place of the one before.
CREATE TABLE reward_parts (
    seq       INTEGER PRIMARY KEY,    -- of the reward that it taught, too
    decision  INTEGER NOT NULL,
    value     REAL NOT NULL,
    taught    REAL,                   -- what the decision had taught after it; NULL for nothing
    reason    TEXT,                   -- why it does not count; NULL where it does
    metrics   TEXT,                   -- JSON, as sent
    formula   TEXT,                   -- hash of the formula that made the value of the metrics
    body_hash BLOB NOT NULL,
    client    TEXT NOT NULL,
    ts        REAL NOT NULL
);
CREATE INDEX reward_parts_by_decision ON reward_parts (decision, seq);

CREATE TRIGGER windowed_decision_gone AFTER DELETE ON decisions BEGIN
    DELETE FROM windows WHERE decision = OLD.seq;
    DELETE FROM reward_parts WHERE decision = OLD.seq;
END;
