-- Simulations of one state directory, in a file of their own: they never wait for the ledger, nor the ledger for them.

CREATE TABLE sim_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'interrupted', 'cancelled', 'failed')),
    origin TEXT NOT NULL CHECK (origin IN ('command', 'service')),
    client TEXT NOT NULL,       -- name of the API key; of the command line, '-'
    created REAL NOT NULL,      -- seconds since the epoch, as all times here
    started REAL,
    ended REAL,
    heartbeat REAL,             -- when whoever plays it last wrote
    claim TEXT,                 -- who plays it: a random word
    plan TEXT NOT NULL,         -- JSON
    done INTEGER NOT NULL,      -- decisions
    total INTEGER NOT NULL,
    summary TEXT,               -- JSON: tables and curves, as of the heartbeat
    error TEXT
) STRICT;

-- One user's steps with one policy, eight bytes each, or seventeen where users talk: enough to play on, and to make every table again.
CREATE TABLE sim_plays (
    run INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    user INTEGER NOT NULL,
    policy TEXT NOT NULL,
    picks BLOB NOT NULL,        -- uint16, little-endian
    actions BLOB NOT NULL,      -- uint8: 0 dismiss, 1 snooze, 2 done, then the labels of what users say
    dwells BLOB NOT NULL,       -- uint32, little-endian, milliseconds
    judged BLOB NOT NULL,       -- uint8: index into judges
    judges TEXT NOT NULL,       -- JSON: [[judge, fallback or null], …]
    heard BLOB NOT NULL,        -- empty, or where users talk: label as uint8 and reward taught as float64 of each step
    PRIMARY KEY (run, seed, user, policy)
) STRICT, WITHOUT ROWID;

-- Single decisions, where a run keeps them.
CREATE TABLE sim_events (
    run INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    user INTEGER NOT NULL,
    policy TEXT NOT NULL,
    step INTEGER NOT NULL,      -- from 0
    persona TEXT NOT NULL,
    tip_id TEXT NOT NULL,
    hour_of_day INTEGER NOT NULL,
    day_of_week INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    is_overdue INTEGER NOT NULL,
    task_age_days REAL NOT NULL,
    score REAL NOT NULL,
    propensity REAL NOT NULL,
    exploring INTEGER NOT NULL,
    action TEXT NOT NULL,
    dwell_ms INTEGER NOT NULL,
    reward REAL NOT NULL,
    expected_reward REAL NOT NULL,  -- the exact mean of the pick
    best_reward REAL NOT NULL,      -- and of the best candidate
    judge TEXT NOT NULL,            -- who decided the reaction
    fallback TEXT,                  -- why the rule did, where another judge was asked
    heard TEXT,                     -- where users talk: the label that was heard, null where nobody could say
    taught REAL,                    -- and what that taught, null where it taught nothing
    PRIMARY KEY (run, seed, user, policy, step)
) STRICT, WITHOUT ROWID;
