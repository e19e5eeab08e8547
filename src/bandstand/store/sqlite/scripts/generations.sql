-- Generations, and which of them each decision's pick came from. The totals are kept by triggers: whatever adds a reward,
-- in whatever form, is counted in the same commit and never twice.
CREATE TABLE prompts (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    digest  TEXT NOT NULL,        -- SHA-256 of the prompt's file; empty where no prompt was used
    UNIQUE (name, version, digest)
);

CREATE TABLE generations (
    seq               INTEGER PRIMARY KEY,
    nonce             TEXT NOT NULL,     -- second half of its id
    uid               INTEGER NOT NULL,
    prompt            INTEGER NOT NULL,
    chosen            TEXT NOT NULL,     -- who chose the prompt: request, default or auto
    propensity        REAL,              -- probability of that choice; NULL where the request made it
    source            TEXT NOT NULL,
    model             TEXT NOT NULL,
    requested         INTEGER NOT NULL,
    tips              TEXT NOT NULL,     -- ids, a JSON array in the order in which they were answered
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    tries             INTEGER NOT NULL,
    tasks_left_out    INTEGER NOT NULL,
    client            TEXT NOT NULL,
    ts                REAL NOT NULL
);
CREATE INDEX generations_by_user ON generations (uid, seq);

-- The same ids, one a row, to find the user's newest generation that holds one.
CREATE TABLE generated_tips (
    uid        INTEGER NOT NULL,
    tip_id     TEXT NOT NULL,
    generation INTEGER NOT NULL,
    prompt     INTEGER NOT NULL,
    PRIMARY KEY (uid, tip_id, generation)
) WITHOUT ROWID;

-- Decisions whose pick a generation holds. The prompt stands here too, for a decision may outlive its generation.
CREATE TABLE lineage (
    decision   INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    prompt     INTEGER NOT NULL
);

-- What each prompt came to since the ledger began; names nobody, and so outlives erasure and retention.
CREATE TABLE prompt_totals (
    prompt         INTEGER PRIMARY KEY,
    generations    INTEGER NOT NULL DEFAULT 0,
    tips           INTEGER NOT NULL DEFAULT 0,
    decisions      INTEGER NOT NULL DEFAULT 0,
    rewards        INTEGER NOT NULL DEFAULT 0,
    reward_sum     REAL NOT NULL DEFAULT 0,
    reward_squares REAL NOT NULL DEFAULT 0
);

CREATE TRIGGER generation_added AFTER INSERT ON generations BEGIN
    INSERT INTO generated_tips SELECT NEW.uid, value, NEW.seq, NEW.prompt FROM json_each(NEW.tips);
    INSERT INTO prompt_totals (prompt, generations, tips) VALUES (NEW.prompt, 1, json_array_length(NEW.tips))
        ON CONFLICT (prompt) DO UPDATE SET generations = generations + 1, tips = tips + excluded.tips;
END;

CREATE TRIGGER generation_gone AFTER DELETE ON generations BEGIN
    DELETE FROM generated_tips WHERE uid = OLD.uid AND generation = OLD.seq
        AND tip_id IN (SELECT value FROM json_each(OLD.tips));
END;

CREATE TRIGGER decision_gone AFTER DELETE ON decisions BEGIN
    DELETE FROM lineage WHERE decision = OLD.seq;
END;

CREATE TRIGGER lineage_added AFTER INSERT ON lineage BEGIN
    UPDATE prompt_totals SET decisions = decisions + 1 WHERE prompt = NEW.prompt;
END;

CREATE TRIGGER reward_added AFTER INSERT ON rewards WHEN NEW.applied BEGIN
    UPDATE prompt_totals SET rewards = rewards + 1, reward_sum = reward_sum + NEW.value,
        reward_squares = reward_squares + NEW.value * NEW.value
        WHERE prompt = (SELECT prompt FROM lineage WHERE decision = coalesce(NEW.decision_seq, NEW.linked_seq));
END;
