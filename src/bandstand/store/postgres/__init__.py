"""The store of many processes: one PostgreSQL holds the ledger, and every process caches what it has folded of it."""
