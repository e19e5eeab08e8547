-- Evaluations of one state directory, in a file of their own: they never wait for the ledger, nor the ledger for them.

CREATE TABLE evaluation_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'interrupted', 'cancelled', 'failed')),
    origin TEXT NOT NULL CHECK (origin IN ('command', 'service')),
    client TEXT NOT NULL,       -- name of the API key
    created REAL NOT NULL,      -- seconds since the epoch, as all times here
    started REAL,
    ended REAL,
    heartbeat REAL,             -- when whoever evaluates last wrote
    claim TEXT,                 -- who evaluates: a random word
    plan TEXT NOT NULL,         -- JSON: what was asked
    done INTEGER NOT NULL,      -- events of the log that were read
    total INTEGER NOT NULL,
    summary TEXT,               -- JSON: the report
    error TEXT
) STRICT;
