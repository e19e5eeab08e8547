-- Runs that teach the judge from people's labels, in a file of their own: they never wait for the ledger, nor it for them.

CREATE TABLE judge_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'interrupted', 'cancelled', 'failed')),
    origin TEXT NOT NULL CHECK (origin IN ('command', 'service')),
    client TEXT NOT NULL,       -- name of the API key
    created REAL NOT NULL,      -- seconds since the epoch, as all times here
    started REAL,
    ended REAL,
    heartbeat REAL,             -- when whoever plays it last wrote
    claim TEXT,                 -- who plays it: a random word
    plan TEXT NOT NULL,         -- JSON: what was asked
    done INTEGER NOT NULL,      -- turns that were judged
    total INTEGER NOT NULL,
    summary TEXT,               -- JSON: the report
    error TEXT
) STRICT;
