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
    policy    INTEGER NOT NULL,
    tip_id    TEXT NOT NULL,
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

-- Metrics of the parts that count, by policy and candidate; they are of the parts that the ledger has, and go with them.
CREATE TABLE metric_sums (
    policy  INTEGER NOT NULL,
    metric  TEXT NOT NULL,
    tip_id  TEXT NOT NULL,
    parts   INTEGER NOT NULL,
    total   REAL NOT NULL,            -- Σ m
    squares REAL NOT NULL,            -- Σ m²
    PRIMARY KEY (policy, metric, tip_id)
) WITHOUT ROWID;

CREATE TRIGGER part_counted AFTER INSERT ON reward_parts
WHEN NEW.metrics IS NOT NULL AND (NEW.reason IS NULL OR NEW.reason = 'not_first') BEGIN
    INSERT INTO metric_sums SELECT NEW.policy, key, NEW.tip_id, 1, value, value * value FROM json_each(NEW.metrics)
        WHERE true ON CONFLICT DO UPDATE SET parts = parts + 1, total = total + excluded.total,
        squares = squares + excluded.squares;
END;

CREATE TRIGGER part_released AFTER UPDATE OF reason ON reward_parts
WHEN NEW.metrics IS NOT NULL AND OLD.reason = 'held' AND NEW.reason IS NULL BEGIN
    INSERT INTO metric_sums SELECT NEW.policy, key, NEW.tip_id, 1, value, value * value FROM json_each(NEW.metrics)
        WHERE true ON CONFLICT DO UPDATE SET parts = parts + 1, total = total + excluded.total,
        squares = squares + excluded.squares;
END;

CREATE TRIGGER part_gone AFTER DELETE ON reward_parts
WHEN OLD.metrics IS NOT NULL AND (OLD.reason IS NULL OR OLD.reason = 'not_first') BEGIN
    UPDATE metric_sums SET parts = parts - 1, total = total - gone.value, squares = squares - gone.value * gone.value
        FROM (SELECT key, value FROM json_each(OLD.metrics)) AS gone
        WHERE policy = OLD.policy AND metric = gone.key AND tip_id = OLD.tip_id;
    DELETE FROM metric_sums WHERE policy = OLD.policy AND tip_id = OLD.tip_id AND parts = 0;
END;
