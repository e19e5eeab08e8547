"""What the ledger has taught: users' documents, the cache of users, the prior's file."""
