"""The embedded engine: one process, one directory, one SQLite ledger; a store composed of parts, one for each kind."""
